/** `dejavm bench network`: our gateway beside QEMU's user network. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { type DebianProgress, requireHostTool } from "@dejavm/debian";
import { resolveImage } from "@dejavm/image";
import { geometricMean, median } from "../stats.ts";
import { BenchGuest, type GuestKind } from "./guests.ts";
import { type NetworkRow, ROWS } from "./rows.ts";

/** One row: medians, and ratios above 1 where we are better; NaN where a side did not finish. */
export interface NetworkResultRow {
  readonly name: string;
  readonly unit: string;
  /** Our machine with our gateway. */
  readonly value: number;
  /** Our machine with QEMU's user network, through the stream seam. */
  readonly qemuSeam: number;
  /** The same guest in QEMU with its user network. */
  readonly qemu: number;
  readonly ratioSeam: number;
  readonly ratio: number;
}

/** What `runNetworkBench` finds out. */
export interface NetworkBenchResult {
  readonly rows: readonly NetworkResultRow[];
  readonly geomeanRatioSeam: number;
  readonly geomeanRatio: number;
}

/** What is to be measured. */
export interface NetworkBenchOptions {
  readonly rounds?: number;
  /** Names of rows; empty for all. */
  readonly rows?: readonly string[];
  /** The command line program, as it is started. */
  readonly dejavm: readonly string[];
}

const DEFAULT_ROUNDS = 3;
const KINDS: readonly GuestKind[] = ["value", "qemuSeam", "qemu"];

/**
 * Starts all three guests, then measures each row on one after the other, round by round. Throws
 * E_TOOL_MISSING, E_IMAGE_*, E_USAGE.
 */
export async function runNetworkBench(
  { rounds = DEFAULT_ROUNDS, rows: names = [], dejavm }: NetworkBenchOptions,
  progress: (line: string) => void,
): Promise<NetworkBenchResult> {
  const rows = chosen(names);
  const { kernel, initrd, disk, manifest } = await resolveImage();
  const show = (step: DebianProgress): void => {
    if ("message" in step) progress(step.message);
  };
  const qemu = await requireHostTool("qemu-system-riscv64", show);
  const tools = { redisBenchmark: await requireHostTool("redis-benchmark", show) };
  const directory = await mkdtemp(join(tmpdir(), "dejavm-bench-"));
  const commandLine = `${manifest.commandLine} console=ttyS0`;
  const files = { kernel, initrd, disk, commandLine, qemu, dejavm, directory };
  const guests: BenchGuest[] = [];
  try {
    for (const kind of KINDS) {
      progress(`starting the guest: ${kind}`);
      guests.push(await BenchGuest.start(kind, files));
    }
    const samples = rows.map(() => new Map<GuestKind, number[]>(KINDS.map((kind) => [kind, []])));
    for (let round = 1; round <= rounds; round++) {
      for (const [index, row] of rows.entries()) {
        for (const { kind, ports } of guests) {
          const value = await row.measure(ports, tools);
          const shown = value?.toFixed(1) ?? "not within its time";
          progress(`round ${round} of ${rounds}: ${row.name}, ${kind}: ${shown}`);
          if (value !== undefined) samples[index]?.get(kind)?.push(value);
        }
      }
    }
    return summary(rows.map((row, index) => resultRow(row, samples[index] ?? new Map())));
  } finally {
    for (const guest of guests) await guest.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

function chosen(names: readonly string[]): readonly NetworkRow[] {
  for (const name of names) {
    if (ROWS.some((row) => row.name === name)) continue;
    throw new CodedError("E_USAGE", `there is no row ${name} in this benchmark`, {
      hint: `want one of ${ROWS.map((row) => row.name).join(", ")}`,
    });
  }
  return names.length === 0 ? ROWS : ROWS.filter((row) => names.includes(row.name));
}

function resultRow(row: NetworkRow, samples: ReadonlyMap<GuestKind, number[]>): NetworkResultRow {
  const { name, unit, higherIsBetter } = row;
  const of = (kind: GuestKind): number => median(samples.get(kind) ?? []);
  const [value, qemuSeam, qemu] = [of("value"), of("qemuSeam"), of("qemu")];
  const better = (other: number): number => (higherIsBetter ? value / other : other / value);
  return { name, unit, value, qemuSeam, qemu, ratioSeam: better(qemuSeam), ratio: better(qemu) };
}

function known(values: readonly number[]): number[] {
  return values.filter((value) => !Number.isNaN(value));
}

function summary(rows: readonly NetworkResultRow[]): NetworkBenchResult {
  return {
    rows,
    geomeanRatioSeam: geometricMean(known(rows.map(({ ratioSeam }) => ratioSeam))),
    geomeanRatio: geometricMean(known(rows.map(({ ratio }) => ratio))),
  };
}
