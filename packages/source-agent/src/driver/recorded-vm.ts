/**
 * A running machine whose execution is kept: its trace goes to the store as it is sealed, outputs
 * leave only behind the part of the trace that they depend on, and checkpoints bound how long it
 * takes to bring the machine back. It lives in the thread that owns the store.
 *
 * Where the store cannot take more (a full disk), a durable machine stands still until it can;
 * any other one runs on unrecorded, and recording begins anew with a complete checkpoint.
 */
import {
  type CheckpointId,
  DEFAULT_RETENTION_BYTES,
  type LineageWriter,
  type LogStore,
} from "@dejavm/log-store";
import type { Segment, TracePoint } from "@dejavm/trace";
import {
  fileError,
  type VirtualMachine,
  type VirtualMachineEvents,
  type VmReport,
} from "@dejavm/vm";
import { CheckpointSchedule, DEFAULT_REPLAY_LIMIT_MS } from "../checkpoint-schedule.ts";
import { OutputGate } from "../output-gate.ts";
import { CheckpointCopier } from "./checkpoint-copier.ts";

/** Old pages that a periodic checkpoint may cost (64 MiB); one that needs more is given up. */
const MAX_SAVED_PAGES = 16_384;
const PROGRESS_INTERVAL_MS = 500;
/** Checkpoints have numbers from here on; those of migrations lie far above, others below. */
const FIRST_OWN_ID = 1000;
/** Contents that no checkpoint needs are looked for this often at most, with pauses. */
const COLLECTION_INTERVAL_MS = 300_000;
const COLLECTION_PAUSE_MS = 20;
/** How often a store that failed is tried again. */
const RETRY_MS = 2000;

/** What it works with. */
export interface RecordedVmOptions {
  readonly store: LogStore;
  readonly writer: LineageWriter;
  readonly memoryBytes: number;
  /** Where the trace begins if nothing is stored yet. */
  readonly start: TracePoint;
  /** Whether outputs wait until the trace survives a loss of power. */
  readonly durable: boolean;
  /** Longest replay when the machine is brought back, in ms of CPU time. */
  readonly replayLimitMs?: number;
  /** Stored bytes of this machine at most. */
  readonly retentionBytes?: number;
  /** One line for people. */
  readonly onNotice: (line: string) => void;
  readonly events: VirtualMachineEvents;
}

/** The checkpoint that a machine came from when it was brought back. */
export interface RecoveredFrom {
  /** Its number in the worker: `checkpoint` of the report `live`. */
  readonly id: number;
  readonly stored: CheckpointId;
  /** The stored trace goes on from somewhere else: it had not been recorded in between. */
  readonly hasGap: boolean;
}

/** `stopped`: unrecorded since a failure of the store. `paused`: it stands still for one. */
export type RecordingState = "recorded" | "stopped" | "paused";

/** See the head of this file. Give `events` to the machine when it starts, then `attach` it. */
export class RecordedVm {
  readonly events: VirtualMachineEvents;
  readonly #options: RecordedVmOptions;
  readonly #gate = new OutputGate();
  readonly #schedule: CheckpointSchedule;
  #vm: VirtualMachine | undefined;
  #state: RecordingState = "recorded";
  /** Segments that the store has not taken yet. */
  #pending: Segment[] = [];
  #isFlushing = false;
  /** The checkpoint that is being made. */
  #copier: CheckpointCopier | undefined;
  #isHeld = false;
  #ids = FIRST_OWN_ID;
  readonly #ownIds = new Set<number>();
  /** In the worker and in the store: what the next checkpoint is relative to. */
  #base: { readonly id: number; readonly stored: CheckpointId } | undefined;
  #cpuMs = 0;
  #begunAtCpuMs = 0;
  #nextCollection = 0;
  /** Where recording begins anew. */
  #gap = false;
  #retry: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: RecordedVmOptions) {
    this.#options = options;
    this.#schedule = new CheckpointSchedule(options.replayLimitMs ?? DEFAULT_REPLAY_LIMIT_MS);
    this.events = {
      ...options.events,
      onOutputs: ({ after }, release) => this.#output(after, release),
      onReport: (report) => {
        this.#hear(report);
        options.events.onReport?.(report);
      },
    };
  }

  get state(): RecordingState {
    return this.#state;
  }

  /**
   * Whether no checkpoint begins, and one that has begun waits: while the machine moves, its CPU
   * and its pages go there.
   */
  set isHeld(isHeld: boolean) {
    this.#isHeld = isHeld;
    if (this.#copier !== undefined) this.#copier.isPaused = isHeld;
  }

  /** Outputs that wait for the store. */
  get waitingOutputs(): number {
    return this.#gate.waiting;
  }

  /**
   * A new machine that was started with these events: nothing of it is seen outside before its
   * first checkpoint is stored.
   */
  attach(vm: VirtualMachine): void {
    this.#vm = vm;
    vm.request({ kind: "report-progress", intervalMs: PROGRESS_INTERVAL_MS });
    this.#beginCheckpoint();
  }

  /**
   * A machine that was brought back, or came from another host, and is live: its trace so far and
   * the checkpoint that it came from, or a later one, are stored.
   */
  attachRecovered(vm: VirtualMachine, from: RecoveredFrom): void {
    this.#vm = vm;
    this.#gate.open();
    this.#gate.keep(this.#traceEnd.sequence - 1);
    vm.request({ kind: "report-progress", intervalMs: PROGRESS_INTERVAL_MS });
    this.#gap = from.hasGap;
    if (from.hasGap) this.#beginCheckpoint();
    else this.#base = from;
  }

  get #traceEnd(): TracePoint {
    return this.#options.writer.traceEnd ?? this.#options.start;
  }

  /** For ownership records and reports, which are written beside the recording. */
  get writer(): LineageWriter {
    return this.#options.writer;
  }

  /** A number for a checkpoint that somebody else begins. */
  nextCheckpointId(): number {
    return ++this.#ids;
  }

  /** Stores what is left and gives the lineage back. The machine has ended or was handed on. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#retry);
    this.#copier?.abandon();
    this.#copier = undefined;
    this.#letOutLast();
    this.#options.writer.release();
  }

  /**
   * What a machine said before it came to its end leaves once its trace is stored, also where it
   * ended before its first checkpoint was.
   */
  #letOutLast(): void {
    if (this.#state === "paused") return;
    try {
      if (this.#state === "recorded") this.#flush();
      if (this.#options.durable) {
        if (this.#pending.length > 0) return;
        this.#options.store.syncNow();
      }
      this.#gate.giveUp();
    } catch (error) {
      this.#options.onNotice(error instanceof Error ? error.message : String(error));
    }
  }

  // ---- the trace

  #hear(report: VmReport): void {
    if (this.#isClosed) return;
    switch (report.kind) {
      case "segment":
        if (this.#state === "stopped") break;
        this.#pending.push(report);
        this.#flushSoon();
        break;
      case "progress":
        this.#cpuMs = report.cpuMs;
        if (this.#isDue()) this.#beginCheckpoint();
        break;
      case "checkpoint-begun":
        if (this.#ownIds.has(report.id)) this.#guarded(() => this.#begun(report));
        break;
      case "pages":
      case "chunks":
        if (this.#ownIds.has(report.id)) this.#copier?.put(report);
        break;
      case "checkpoint-abandoned":
        if (this.#ownIds.has(report.id)) this.#giveUpCheckpoint();
        break;
      default:
        break;
    }
  }

  #output(after: number | undefined, release: () => void): void {
    // Nobody stores what it does from here on: whoever saw it would see it undone.
    if (this.#isClosed) return;
    if (this.#state === "recorded") this.#flush();
    this.#gate.push(after, release);
  }

  /** Segments that come together are stored together. */
  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      if (this.#state === "recorded" && !this.#isClosed) this.#flush();
    });
  }

  #flush(): void {
    const segments = this.#pending;
    const last = segments.at(-1);
    if (last === undefined) return;
    try {
      this.#options.writer.append(segments, this.#gap ? { afterGap: true } : {});
    } catch (error) {
      this.#storeFailed(error);
      return;
    }
    this.#gap = false;
    this.#pending = [];
    const { sequence, unitCount } = last.header;
    const kept = sequence + unitCount - 1;
    if (!this.#options.durable) {
      this.#gate.keep(kept);
      return;
    }
    this.#options.store.sync().then(
      () => this.#gate.keep(kept),
      (error: unknown) => this.#storeFailed(error),
    );
  }

  // ---- checkpoints

  #isDue(): boolean {
    return (
      !this.#isHeld &&
      this.#copier === undefined &&
      this.#state === "recorded" &&
      this.#ownIds.size === 0 &&
      this.#schedule.isDue(this.#cpuMs, performance.now())
    );
  }

  #beginCheckpoint(): void {
    const id = this.nextCheckpointId();
    this.#ownIds.add(id);
    this.#begunAtCpuMs = this.#cpuMs;
    this.#request({
      kind: "checkpoint",
      id,
      since: this.#base?.id,
      maxSavedPages: MAX_SAVED_PAGES,
      whenFull: "give-up",
      recordFirstTouch: false,
    });
  }

  #begun(begun: Extract<VmReport, { kind: "checkpoint-begun" }>): void {
    const { store, writer, memoryBytes } = this.#options;
    // The trace that it goes on from is stored first.
    this.#flush();
    if (this.#state !== "recorded") return;
    const parent = begun.since === undefined ? undefined : this.#base?.stored;
    const copier = new CheckpointCopier({
      begun,
      store,
      writer,
      parent,
      memoryBytes,
      request: (request) => this.#request(request),
      onCopied: () => this.#guarded(() => this.#commit(copier, begun.id)),
      onFailed: (error) => this.#storeFailed(error),
    });
    this.#copier = copier;
    copier.isPaused = this.#isHeld;
    copier.start();
  }

  #commit(copier: CheckpointCopier, id: number): void {
    this.#flush();
    if (this.#state !== "recorded") return;
    const stored = copier.commit();
    this.#copier = undefined;
    this.#ownIds.delete(id);
    this.#request({ kind: "close-checkpoint", id });
    this.#base = { id, stored };
    this.#schedule.completed(this.#begunAtCpuMs);
    const { store, writer, durable, retentionBytes = DEFAULT_RETENTION_BYTES } = this.#options;
    if (durable) {
      store.sync().then(
        () => this.#gate.open(),
        (error: unknown) => this.#storeFailed(error),
      );
    } else {
      this.#gate.open();
    }
    writer.compact();
    const { checkpointsRemoved } = writer.retain({ maxBytes: retentionBytes });
    if (checkpointsRemoved > 0) this.#collectGarbage();
  }

  /** What only dropped checkpoints had is freed, a step now and then. */
  #collectGarbage(): void {
    const now = performance.now();
    if (now < this.#nextCollection) return;
    this.#nextCollection = now + COLLECTION_INTERVAL_MS;
    const steps = this.#options.store.gc();
    const step = (): void => {
      if (this.#isClosed) return;
      this.#guarded(() => {
        if (steps.next().done !== true) setTimeout(step, COLLECTION_PAUSE_MS).unref();
      });
    };
    step();
  }

  #giveUpCheckpoint(): void {
    this.#copier?.abandon();
    this.#copier = undefined;
    for (const id of this.#ownIds) this.#request({ kind: "close-checkpoint", id });
    this.#ownIds.clear();
    this.#schedule.failed(performance.now());
  }

  // ---- a store that fails

  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#storeFailed(error);
    }
  }

  #storeFailed(cause: unknown): void {
    if (this.#state !== "recorded" || this.#isClosed) return;
    const error = fileError("store the machine's trace", cause);
    const why = error instanceof Error ? error.message : String(error);
    try {
      this.#giveUpCheckpoint();
    } catch {
      // What it had stored is dropped when the store is opened next.
    }
    if (this.#options.durable) {
      this.#state = "paused";
      this.#request({ kind: "freeze", id: this.nextCheckpointId() });
      this.#options.onNotice(`the machine stands still: ${why}`);
    } else {
      this.#state = "stopped";
      this.#pending = [];
      this.#request({ kind: "stop-recording" });
      this.#gate.giveUp();
      this.#options.onNotice(`the machine runs on unrecorded: ${why}`);
    }
    this.#retryLater();
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      if (this.#isClosed) return;
      if (this.#state === "paused") this.#retryPaused();
      else if (this.#state === "stopped") this.#retryStopped();
    }, RETRY_MS);
    this.#retry.unref();
  }

  #retryPaused(): void {
    this.#state = "recorded";
    this.#flush();
    if (this.#state !== "recorded") return;
    this.#request({ kind: "unfreeze", id: this.nextCheckpointId() });
    this.#options.onNotice("the machine goes on");
    if (this.#base === undefined) this.#beginCheckpoint();
  }

  /** Recording begins anew behind what is stored, with a checkpoint that needs nothing of it. */
  #retryStopped(): void {
    const { sequence, chain } = this.#traceEnd;
    this.#state = "recorded";
    this.#base = undefined;
    this.#gap = true;
    this.#gate.resume(sequence - 1);
    this.#request({ kind: "start-recording", from: { sequence, chain } });
    this.#beginCheckpoint();
    this.#options.onNotice("the machine is recorded again");
  }

  #request(request: Parameters<VirtualMachine["request"]>[0]): void {
    this.#vm?.request(request);
  }
}
