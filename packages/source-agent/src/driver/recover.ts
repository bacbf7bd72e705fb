/**
 * Brings a recorded machine back: its newest checkpoint out of the store, then the trace from
 * there to its end, behind which nothing of it was seen outside. It goes live there.
 */
import { CodedError } from "@dejavm/base";
import type { CheckpointReader, LineageId, LogStore } from "@dejavm/log-store";
import type { RestoreConfig } from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";
import {
  type ChunkName,
  fromReport,
  MAX_CHUNKS_PER_READ,
  MAX_FED_BYTES,
  type StartSpec,
  VirtualMachine,
  type VmReport,
} from "@dejavm/vm";
import type { SourceAgentErrorCode } from "../errors.ts";
import type { RecordedVm } from "./recorded-vm.ts";

/** Pages of one message to the machine: 2 MiB. */
const PAGES_PER_SUPPLY = 512;
/** Bytes of segments in one message. */
const FEED_BYTES = 512 * 1024;
/** The checkpoint's number in the worker. */
const CHECKPOINT = 1;
const GO_LIVE = 1;

/** What it works with. */
export interface RecoverOptions {
  readonly store: LogStore;
  readonly lineage: LineageId;
  readonly config: RestoreConfig;
  readonly spec: Omit<StartSpec, "source" | "record">;
  /** Takes the machine over where it goes live. */
  readonly recorded: RecordedVm;
  /** How far virtual time `ticks` is behind the wall now, in ticks of 100 ns; below 0: ahead. */
  readonly behindTicks: (ticks: bigint) => number;
}

/** What was brought back. */
export interface Recovery {
  readonly vm: VirtualMachine;
  /** Positions replayed, and the wall time that all of it took. */
  readonly replayed: bigint;
  readonly tookMs: number;
  /** The end of the stored trace could not be reached: it was not recorded in between. */
  readonly hasGap: boolean;
}

/**
 * Undefined: the store has no checkpoint, so nothing of the machine was ever seen. Throws
 * E_RECOVERY_DIVERGED, what the store throws and what is wrong with disks and images.
 */
export async function recoverVm(options: RecoverOptions): Promise<Recovery | undefined> {
  const info = options.store.checkpoints(options.lineage).at(-1);
  if (info === undefined) return undefined;
  const start = performance.now();
  const recovery = new Recovering(options, options.store.openCheckpoint(info.id));
  const vm = await recovery.run();
  const tookMs = performance.now() - start;
  return { vm, replayed: recovery.replayed, tookMs, hasGap: recovery.hasGap };
}

class Recovering {
  replayed = 0n;
  hasGap = false;
  readonly #options: RecoverOptions;
  readonly #checkpoint: CheckpointReader;
  readonly #done = Promise.withResolvers<void>();
  #vm: VirtualMachine | undefined;
  #fedBytes = 0;
  #onRoom: (() => void) | undefined;
  /** Set once everything is fed: the place to go live at. */
  #end: TracePoint | undefined;
  #at: Extract<VmReport, { kind: "at-frontier" }> | undefined;

  constructor(options: RecoverOptions, checkpoint: CheckpointReader) {
    this.#options = options;
    this.#checkpoint = checkpoint;
    // Whoever waits hears of it; a failure before that is thrown by what failed.
    this.#done.promise.catch(() => undefined);
  }

  async run(): Promise<VirtualMachine> {
    const { config, spec } = this.#options;
    const { state, info } = this.#checkpoint;
    const vm = await VirtualMachine.start(
      { ...spec, source: { kind: "checkpoint", id: CHECKPOINT, config, state, trace: info.trace } },
      { onConsole: () => undefined, onReport: (report) => this.#hear(report) },
    );
    this.#vm = vm;
    vm.ended.catch((error: Error) => this.#done.reject(error));
    try {
      this.#supply(vm);
      await this.#feed(vm);
      this.#goLiveAtEnd();
      await this.#done.promise;
      return vm;
    } catch (error) {
      await vm.terminate();
      throw error;
    }
  }

  #supply(vm: VirtualMachine): void {
    const { pages, chunks } = this.#checkpoint;
    for (let at = 0; at < pages.length; at += PAGES_PER_SUPPLY) {
      const some = pages.slice(at, at + PAGES_PER_SUPPLY);
      vm.request({ kind: "supply-pages", pages: some, bytes: this.#checkpoint.readPages(some) });
    }
    vm.request({ kind: "supply-rest-zero" });
    for (let at = 0; at < chunks.length; at += MAX_CHUNKS_PER_READ) {
      this.#supplyChunks(vm, chunks.slice(at, at + MAX_CHUNKS_PER_READ));
    }
  }

  #supplyChunks(vm: VirtualMachine, names: readonly ChunkName[]): void {
    const contents = names.flatMap(({ disk, chunk }) => {
      const bytes = this.#checkpoint.readChunk(disk, chunk);
      return bytes === undefined ? [] : [{ disk, chunk, bytes }];
    });
    vm.request({
      kind: "supply-chunks",
      chunks: contents.map(({ disk, chunk }) => ({ disk, chunk })),
      bytes: Buffer.concat(contents.map(({ bytes }) => bytes)),
    });
  }

  async #feed(vm: VirtualMachine): Promise<void> {
    const { store, lineage } = this.#options;
    const { trace } = this.#checkpoint.info;
    let end: TracePoint = trace;
    let batch: Uint8Array[] = [];
    let batchBytes = 0;
    // One message for many segments: each message is a turn of the machine's thread.
    const send = (): void => {
      if (batch.length > 0) vm.request({ kind: "feed", segments: batch });
      this.#fedBytes += batchBytes;
      [batch, batchBytes] = [[], 0];
    };
    for (const { header, bytes } of store.readTrace(lineage, trace.sequence)) {
      const follows = header.sequence <= trace.sequence || header.from.position === end.position;
      if (!follows) {
        this.hasGap = true;
        break;
      }
      batch.push(bytes);
      batchBytes += bytes.length;
      if (batchBytes > FEED_BYTES) {
        if (this.#fedBytes + batchBytes > MAX_FED_BYTES) await this.#room();
        send();
      }
      const { sequence, unitCount, to, chain } = header;
      end = { sequence: sequence + unitCount, ...to, chain };
    }
    send();
    this.#end = end;
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRoom = resolve;
    });
  }

  #hear(report: VmReport): void {
    switch (report.kind) {
      case "replayed":
        this.#fedBytes = report.fedBytes;
        if (this.#fedBytes < MAX_FED_BYTES / 2) this.#onRoom?.();
        break;
      case "at-frontier":
        this.#at = report;
        this.#onRoom?.();
        this.#goLiveAtEnd();
        break;
      case "live":
        this.#isLive(report.checkpoint);
        break;
      case "diverged":
        this.#done.reject(diverged(report.position, report.divergence.reason.kind));
        break;
      case "refused":
        this.#done.reject(fromReport(report.error));
        break;
      default:
        break;
    }
  }

  #goLiveAtEnd(): void {
    const [end, at] = [this.#end, this.#at];
    if (end === undefined || at === undefined || at.trace.sequence < end.sequence) return;
    this.#end = undefined;
    const { store, lineage, behindTicks } = this.#options;
    const { position, ticks } = at;
    this.replayed = position - this.#checkpoint.info.position;
    const stored = store.traceEnd(lineage);
    const record = this.hasGap && stored !== undefined ? { ...stored, position, ticks } : at.trace;
    this.#vm?.request({
      kind: "go-live",
      id: GO_LIVE,
      behindTicks: behindTicks(ticks),
      entropySeed: undefined,
      record,
      frozen: false,
    });
  }

  #isLive(checkpoint: number): void {
    const { recorded } = this.#options;
    if (this.#vm === undefined) return;
    this.#vm.attach(recorded.events);
    const { id: stored } = this.#checkpoint.info;
    recorded.attachRecovered(this.#vm, { id: checkpoint, stored, hasGap: this.hasGap });
    this.#done.resolve();
  }
}

function diverged(position: bigint, how: string): CodedError<SourceAgentErrorCode> {
  return new CodedError(
    "E_RECOVERY_DIVERGED",
    `cannot bring the machine back: its replay differs from its recording at ${position} (${how})`,
    { hint: "keep the store and report it; `dejavm fork` makes a machine of an earlier moment" },
  );
}
