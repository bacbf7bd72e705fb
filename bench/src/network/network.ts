/** `dejavm bench network`: our gateway beside QEMU's user network. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { type DebianProgress, requireHostTool } from "@dejavm/debian";
import { resolveImage } from "@dejavm/image";
import { BenchGuest, type GuestKind } from "./guests.ts";
import { type NetworkBenchResult, networkResult, RowSamples } from "./results.ts";
import { type NetworkRow, ROWS } from "./rows.ts";

/** What is to be measured. */
export interface NetworkBenchOptions {
  /** Values of each row and guest; what is told is their median. */
  readonly rounds?: number;
  /** A quarter of the work: a second or so for each value. */
  readonly quick?: boolean;
  /** Names of rows; empty for all. */
  readonly rows?: readonly string[];
  /** The command line program, as it is started. */
  readonly dejavm: readonly string[];
}

const DEFAULT_ROUNDS = 3;
const QUICK_SHARE = 0.25;
/** A guest is warm once a value is no better than the one before by so much of it, ... */
const STILL_WARMING = 0.1;
/** ... or after so many values: code is translated once it has run some thousand times. */
const MAX_WARM_UP_ROUNDS = 6;
/** A value that takes longer is none. */
const ROW_TIMEOUT_MS = 45_000;
const KINDS: readonly GuestKind[] = ["value", "qemuSeam", "qemu"];

/**
 * Starts all three guests, then measures each row on one after the other, round by round, each
 * round with another of them first. Before the first round each guest does the row's work until it
 * becomes no faster: our machine translates code that is new to it. Throws E_TOOL_MISSING,
 * E_IMAGE_*, E_USAGE; a row that fails is told and the run goes on.
 */
export async function runNetworkBench(
  options: NetworkBenchOptions,
  progress: (line: string) => void,
): Promise<NetworkBenchResult> {
  const { rounds = DEFAULT_ROUNDS, quick = false, rows: names = [], dejavm } = options;
  const rows = chosen(names);
  const { kernel, initrd, disk, manifest } = await resolveImage();
  const show = (step: DebianProgress): void => {
    if ("message" in step) progress(step.message);
  };
  const qemu = await requireHostTool("qemu-system-riscv64", show);
  const redisBenchmark = await requireHostTool("redis-benchmark", show);
  const directory = await mkdtemp(join(tmpdir(), "dejavm-bench-"));
  const commandLine = `${manifest.commandLine} console=ttyS0`;
  const files = { kernel, initrd, disk, commandLine, qemu, dejavm, directory };
  const guests: BenchGuest[] = [];
  const measure = async (row: NetworkRow, { ports }: BenchGuest, share: number): Promise<number> =>
    row.measure({ ports, redisBenchmark, share, signal: AbortSignal.timeout(ROW_TIMEOUT_MS) });
  try {
    for (const kind of KINDS) {
      progress(`starting the guest: ${kind}`);
      guests.push(await BenchGuest.start(kind, files));
    }
    const samples: RowSamples[] = [];
    for (const row of rows) {
      const found = new RowSamples(row);
      samples.push(found);
      // What goes wrong here goes wrong in the first round, too.
      for (const guest of guests) {
        const value = () => measure(row, guest, quick ? QUICK_SHARE : 1);
        await warmUp(row, value).catch(() => undefined);
      }
      for (let round = 1; round <= rounds; round++) {
        for (const guest of rotated(guests, round - 1)) {
          const what = `${row.name}, round ${round} of ${rounds}, ${guest.kind}`;
          try {
            const value = await measure(row, guest, quick ? QUICK_SHARE : 1);
            found.add(guest.kind, value);
            progress(`${what}: ${value.toFixed(1)} ${row.unit}`);
          } catch (error) {
            const why = reason(error);
            found.fail(guest.kind, why);
            progress(`${what}: none: ${why}`);
          }
        }
      }
    }
    return networkResult(samples);
  } finally {
    for (const guest of guests) await guest.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function warmUp(row: NetworkRow, value: () => Promise<number>): Promise<void> {
  let before = 0;
  for (let round = 1; round <= MAX_WARM_UP_ROUNDS; round++) {
    const found = await value();
    const speed = row.higherIsBetter ? found : 1 / found;
    if (speed < before * (1 + STILL_WARMING)) return;
    before = speed;
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

function rotated<T>(values: readonly T[], by: number): readonly T[] {
  const first = by % values.length;
  return [...values.slice(first), ...values.slice(0, first)];
}

function reason(error: unknown): string {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  const late = name === "TimeoutError" || name === "AbortError";
  return late ? `not within ${ROW_TIMEOUT_MS / 1000} s` : message;
}
