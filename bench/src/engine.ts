/**
 * `dejavm bench engine`: how fast the machine executes, beside QEMU TCG plain and with exact
 * counting (`-icount shift=0`), in one run.
 *
 * Method: in each round everything runs on all sides, one after the other; figures are medians over
 * the rounds, ratios medians of each round's ratio. How time is attributed: bare.ts, debian.ts.
 */
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { cacheDir, type DebianProgress, requireHostTool } from "@dejavm/debian";
import { BARE_PROGRAMS, type BareSpeeds, buildBare, measureBare } from "./bare.ts";
import {
  DEBIAN_PROGRAMS,
  type DebianRound,
  debianGuest,
  measureDebian,
  qemuVersion,
  type Side,
} from "./debian.ts";
import { geometricMean, median } from "./stats.ts";

/** What to measure. */
export interface EngineBenchOptions {
  /** How often everything is measured, 1 or more; 5 if not given. */
  readonly rounds?: number;
  /** Programs, `boot`, `bare` or `debian` for all of a kind; none: everything. */
  readonly programs?: readonly string[];
  /** Whether QEMU is measured with exact counting, too; true if not given. */
  readonly icount?: boolean;
  /** Whether boot and processes are measured on the interpreter alone, too; false if not given. */
  readonly interpreter?: boolean;
  /** Whether each process runs a second time, at once; false if not given. */
  readonly again?: boolean;
}

interface Ratios {
  readonly name: string;
  /** The machine's speed over QEMU's. */
  readonly ratio: number;
  /** Null: not measured. */
  readonly ratioIcount: number | null;
}

/** Medians of a program in M-mode, alone: million instructions per CPU second. */
interface BareResult extends Ratios {
  readonly kind: "bare";
  readonly mips: number;
  readonly qemuMips: number;
  readonly qemuIcountMips: number | null;
}

/** Medians of a process in Debian: CPU seconds. */
interface DebianResult extends Ratios {
  readonly kind: "debian";
  readonly cpuSeconds: number;
  readonly qemuCpuSeconds: number;
  readonly qemuIcountCpuSeconds: number | null;
  /** The machine without translation: what is cold must not be slower than that. */
  readonly interpreterCpuSeconds: number | null;
  /** The same program once more: what was hot in the first run is translated by now. */
  readonly again: Again | null;
}

/** Medians of second runs: CPU seconds of the machine, and its speed over QEMU's. */
interface Again {
  readonly cpuSeconds: number;
  readonly ratio: number;
  readonly ratioIcount: number | null;
}

/** One program's medians. */
export type ProgramResult = BareResult | DebianResult;

/** What `--json` prints. */
export interface EngineBenchResult {
  readonly qemuVersion: string;
  readonly rounds: number;
  readonly programs: readonly ProgramResult[];
  readonly geomeanRatio: number;
  readonly geomeanRatioIcount: number | null;
  /** Wall and CPU seconds from a process's start to the guest's prompt; null: not measured. */
  readonly bootSeconds: number | null;
  readonly qemuBootSeconds: number | null;
  readonly bootCpuSeconds: number | null;
  readonly qemuBootCpuSeconds: number | null;
  readonly interpreterBootCpuSeconds: number | null;
  /** The machine's wall time over QEMU's: the median of each round's. */
  readonly bootTimeRatio: number | null;
}

const DEFAULT_ROUNDS = 5;
const BOOT = "boot";
const SIDES: readonly Side[] = ["machine", "interpreter", "plain", "icount"];
const KINDS = { bare: BARE_PROGRAMS, debian: DEBIAN_PROGRAMS } as const;

interface Selection {
  readonly bare: readonly string[];
  readonly debian: readonly string[];
  readonly boot: boolean;
}

function select(names: readonly string[]): Selection {
  const known = [...BARE_PROGRAMS, ...DEBIAN_PROGRAMS, ...Object.keys(KINDS), BOOT];
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new CodedError("E_USAGE", `there is no benchmark program ${name}`, {
      hint: `want one of ${known.join(", ")}`,
    });
  }
  const all = names.length === 0;
  const of = (kind: keyof typeof KINDS): readonly string[] =>
    KINDS[kind].filter((name) => all || names.includes(kind) || names.includes(name));
  return { bare: of("bare"), debian: of("debian"), boot: all || names.includes(BOOT) };
}

type DebianSides = Partial<Record<Side, DebianRound>>;

/**
 * Measures; `progress` gets a line before each step. QEMU and the cross compiler are fetched where
 * they are missing. Throws E_TOOL_MISSING, E_USAGE, E_IMAGE_* and what a tool could not do.
 */
export async function runEngineBench(
  options: EngineBenchOptions,
  progress: (line: string) => void,
): Promise<EngineBenchResult> {
  const { rounds = DEFAULT_ROUNDS, icount = true, again = false } = options;
  const selection = select(options.programs ?? []);
  // Downloads and unpacking report every piece; a line for each would be too much.
  const show = (step: DebianProgress): void => {
    if ("message" in step) progress(step.message);
  };
  const qemu = await requireHostTool("qemu-system-riscv64", show);
  const compiler = await requireHostTool("riscv64-linux-gnu-gcc", show);
  const build = { compiler, cacheFolder: join(cacheDir(), "bench") };
  progress("compiling the guest programs");
  const wantsDebian = selection.boot || selection.debian.length > 0;
  const guest = wantsDebian ? await debianGuest(build) : undefined;
  const programs = selection.bare.length > 0 ? await buildBare(selection.bare, build) : [];
  const bare: Map<string, BareSpeeds>[] = [];
  const debian: DebianSides[] = [];
  for (let round = 1; round <= rounds; round++) {
    const say = (line: string): void => progress(`round ${round} of ${rounds}: ${line}`);
    if (programs.length > 0) bare.push(await measureBare({ programs, qemu, icount }, say));
    if (guest === undefined) continue;
    const sides: DebianSides = {};
    for (const side of sidesOf(options, selection)) {
      const names = selection.debian;
      sides[side] = await measureDebian({ side, qemu, guest, again }, names, (line) =>
        say(`${line} (${side})`),
      );
    }
    checkOutputs(sides);
    debian.push(sides);
  }
  const results = [
    ...bareResults(selection.bare, bare),
    ...debianResults(selection.debian, debian),
  ];
  return {
    qemuVersion: await qemuVersion(qemu),
    rounds,
    programs: results,
    geomeanRatio: geometricMean(results.map(({ ratio }) => ratio)),
    geomeanRatioIcount: icount
      ? geometricMean(results.map(({ ratioIcount }) => ratioIcount ?? Number.NaN))
      : null,
    ...bootResult(selection.boot ? debian : []),
  };
}

function sidesOf(
  { icount = true, interpreter }: EngineBenchOptions,
  { debian }: Selection,
): Side[] {
  // Exact counting is not what a boot is compared with.
  const exact = icount && debian.length > 0;
  const wanted = { machine: true, interpreter: interpreter === true, plain: true, icount: exact };
  return SIDES.filter((side) => wanted[side]);
}

/** Every side prints the same, or the figures compare nothing. */
function checkOutputs({ machine, ...others }: DebianSides): void {
  for (const [name, { output }] of machine?.programs ?? []) {
    for (const other of Object.values(others)) {
      const theirs = other.programs.get(name)?.output;
      if (theirs === output) continue;
      throw new Error(`${name}: the machine printed ${output}, QEMU ${String(theirs)}`);
    }
  }
}

function known(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

function bareResults(
  names: readonly string[],
  rounds: readonly ReadonlyMap<string, BareSpeeds>[],
): BareResult[] {
  return names.map((name) => {
    const speeds = rounds.flatMap((round) => round.get(name) ?? []);
    return {
      name,
      kind: "bare",
      mips: median(speeds.map(({ machine }) => machine)),
      qemuMips: median(speeds.map(({ plain }) => plain)),
      qemuIcountMips: known(median(speeds.map(({ icount }) => icount))),
      ratio: median(speeds.map(({ machine, plain }) => machine / plain)),
      ratioIcount: known(median(speeds.map(({ machine, icount }) => machine / icount))),
    };
  });
}

function debianResults(names: readonly string[], rounds: readonly DebianSides[]): DebianResult[] {
  return names.map((name) => {
    const run = (side: Side, which: Which): number[] =>
      rounds.map((round) => round[side]?.programs.get(name)?.[which] ?? Number.NaN);
    const speeds = (which: Which): Again => {
      const ours = run("machine", which);
      const ratios = (side: Side): number =>
        median(run(side, which).map((theirs, round) => theirs / (ours[round] ?? Number.NaN)));
      const ratioIcount = known(ratios("icount"));
      return { cpuSeconds: median(ours), ratio: ratios("plain"), ratioIcount };
    };
    const seconds = (side: Side): number => median(run(side, "cpuSeconds"));
    const again = speeds("againCpuSeconds");
    return {
      name,
      kind: "debian",
      ...speeds("cpuSeconds"),
      qemuCpuSeconds: seconds("plain"),
      qemuIcountCpuSeconds: known(seconds("icount")),
      interpreterCpuSeconds: known(seconds("interpreter")),
      again: Number.isNaN(again.cpuSeconds) ? null : again,
    };
  });
}

/** Which run of a program. */
type Which = "cpuSeconds" | "againCpuSeconds";

type BootFigures = Pick<
  EngineBenchResult,
  | "bootSeconds"
  | "qemuBootSeconds"
  | "bootCpuSeconds"
  | "qemuBootCpuSeconds"
  | "interpreterBootCpuSeconds"
  | "bootTimeRatio"
>;

/** All null where there were no rounds. */
function bootResult(rounds: readonly DebianSides[]): BootFigures {
  const of = (side: Side, field: "bootSeconds" | "bootCpuSeconds"): number[] =>
    rounds.map((round) => round[side]?.[field] ?? Number.NaN);
  const ours = of("machine", "bootSeconds");
  const theirs = of("plain", "bootSeconds");
  return {
    bootSeconds: known(median(ours)),
    qemuBootSeconds: known(median(theirs)),
    bootCpuSeconds: known(median(of("machine", "bootCpuSeconds"))),
    qemuBootCpuSeconds: known(median(of("plain", "bootCpuSeconds"))),
    interpreterBootCpuSeconds: known(median(of("interpreter", "bootCpuSeconds"))),
    bootTimeRatio: known(median(ours.map((own, round) => own / (theirs[round] ?? Number.NaN)))),
  };
}
