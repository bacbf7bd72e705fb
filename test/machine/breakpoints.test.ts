/** Breakpoints stop in front of their instruction, each time it is due, and change nothing. */
import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { accessedBits } from "./programs/accessed-bits.ts";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import { EXECUTED_TABLES } from "./programs/executed-table.ts";
import { pagedProgram } from "./programs/paged.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest, type Program } from "./support/guest.ts";

const PROGRAMS: readonly Program[] = [
  ...BARE_PROGRAMS,
  ...EXECUTED_TABLES,
  accessedBits(),
  { ...virtioProgram(), length: 1700 },
  { ...pagedProgram("sv39", 21), length: 2000 },
  { ...pagedProgram("sv48", 22), length: 2000 },
];
/** Breakpoints are set anew this often, so that code is hot before and after. */
const STRIDE = 500;

/** What is due at a position, from a run in single steps. */
interface Due {
  readonly pc: bigint;
  /** Undefined: something happens at this position before the instruction. */
  readonly digest: string | undefined;
  /** An interrupt comes before the instruction. */
  readonly interrupted: boolean;
}

/** Whether what happened last was an interrupt, and not an instruction or an exception. */
function tookInterrupt(before: bigint, guest: Guest): boolean {
  const { traps, mode, mcause, scause } = guest.machine.save().hart as Record<string, bigint>;
  if (traps === before) return false;
  return ((Number(mode) === 3 ? mcause : scause) ?? 0n) >> 63n === 1n;
}

/** What is due at each position of a program. */
function singleSteps(program: Program): Due[] {
  const guest = new Guest(program);
  const inputs = new Set(program.inputs?.map(({ at }) => at));
  const steps: Due[] = [];
  for (let at = 1; at <= program.length + 1; at++) {
    const { traps, waiting } = guest.machine.save().hart as { traps: bigint; waiting: number };
    const { pc } = guest.machine;
    const settled = waiting === 0 && !inputs.has(at - 1);
    const digest = settled ? guest.machine.digest() : undefined;
    guest.runTo(at);
    steps.push({ pc, digest, interrupted: tookInterrupt(traps, guest) });
  }
  return steps;
}

describe.each(PROGRAMS)("$name", (program) => {
  const steps = singleSteps(program);
  const whole = new Guest(program);
  whole.runTo(program.length);
  const end = whole.fingerprint();
  const outputs = whole.takeOutputs();

  test("[MA10] [MA11] a few, set anew from time to time", () => {
    const random = new Prng(0xb4ea);
    const guest = new Guest(program);
    let stops = 0;
    for (let from = 0; from < program.length; from += STRIDE) {
      const to = Math.min(from + STRIDE, program.length);
      const here = steps.slice(from, to);
      const chosen = new Set(random.pick([0, 1, 4]) === 0 ? [] : pickSome(random, here));
      const seen: number[] = [];
      guest.onBreakpoint = (pc) => {
        const { position } = guest;
        const due = steps[position];
        expect(pc).toBe(due?.pc);
        if (due?.digest !== undefined) expect(guest.machine.digest()).toBe(due.digest);
        seen.push(position);
        if (random.oneIn(8)) guest.machine.dropCaches();
      };
      guest.machine.setBreakpoints([...chosen]);
      guest.runTo(to);
      const due = here.flatMap(({ pc, interrupted }, i) =>
        chosen.has(pc) && !interrupted ? [from + i] : [],
      );
      expect(seen).toEqual(due);
      stops += seen.length;
    }
    expect(stops).toBeGreaterThan(0);
    expect(guest.fingerprint()).toEqual(end);
    expect(guest.takeOutputs()).toBe(outputs);
  });

  test("[MA10] [MA11] at every instruction", () => {
    const guest = new Guest(program);
    let stops = 0;
    guest.onBreakpoint = () => stops++;
    guest.machine.setBreakpoints([...new Set(steps.map(({ pc }) => pc))]);
    guest.runTo(program.length);
    const due = steps.slice(0, program.length).filter(({ interrupted }) => !interrupted);
    expect(stops).toBe(due.length);
    expect(guest.fingerprint()).toEqual(end);
    expect(guest.takeOutputs()).toBe(outputs);
  });
});

/** Up to four addresses of instructions. */
function pickSome(random: Prng, steps: readonly Due[]): bigint[] {
  return Array.from({ length: 4 }, () => random.pick(steps).pc);
}
