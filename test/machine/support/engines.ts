/** Runs one program in every engine and compares digests at equal positions. */
import { DEFAULT_POLICY, EAGER_JIT, type JitPolicy, NO_JIT, type Position } from "@dejavm/machine";
import { buildProgram, planProgram } from "../../differential/program.ts";
import { jumpTableProgram } from "../programs/jump-tables.ts";
import { pagedProgram } from "../programs/paged.ts";
import { Guest, type Program } from "./guest.ts";

/** Ways to run; the first is what the others are compared with. `seed` moves installation. */
function policies(seed: number): Readonly<Record<string, JitPolicy>> {
  return {
    interpreter: NO_JIT,
    "threshold 1": EAGER_JIT,
    default: DEFAULT_POLICY,
    "random installation": {
      ...EAGER_JIT,
      threshold: 2,
      supervisorThreshold: 3,
      warm: 1,
      batch: 3,
      seed,
    },
    "small code memory": { ...EAGER_JIT, maxCodeBytes: 20_000 },
  };
}

/** Digests per engine, where some differ; undefined: all are equal. */
export interface Difference {
  readonly engine: string;
  readonly position: Position;
  readonly digest: string;
  readonly want: string;
}

/** Runs `program` for `length` positions in every engine, comparing every `stride`. */
export function compareEngines(
  program: Program,
  { seed, length, stride }: { seed: number; length: number; stride: number },
): Difference | undefined {
  let want: readonly string[] | undefined;
  for (const [engine, jit] of Object.entries(policies(seed))) {
    const guest = Guest.on({ jit }, program);
    const digests: string[] = [];
    for (let at = stride; at <= length; at += stride) {
      guest.runTo(at);
      digests.push(guest.machine.digest());
      const index = digests.length - 1;
      if (want === undefined || want[index] === digests[index]) continue;
      const { position } = guest.machine;
      return { engine, position, digest: digests[index] ?? "", want: want[index] ?? "" };
    }
    want ??= digests;
  }
  return undefined;
}

/** A program of the differential test as one of these tests'. */
function differentialProgram(seed: number): Program {
  const { image } = buildProgram(planProgram(seed));
  return { name: `differential, seed ${seed}`, image, length: 40_000 };
}

/** Random instructions; page tables, code and contexts that change; computed jumps. */
export function programsOf(seed: number): readonly Program[] {
  const mode = seed % 2 === 0 ? "sv39" : "sv48";
  return [differentialProgram(seed), pagedProgram(mode, seed + 1000), jumpTableProgram(seed)];
}
