/** `dejavm bench network`: our gateway beside QEMU's user network. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, CodedError } from "@dejavm/base";
import { type DebianProgress, requireHostTool } from "@dejavm/debian";
import { resolveImage } from "@dejavm/image";
import { BenchGuest, type GuestKind } from "./guests.ts";
import { type NetworkBenchResult, networkResult, type Round, RowSamples } from "./results.ts";
import { type NetworkRow, REDIS_50_REQUESTS, ROWS } from "./rows.ts";

/** What is to be measured. */
export interface NetworkBenchOptions {
  /** Values of each row and guest. */
  readonly rounds?: number;
  /** A quarter of the rounds. */
  readonly quick?: boolean;
  /** Names of rows; empty for all. */
  readonly rows?: readonly string[];
  /** The command line program, as it is started. */
  readonly dejavm: readonly string[];
}

/** A multiple of the orders: each guest comes first, between and last equally often. */
const DEFAULT_ROUNDS = 20;
const QUICK_SHARE = 0.25;
/**
 * The path of a request through the guest's kernel is translated once it has run some thousand
 * times: so many requests are made before anything is measured.
 */
const WARM_UP = { row: "redis-50-clients", requests: 25_000 } as const;
/** Values' worth of its own work that each guest does before a row. */
const ROW_WARM_UP = 4;
/** A value that takes longer is none. */
const ROW_TIMEOUT_MS = 20_000;
const WARM_UP_TIMEOUT_MS = 120_000;
/** A guest that fails in so many rounds of a row is left out of the others. */
const MAX_FAILURES = 3;
const KINDS: readonly GuestKind[] = ["value", "qemuSeam", "qemu"];
/** Of the rounds, in turn. The first two are always neighbours: they make the pairs that matter. */
const ORDERS: readonly (readonly GuestKind[])[] = [
  ["value", "qemuSeam", "qemu"],
  ["qemu", "qemuSeam", "value"],
  ["qemuSeam", "value", "qemu"],
  ["qemu", "value", "qemuSeam"],
];

/**
 * Starts all three guests and warms them up, then measures each row in rounds: a short value of
 * each guest, one after the other, in changing order. Throws E_TOOL_MISSING, E_IMAGE_*, E_USAGE; a
 * row that fails is told and the run goes on.
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
  const guests = new Map<GuestKind, BenchGuest>();
  try {
    for (const kind of KINDS) {
      progress(`starting the guest: ${kind}`);
      guests.set(kind, await BenchGuest.start(kind, files));
    }
    const bench = new Measurement(guests, redisBenchmark, progress);
    await bench.warmUp();
    const samples: RowSamples[] = [];
    const count = quick ? Math.ceil(rounds * QUICK_SHARE) : rounds;
    for (const row of rows) samples.push(await bench.measure(row, count));
    return networkResult(samples);
  } finally {
    for (const guest of guests.values()) await guest.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Guests that are up, and what is done with them. */
class Measurement {
  readonly #guests: ReadonlyMap<GuestKind, BenchGuest>;
  readonly #redisBenchmark: string;
  readonly #progress: (line: string) => void;

  constructor(
    guests: ReadonlyMap<GuestKind, BenchGuest>,
    redisBenchmark: string,
    progress: (line: string) => void,
  ) {
    this.#guests = guests;
    this.#redisBenchmark = redisBenchmark;
    this.#progress = progress;
  }

  /** What goes wrong here goes wrong in the rounds, too. */
  async warmUp(): Promise<void> {
    const row = ROWS.find(({ name }) => name === WARM_UP.row);
    if (row === undefined) return;
    for (const kind of KINDS) {
      this.#progress(`warming up: ${kind}`);
      const share = WARM_UP.requests / REDIS_50_REQUESTS;
      await this.#value(row, kind, share, WARM_UP_TIMEOUT_MS).catch(() => undefined);
    }
  }

  async measure(row: NetworkRow, rounds: number): Promise<RowSamples> {
    const samples = new RowSamples(row);
    const failures = new Map<GuestKind, number>();
    for (const kind of KINDS) {
      await this.#value(row, kind, ROW_WARM_UP, WARM_UP_TIMEOUT_MS).catch(() => undefined);
    }
    for (let round = 0; round < rounds; round++) {
      const found: Partial<Record<GuestKind, number>> = {};
      for (const kind of ORDERS[round % ORDERS.length] ?? KINDS) {
        const failed = failures.get(kind) ?? 0;
        if (failed >= MAX_FAILURES) continue;
        try {
          found[kind] = await this.#value(row, kind, 1, ROW_TIMEOUT_MS);
        } catch (error) {
          failures.set(kind, failed + 1);
          samples.fail(kind, reason(error));
        }
      }
      samples.add(found);
      this.#tell(row, `round ${round + 1} of ${rounds}`, found);
    }
    return samples;
  }

  async #value(
    row: NetworkRow,
    kind: GuestKind,
    share: number,
    timeoutMs: number,
  ): Promise<number> {
    const guest = this.#guests.get(kind);
    assert(guest !== undefined, `a guest of kind ${kind} is up`);
    const signal = AbortSignal.timeout(timeoutMs);
    const redisBenchmark = this.#redisBenchmark;
    return row.measure({ ports: guest.ports, redisBenchmark, share, signal });
  }

  #tell({ name, unit }: NetworkRow, round: string, found: Round): void {
    const values = KINDS.map((kind) => `${kind} ${found[kind]?.toFixed(1) ?? "none"}`);
    this.#progress(`${name}, ${round}: ${values.join(", ")} ${unit}`);
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

function reason(error: unknown): string {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  const late = name === "TimeoutError" || name === "AbortError";
  return late ? `not within ${ROW_TIMEOUT_MS / 1000} s` : message;
}
