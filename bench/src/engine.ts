/**
 * `dejavm bench engine`: how fast the machine executes, beside QEMU TCG plain and with exact
 * counting (`-icount shift=0`), in one run.
 *
 * Method: every program runs on all three in turn, then the next; that is one round. Speed is
 * instructions (the machine's exact count) per CPU second of the whole process, all threads, user
 * and system, less what the empty program takes on that side in that round (start-up). A program's
 * figures are medians over the rounds, its ratios medians of each round's ratio.
 */
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { cacheDir, type DebianProgress, requireHostTool } from "@dejavm/debian";
import { resolveImage } from "@dejavm/image";
import { type BootOptions, bootMachine, bootQemu } from "./boot.ts";
import { buildProgram } from "./build.ts";
import { measureMachine, measureQemu } from "./measure.ts";
import { EMPTY_PROGRAM, type GuestProgram, PROGRAMS } from "./programs.ts";
import { geometricMean, median } from "./stats.ts";

/** What to measure. */
export interface EngineBenchOptions {
  /** How often everything is measured, 1 or more; 5 if not given. */
  readonly rounds?: number;
  /** Names of programs to measure, and `boot`; none: all. Throws E_USAGE for an unknown one. */
  readonly programs?: readonly string[];
}

/** One program's medians. */
export interface ProgramResult {
  readonly name: string;
  /** Million instructions per CPU second. */
  readonly mips: number;
  readonly qemuMips: number;
  readonly qemuIcountMips: number;
  /** The machine's speed over QEMU's. */
  readonly ratio: number;
  readonly ratioIcount: number;
}

/** What `--json` prints. */
export interface EngineBenchResult {
  readonly programs: readonly ProgramResult[];
  readonly geomeanRatio: number;
  readonly geomeanRatioIcount: number;
  /** Wall seconds from start to a shell; null where no boot was asked for. */
  readonly bootSeconds: number | null;
  readonly qemuBootSeconds: number | null;
}

const DEFAULT_ROUNDS = 5;
const ICOUNT = ["-icount", "shift=0"];
/** Start-up varies by a few milliseconds; a time below this is not worth a figure. */
const SHORTEST_SECONDS = 0.01;

interface Sample {
  readonly positions: number;
  readonly machine: number;
  readonly plain: number;
  readonly icount: number;
}

async function sample(elf: string, qemu: string, name: string): Promise<Sample> {
  const machine = await measureMachine(elf);
  const plain = await measureQemu(qemu, elf, []);
  const icount = await measureQemu(qemu, elf, ICOUNT);
  for (const other of [plain, icount]) {
    if (other.output === machine.output) continue;
    throw new Error(`${name}: the machine printed ${machine.output}, QEMU ${other.output}`);
  }
  return {
    positions: machine.positions,
    machine: machine.cpuSeconds,
    plain: plain.cpuSeconds,
    icount: icount.cpuSeconds,
  };
}

/** Million instructions per second, start-up subtracted. */
function speeds(one: Sample, empty: Sample): { machine: number; plain: number; icount: number } {
  const count = (one.positions - empty.positions) / 1e6;
  const rate = (side: "machine" | "plain" | "icount") =>
    count / Math.max(one[side] - empty[side], SHORTEST_SECONDS);
  return { machine: rate("machine"), plain: rate("plain"), icount: rate("icount") };
}

function summarise(name: string, rounds: readonly ReturnType<typeof speeds>[]): ProgramResult {
  return {
    name,
    mips: median(rounds.map((round) => round.machine)),
    qemuMips: median(rounds.map((round) => round.plain)),
    qemuIcountMips: median(rounds.map((round) => round.icount)),
    ratio: median(rounds.map((round) => round.machine / round.plain)),
    ratioIcount: median(rounds.map((round) => round.machine / round.icount)),
  };
}

interface BuiltProgram {
  readonly program: GuestProgram;
  readonly elf: string;
  readonly speeds: ReturnType<typeof speeds>[];
}

const BOOT = "boot";

function checkNames(names: readonly string[]): void {
  const known = [...PROGRAMS.map(({ name }) => name), BOOT];
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new CodedError("E_USAGE", `there is no benchmark program ${name}`, {
      hint: `want one of ${known.join(", ")}`,
    });
  }
}

/** The default image and how to boot it. Throws E_IMAGE_UNKNOWN, E_IMAGE_CORRUPT. */
async function defaultBoot(): Promise<BootOptions> {
  const { kernel, initrd, disk, manifest } = await resolveImage();
  return {
    kernel,
    initrd,
    disk,
    memoryMib: 256,
    marker: "root@dejavm:",
    commandLine: `${manifest.commandLine} console=ttyS0`,
  };
}

/**
 * Measures; `progress` gets a line before each step. QEMU and the cross compiler are fetched where
 * they are missing. Throws E_TOOL_MISSING, E_USAGE, E_IMAGE_* and what a tool could not do.
 */
export async function runEngineBench(
  { rounds = DEFAULT_ROUNDS, programs: names = [] }: EngineBenchOptions,
  progress: (line: string) => void,
): Promise<EngineBenchResult> {
  checkNames(names);
  const wanted = (name: string) => names.length === 0 || names.includes(name);
  const boot = wanted(BOOT) ? await defaultBoot() : undefined;
  // Downloads and unpacking report every piece; a line for each would be too much.
  const show = (step: DebianProgress): void => {
    if ("message" in step) progress(step.message);
  };
  const qemu = await requireHostTool("qemu-system-riscv64", show);
  const compiler = await requireHostTool("riscv64-linux-gnu-gcc", show);
  const build = { compiler, cacheFolder: join(cacheDir(), "bench") };
  progress("compiling the guest programs");
  const empty = await buildProgram(EMPTY_PROGRAM, build);
  const built: BuiltProgram[] = [];
  for (const program of PROGRAMS) {
    if (!wanted(program.name)) continue;
    built.push({ program, elf: await buildProgram(program, build), speeds: [] });
  }
  const boots: number[] = [];
  const qemuBoots: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const startUp = await sample(empty, qemu, "empty");
    for (const { program, elf, speeds: results } of built) {
      progress(`round ${round} of ${rounds}: ${program.name}`);
      results.push(speeds(await sample(elf, qemu, program.name), startUp));
    }
    if (boot === undefined) continue;
    progress(`round ${round} of ${rounds}: boot`);
    boots.push(await bootMachine(boot));
    qemuBoots.push(await bootQemu(qemu, boot));
  }
  return report(built, boots, qemuBoots);
}

function report(
  built: readonly BuiltProgram[],
  boots: readonly number[],
  qemuBoots: readonly number[],
): EngineBenchResult {
  const programs = built.map(({ program, speeds: results }) => summarise(program.name, results));
  return {
    programs,
    geomeanRatio: geometricMean(programs.map(({ ratio }) => ratio)),
    geomeanRatioIcount: geometricMean(programs.map(({ ratioIcount }) => ratioIcount)),
    bootSeconds: boots.length === 0 ? null : median(boots),
    qemuBootSeconds: qemuBoots.length === 0 ? null : median(qemuBoots),
  };
}
