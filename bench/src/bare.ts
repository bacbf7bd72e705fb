/**
 * Bare programs in M-mode, on the machine and on QEMU.
 *
 * Method: speed is instructions (the machine's exact count) per CPU second of the whole process,
 * all threads, user and system, less what the empty program takes on that side in that round
 * (start-up).
 */
import { type BuildOptions, buildProgram } from "./build.ts";
import { measureMachine, measureQemu } from "./measure.ts";
import { EMPTY_PROGRAM, PROGRAMS } from "./programs.ts";

/** Million instructions per CPU second in one round; icount is NaN where it was left out. */
export interface BareSpeeds {
  readonly machine: number;
  readonly plain: number;
  readonly icount: number;
}

/** Names of the programs, in the order of the table. */
export const BARE_PROGRAMS: readonly string[] = PROGRAMS.map(({ name }) => name);

const ICOUNT = ["-icount", "shift=0"];
/** Start-up varies by a few milliseconds; a time below this is not worth a figure. */
const SHORTEST_SECONDS = 0.01;

interface Sample extends BareSpeeds {
  readonly positions: number;
}

/** A program as it is run. */
export interface BareProgram {
  readonly name: string;
  readonly elf: string;
}

/** Compiles the empty program, first, and `names`. */
export async function buildBare(
  names: readonly string[],
  build: BuildOptions,
): Promise<BareProgram[]> {
  const built: BareProgram[] = [];
  for (const program of [EMPTY_PROGRAM, ...PROGRAMS]) {
    if (program !== EMPTY_PROGRAM && !names.includes(program.name)) continue;
    built.push({ name: program.name, elf: await buildProgram(program, build) });
  }
  return built;
}

/** Runs every program once on every side; gives the speeds of all but the first, the empty one. */
export async function measureBare(
  { programs, qemu, icount }: { programs: readonly BareProgram[]; qemu: string; icount: boolean },
  progress: (line: string) => void,
): Promise<Map<string, BareSpeeds>> {
  const speeds = new Map<string, BareSpeeds>();
  let empty: Sample | undefined;
  for (const program of programs) {
    if (empty !== undefined) progress(program.name);
    const sample = await measure(program, qemu, icount);
    if (empty === undefined) empty = sample;
    else speeds.set(program.name, speedsOf(sample, empty));
  }
  return speeds;
}

async function measure({ elf, name }: BareProgram, qemu: string, icount: boolean): Promise<Sample> {
  const machine = await measureMachine(elf);
  const plain = await measureQemu(qemu, elf, []);
  const exact = icount ? await measureQemu(qemu, elf, ICOUNT) : undefined;
  for (const other of [plain, exact]) {
    if (other === undefined || other.output === machine.output) continue;
    throw new Error(`${name}: the machine printed ${machine.output}, QEMU ${other.output}`);
  }
  return {
    positions: machine.positions,
    machine: machine.cpuSeconds,
    plain: plain.cpuSeconds,
    icount: exact?.cpuSeconds ?? Number.NaN,
  };
}

function speedsOf(one: Sample, empty: Sample): BareSpeeds {
  const count = (one.positions - empty.positions) / 1e6;
  const rate = (side: "machine" | "plain" | "icount") =>
    count / Math.max(one[side] - empty[side], SHORTEST_SECONDS);
  return { machine: rate("machine"), plain: rate("plain"), icount: rate("icount") };
}
