/**
 * How fast the log store takes things in and reads them back, on a disk of this host. Pages are
 * those of this program's own executable, which compress about as RAM does; every page is a
 * different one.
 */
import { closeSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type CheckpointId,
  finish,
  type LineageWriter,
  openLogStore,
  PackedPuts,
  PUTS_UNDER_WAY,
  type SqliteLogStore,
  sha256,
} from "@dejavm/log-store";
import { PAGE_BYTES, position, ticks } from "@dejavm/machine";
import { type TracePoint, TraceWriter } from "@dejavm/trace";

/** How much is done. */
export interface LogStoreBenchOptions {
  /** Where the store is made and removed; default: the system's directory for such things. */
  readonly directory?: string;
  /** RAM of the guest whose checkpoints are stored, MiB. */
  readonly guestMib: number;
  /** What it changes between the two checkpoints, MiB. */
  readonly dirtyMib: number;
  /** Input events of the trace. */
  readonly events: number;
}

/** What was measured; MB are 10^6 bytes. */
export interface LogStoreBenchResult {
  readonly eventsPerSecond: number;
  /** Commits of the trace, each of EVENTS_PER_COMMIT events. */
  readonly commitsPerSecond: number;
  /** Median and worst of the time that a commit holds up the machine's thread. */
  readonly commitMicroseconds: { readonly median: number; readonly p99: number };
  /** Bytes of pages, as the guest has them, that a checkpoint takes in. */
  readonly appendMBps: number;
  /** The same by CPU time, which other work on the host changes less. */
  readonly appendMBpsOfCpu: number;
  /** Bytes, unpacked, that `verify` looks at. */
  readonly verifyMBps: number;
  readonly verifyMBpsOfCpu: number;
  /** Pages read back in the order in which they lie in RAM. */
  readonly readMBps: number;
  readonly increment: {
    readonly dirtyMB: number;
    /** What the database has grown by. */
    readonly storedMB: number;
    readonly seconds: number;
    readonly cpuSeconds: number;
  };
  /** What a whole checkpoint takes up, as a share of its pages. */
  readonly storedShare: number;
}

/** What a slice of a busy network server comes to. */
const EVENTS_PER_COMMIT = 50;
const EVENT_BYTES = 24;
/** Pages of one put, as whoever copies a checkpoint of a machine has them. */
const PAGES_PER_PUT = 64;
/** Pages that the benchmark makes up before it puts them, 64 MiB: at the end of each it waits. */
const PAGES_AT_ONCE = 16_384;
const PAGES_PER_MIB = 2 ** 20 / PAGE_BYTES;

/** Measures in a store of its own, which is removed afterwards. */
export async function runLogStoreBench(
  options: LogStoreBenchOptions,
): Promise<LogStoreBenchResult> {
  const { guestMib, dirtyMib, events } = options;
  const folder = await mkdtemp(join(options.directory ?? tmpdir(), "dejavm-bench-store-"));
  const store = openLogStore(folder);
  try {
    const nothing = { config: new Uint8Array(0), fingerprint: new Uint8Array(0) };
    const writer = store.openLineage(store.createLineage({ name: "bench", ...nothing }).id);
    const trace = appendEvents(writer, events);
    const pages = new PageSource();
    const all = guestMib * PAGES_PER_MIB;
    const whole = await putCheckpoint({
      store,
      writer,
      pages,
      all,
      count: all,
      generation: 0,
    });
    const wholeBytes = databaseBytes(store, folder);
    const changed = await putCheckpoint({
      store,
      writer,
      pages,
      all,
      count: dirtyMib * PAGES_PER_MIB,
      generation: 1,
      parent: whole.id,
    });
    const storedMB = (databaseBytes(store, folder) - wholeBytes) / 1e6;
    pages.close();
    const wholeMB = (all * PAGE_BYTES) / 1e6;
    return {
      ...trace,
      appendMBps: wholeMB / whole.took.seconds,
      appendMBpsOfCpu: wholeMB / whole.took.cpuSeconds,
      ...(await readBack(store, changed.id)),
      increment: { dirtyMB: (dirtyMib * 2 ** 20) / 1e6, storedMB, ...changed.took },
      storedShare: wholeBytes / 1e6 / wholeMB,
    };
  } finally {
    store.close();
    rmSync(folder, { recursive: true });
  }
}

type TraceFigures = Pick<
  LogStoreBenchResult,
  "eventsPerSecond" | "commitsPerSecond" | "commitMicroseconds"
>;

/** Encodes, seals and commits as the live loop does; one commit for each slice with inputs. */
function appendEvents(writer: LineageWriter, events: number): TraceFigures {
  const trace = new TraceWriter({
    hasher: { sha256 },
    at: { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) },
  });
  const bytes = new Uint8Array(EVENT_BYTES).fill(0x61);
  const micros: number[] = [];
  const start = performance.now();
  for (let i = 0; i < events; i++) {
    const at = position(BigInt(i) * 997n);
    const event = { kind: "console", port: "hvc", bytes } as const;
    trace.append({ kind: "input", position: at, idleTicks: undefined, event });
    if ((i + 1) % EVENTS_PER_COMMIT !== 0) continue;
    const segment = trace.seal();
    const before = performance.now();
    if (segment !== undefined) writer.append([segment]);
    micros.push((performance.now() - before) * 1000);
  }
  const seconds = (performance.now() - start) / 1000;
  micros.sort((a, b) => a - b);
  const at = (share: number): number => micros[Math.floor(micros.length * share)] ?? 0;
  return {
    eventsPerSecond: events / seconds,
    commitsPerSecond: micros.length / seconds,
    commitMicroseconds: { median: at(0.5), p99: at(0.99) },
  };
}

/** Pages by number and generation, no two alike. */
class PageSource {
  readonly #file: number;
  readonly #pages: number;

  constructor() {
    this.#file = openSync(process.execPath, "r");
    this.#pages = Math.floor(statSync(process.execPath).size / PAGE_BYTES);
  }

  read(first: number, count: number, generation: number): Uint8Array {
    const bytes = new Uint8Array(count * PAGE_BYTES);
    const view = new DataView(bytes.buffer);
    const from = (first + generation * 17) % (this.#pages - count);
    readSync(this.#file, bytes, 0, bytes.length, from * PAGE_BYTES);
    for (let i = 0; i < count; i++) {
      view.setUint32(i * PAGE_BYTES, first + i + 1, true);
      view.setUint32(i * PAGE_BYTES + 4, generation, true);
    }
    return bytes;
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** By the wall and by the CPU, user and system, of the whole process. */
interface Took {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

class Stopwatch {
  #milliseconds = 0;
  #cpuMicroseconds = 0;

  get took(): Took {
    return { seconds: this.#milliseconds / 1e3, cpuSeconds: this.#cpuMicroseconds / 1e6 };
  }

  async time<Result>(body: () => Result | Promise<Result>): Promise<Result> {
    const start = performance.now();
    const cpu = process.cpuUsage();
    const result = await body();
    const { user, system } = process.cpuUsage(cpu);
    this.#milliseconds += performance.now() - start;
    this.#cpuMicroseconds += user + system;
    return result;
  }
}

interface Put {
  readonly store: SqliteLogStore;
  readonly writer: LineageWriter;
  readonly pages: PageSource;
  /** Pages of RAM. */
  readonly all: number;
  /** Pages that are put, spread over it. */
  readonly count: number;
  readonly generation: number;
  readonly parent?: CheckpointId;
}

/** A checkpoint of some pages; the time leaves out how they were made up. */
async function putCheckpoint(
  put: Put,
): Promise<{ readonly id: CheckpointId; readonly took: Took }> {
  const { store, writer, pages, all, count, generation, parent } = put;
  const trace: TracePoint = writer.traceEnd ?? {
    sequence: 0,
    position: 0n,
    ticks: 0n,
    chain: new Uint8Array(32),
  };
  const open = writer.beginCheckpoint({
    position: position(trace.position),
    ticks: ticks(trace.ticks),
    trace,
    memoryPages: all,
    state: new Uint8Array(20_000),
    ...(parent === undefined ? {} : { parent }),
  });
  // An odd stride spreads them over all of RAM, as a guest's writes are.
  const stride = count === all ? 1 : Math.floor(all / count) | 1;
  const watch = new Stopwatch();
  const puts = new PackedPuts({ checkpoint: open, store });
  for (let from = 0; from < count; from += PAGES_AT_ONCE) {
    const batches: { numbers: Uint32Array; bytes: Uint8Array }[] = [];
    for (let at = from; at < Math.min(from + PAGES_AT_ONCE, count); at += PAGES_PER_PUT) {
      const some = Math.min(PAGES_PER_PUT, count - at);
      const numbers = Uint32Array.from({ length: some }, (_, i) => ((at + i) * stride) % all);
      batches.push({ numbers, bytes: pages.read(at, some, generation) });
    }
    await watch.time(() => putAll(puts, batches));
  }
  const { id } = await watch.time(() => open.commit());
  return { id, took: watch.took };
}

async function putAll(
  puts: PackedPuts,
  batches: readonly { numbers: Uint32Array; bytes: Uint8Array }[],
): Promise<void> {
  const underWay: Promise<void>[] = [];
  for (const { numbers, bytes } of batches) {
    if (underWay.length >= PUTS_UNDER_WAY) await underWay.shift();
    underWay.push(puts.putPages(numbers, bytes));
  }
  await Promise.all(underWay);
}

/** Bytes of the database once the write-ahead log is in it. */
function databaseBytes(store: SqliteLogStore, folder: string): number {
  store.settle();
  return statSync(join(folder, "store.db")).size;
}

async function readBack(
  store: SqliteLogStore,
  id: CheckpointId,
): Promise<Pick<LogStoreBenchResult, "verifyMBps" | "verifyMBpsOfCpu" | "readMBps">> {
  const watch = new Stopwatch();
  const { problems, bytes } = await watch.time(() => finish(store.verify()));
  if (problems.length > 0) throw new Error(`verify: ${JSON.stringify(problems.slice(0, 3))}`);
  const reader = store.openCheckpoint(id);
  const { pages } = reader;
  const start = performance.now();
  for (let from = 0; from < pages.length; from += PAGES_PER_PUT) {
    reader.readPages(pages.subarray(from, from + PAGES_PER_PUT));
  }
  const readSeconds = (performance.now() - start) / 1000;
  return {
    verifyMBps: bytes / 1e6 / watch.took.seconds,
    verifyMBpsOfCpu: bytes / 1e6 / watch.took.cpuSeconds,
    readMBps: (pages.length * PAGE_BYTES) / 1e6 / readSeconds,
  };
}
