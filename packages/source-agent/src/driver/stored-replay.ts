/**
 * Replays what a store has of a machine, in this thread: from a checkpoint to a moment, in small
 * steps, with what left the guest and what came to it handed out on the way.
 */
import { assert, CodedError } from "@dejavm/base";
import {
  type CheckpointInfo,
  HOST_CODECS,
  type LineageInfo,
  type LogStore,
} from "@dejavm/log-store";
import { decodeState, Machine, type PositionedOutput, type Ticks, ticks } from "@dejavm/machine";
import {
  type Divergence,
  Replayer,
  type ReplayStep,
  type Segment,
  TraceReader,
  type TraceRecord,
} from "@dejavm/trace";
import { type EngineName, FileBlockStore, machineOptions } from "@dejavm/vm";
import type { SourceAgentErrorCode } from "../errors.ts";
import { decodeVmConfig, restoreConfigOf, type VmConfig } from "../vm-config.ts";
import { checkSameMachine, inspectVm, locateVm, type VmFiles } from "./vm-files.ts";

/** A moment of a recorded execution. */
export type ReplayGoal =
  /** The end of what was recorded. */
  | { readonly kind: "end" }
  | { readonly kind: "position"; readonly position: bigint }
  /** Virtual time in ticks of 100 ns since power-on. */
  | { readonly kind: "ticks"; readonly ticks: bigint };

/** What is replayed, and how. */
export interface StoredReplayOptions {
  readonly store: LogStore;
  readonly lineage: LineageInfo;
  readonly goal: ReplayGoal;
  /** From the oldest checkpoint on; else from the one nearest to the goal. */
  readonly whole: boolean;
  readonly engine?: EngineName;
  /** What left the guest; `at` is virtual time, to a few milliseconds. */
  readonly onOutput?: (output: PositionedOutput, at: Ticks) => void;
  /** What came to the guest, and the rest of the trace. */
  readonly onRecord?: (record: TraceRecord, at: Ticks) => void;
}

/** How far a replay is. */
export interface StoredReplayProgress {
  readonly phase: "load" | "replay" | "save";
  /** Pages or positions, from where the replay began. */
  readonly done: number;
  readonly total: number;
}

/** What a replay came to. */
export interface StoredReplayResult {
  /** `gap`: the machine was not recorded any further at that time. */
  readonly reached: "goal" | "end" | "gap" | "diverged";
  readonly divergence: Divergence | undefined;
  /** Digests of the recording that were equal. */
  readonly digests: number;
  /** Where it began. */
  readonly from: { readonly position: bigint; readonly ticks: bigint };
}

/** Positions of one step; near a goal in time, steps of about a millisecond. */
const STEP_POSITIONS = 1_000_000n;
const SHORT_STEP_POSITIONS = 20_000n;
const NEAR_TICKS = 2_000_000n;
const FOR_EVER = ticks((1n << 64n) - 1n);
const PAGES_PER_READ = 512;

/** See the head of this file; `close` it in the end. */
export class StoredReplay {
  readonly machine: Machine;
  readonly config: VmConfig;
  readonly disks: FileBlockStore;
  readonly #options: StoredReplayOptions;
  readonly #checkpoint: CheckpointInfo;
  readonly #replayer: Replayer;
  readonly #reader: TraceReader;
  readonly #segments: Iterator<Segment>;
  readonly #files: VmFiles;
  #isLoaded = false;

  private constructor(options: StoredReplayOptions, config: VmConfig, files: VmFiles) {
    const { store, lineage, engine, onOutput, onRecord } = options;
    this.#options = options;
    this.config = config;
    this.#files = files;
    this.#checkpoint = startOf(options);
    const restart = config.restarts && files.boot !== undefined ? { restart: files.boot } : {};
    const reader = store.openCheckpoint(this.#checkpoint.id);
    this.machine = Machine.restore(
      restoreConfigOf(config),
      decodeState(reader.state),
      machineOptions({ ...(engine === undefined ? {} : { engine }), ...restart }),
    );
    this.disks = new FileBlockStore(files.disks);
    const { machine } = this;
    this.#replayer = new Replayer({
      machine,
      output: (output) => onOutput?.(output, machine.ticks),
      record: (record) => onRecord?.(record, machine.ticks),
    });
    const { trace } = this.#checkpoint;
    this.#reader = new TraceReader({ codecs: HOST_CODECS, at: trace });
    this.#segments = store.readTrace(lineage.id, trace.sequence)[Symbol.iterator]();
  }

  /**
   * Throws E_REPLAY_RANGE where nothing is kept of that moment, E_TRACE_CONFIG and what is wrong
   * with the machine's files.
   */
  static async open(options: StoredReplayOptions): Promise<StoredReplay> {
    const config = await locateVm(options.lineage, decodeVmConfig(options.lineage.config));
    const files = await inspectVm(config);
    checkSameMachine(options.lineage.fingerprint, config, files);
    return new StoredReplay(options, config, files);
  }

  /** Does it. May be left off at any step. Throws E_TRACE_* where the trace is damaged. */
  *run(): Generator<StoredReplayProgress, StoredReplayResult> {
    yield* this.#load();
    const start = this.machine.position;
    const total = this.#length(start);
    let digests = 0;
    for (;;) {
      yield { phase: "replay", done: Number(this.machine.position - start), total };
      if (this.#atGoal) return this.#result("goal", digests);
      const step = this.#replayer.advance(this.#stepPositions, this.#latest);
      if (step.kind === "digest-matched") digests++;
      const reached = this.#handle(step);
      if (reached !== undefined) {
        const divergence = step.kind === "diverged" ? step.divergence : undefined;
        return this.#result(reached, digests, divergence);
      }
    }
  }

  /** Goes to a position, or to where the trace, or its agreement with the machine, ends. */
  runTo(until: bigint): void {
    if (!this.#isLoaded) drain(this.#load());
    while (this.machine.position < until) {
      const left = until - this.machine.position;
      const step = this.#replayer.advance(left < STEP_POSITIONS ? left : STEP_POSITIONS);
      if (this.#handle(step) !== undefined) return;
    }
  }

  /** The same from its start once more; with another engine, if one is named. */
  again(engine: EngineName | undefined = this.#options.engine): StoredReplay {
    const { onOutput: _, onRecord: __, ...options } = this.#options;
    const goal = { kind: "position", position: this.#checkpoint.position } as const;
    const quiet = { ...options, goal, ...(engine === undefined ? {} : { engine }) };
    return new StoredReplay({ ...quiet, whole: false }, this.config, this.#files);
  }

  /** Gives the machine what it lacks. */
  supply(missing: Extract<ReplayStep, { kind: "missing-page" | "missing-block" }>): void {
    assert(missing.kind === "missing-block", "every page was loaded");
    this.collectChunks();
    for (const block of missing.blocks) {
      const bytes = this.disks.read(block);
      assert(bytes !== undefined, "every chunk was loaded");
      this.machine.supplyBlock(block, bytes);
    }
  }

  /** Every chunk that differs from the disks' bases; what the machine still holds is included. */
  collectChunks(): void {
    for (const block of this.machine.takeDirtyBlocks()) this.disks.write(block);
  }

  close(): void {
    this.disks.close();
  }

  *#load(): Generator<StoredReplayProgress, void> {
    const { machine } = this;
    this.#isLoaded = true;
    const reader = this.#options.store.openCheckpoint(this.#checkpoint.id);
    const { pages, chunks } = reader;
    for (const { disk, chunk } of chunks) {
      this.disks.write({ disk, chunk, bytes: reader.readChunk(disk, chunk) });
    }
    for (let at = 0; at < pages.length; at += PAGES_PER_READ) {
      yield { phase: "load", done: at, total: pages.length };
      const some = pages.subarray(at, at + PAGES_PER_READ);
      const bytes = reader.readPages(some);
      for (const [i, page] of some.entries()) {
        machine.supplyPage(page, bytes.subarray(i * 4096, (i + 1) * 4096));
      }
    }
    machine.zeroAbsentPages();
  }

  #length(start: bigint): number {
    const { goal, store, lineage } = this.#options;
    const end = store.traceEnd(lineage.id)?.position ?? start;
    const wanted = goal.kind === "position" && goal.position < end ? goal.position : end;
    return Number(wanted - start);
  }

  get #atGoal(): boolean {
    const { goal } = this.#options;
    if (goal.kind === "position") return this.machine.position >= goal.position;
    return goal.kind === "ticks" && this.machine.ticks >= goal.ticks;
  }

  get #latest(): Ticks {
    const { goal } = this.#options;
    return goal.kind === "ticks" ? ticks(goal.ticks) : FOR_EVER;
  }

  get #stepPositions(): bigint {
    const { goal, onOutput } = this.#options;
    if (goal.kind === "ticks" && this.machine.ticks + NEAR_TICKS >= goal.ticks) {
      return SHORT_STEP_POSITIONS;
    }
    const step = onOutput === undefined ? STEP_POSITIONS : SHORT_STEP_POSITIONS * 5n;
    if (goal.kind !== "position") return step;
    const left = goal.position - this.machine.position;
    return left < step ? left : step;
  }

  /** Undefined: it goes on. */
  #handle(step: ReplayStep): StoredReplayResult["reached"] | undefined {
    switch (step.kind) {
      case "missing-page":
      case "missing-block":
        this.supply(step);
        return undefined;
      case "at-frontier":
        return this.#feed();
      case "diverged":
        return "diverged";
      case "ended":
        return "end";
      default:
        return undefined;
    }
  }

  #feed(): "end" | "gap" | undefined {
    const next = this.#segments.next();
    if (next.done === true) return "end";
    const { header, bytes } = next.value;
    const want = this.#reader.point;
    const isNext = header.sequence === want.sequence;
    if (isNext && header.from.position !== want.position) return "gap";
    this.#replayer.feed(this.#reader.read(bytes));
    return undefined;
  }

  #result(
    reached: StoredReplayResult["reached"],
    digests: number,
    divergence?: Divergence,
  ): StoredReplayResult {
    const { position, ticks: time } = this.#checkpoint;
    return { reached, digests, divergence, from: { position, ticks: time } };
  }
}

function drain(steps: Generator): void {
  while (steps.next().done !== true);
}

/** The checkpoint to begin with. */
function startOf({ store, lineage, goal, whole }: StoredReplayOptions): CheckpointInfo {
  const all = store.checkpoints(lineage.id);
  const before = all.filter((checkpoint) => {
    if (goal.kind === "position") return checkpoint.position <= goal.position;
    return goal.kind === "end" || checkpoint.ticks <= goal.ticks;
  });
  const found = whole ? before[0] : before.at(-1);
  if (found !== undefined) return found;
  const oldest = all[0];
  throw new CodedError<SourceAgentErrorCode>(
    "E_REPLAY_RANGE",
    oldest === undefined
      ? `cannot replay ${lineage.name}: it has no checkpoint`
      : `cannot replay ${lineage.name} there: what is kept begins at position ${oldest.position}`,
    { hint: "see 'dejavm log show NAME' for what is kept" },
  );
}
