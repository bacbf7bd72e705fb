/**
 * A machine's thread, simulated: takes the requests and gives the reports of `packages/vm`, with
 * the model inside. Time is given; nothing happens by itself.
 */
import { CodedError } from "@dejavm/base";
import type { VmMode, VmReport, VmRequest } from "@dejavm/vm";
import {
  copyModel,
  digestOf,
  give,
  type ModelOutput,
  type ModelState,
  modelOf,
  nextPages,
  stateBytes,
  step,
} from "./model.ts";
import {
  chainBytes,
  chainOf,
  type SimPoint,
  type SimRecord,
  type SimSegment,
  seal,
  segmentBytes,
  segmentOf,
} from "./sim-trace.ts";

/** Positions per millisecond at full speed. */
const LIVE_SPEED = 24;

interface OpenCheckpoint {
  readonly state: ModelState;
}

/** What a machine starts as. */
export type SimStart =
  | { readonly mode: "live"; readonly state: ModelState; readonly point: SimPoint }
  | {
      readonly mode: "replaying";
      readonly id: number;
      readonly state: ModelState;
      readonly point: SimPoint;
      /** Positions per millisecond while it replays. */
      readonly speed: number;
      /** A defect: one bit comes out wrong at some position. */
      readonly wrongAt: number | undefined;
      /** False: another defect, wrong digests are not noticed. */
      readonly compares: boolean;
    };

/** See the head of this file. */
export class SimVm {
  mode: VmMode;
  state: ModelState;
  readonly #report: (report: VmReport) => void;
  /** Outputs, and the segment that must be stored before they leave. */
  readonly #say: (outputs: readonly ModelOutput[]) => void;
  readonly #speed: number;
  readonly #wrongAt: number | undefined;
  readonly #compares: boolean;
  #share = 1;
  #debt = 0;
  // recording
  #point: SimPoint;
  #records: SimRecord[] = [];
  #outputs: ModelOutput[] = [];
  #frontierMs: number | undefined;
  #sealedAt = 0;
  #progressMs: number | undefined;
  #progressAt = 0;
  // checkpoints
  readonly #open = new Map<number, OpenCheckpoint>();
  /** For each checkpoint ever begun, pages written since. */
  readonly #dirty = new Map<number, Set<number>>();
  readonly #lateInputs: number[] = [];
  readonly #touching = new Map<number, Set<number>>();
  // replay
  readonly #absent = new Set<number>();
  #units: SimSegment[] = [];
  #done = 0;
  readonly #asked = new Set<number>();
  #waiting = false;
  #waitingMs = 0;
  #replayTo: Extract<VmRequest, { kind: "replay-to" }> | undefined;
  #diverged = false;
  #replayedAt = 0;
  #clock = 0;

  constructor(
    start: SimStart,
    report: (report: VmReport) => void,
    say: (outputs: readonly ModelOutput[]) => void,
  ) {
    this.mode = start.mode;
    this.state = copyModel(start.state);
    this.#point = start.point;
    this.#report = report;
    this.#say = say;
    this.#speed = start.mode === "replaying" ? start.speed : 0;
    this.#wrongAt = start.mode === "replaying" ? start.wrongAt : undefined;
    this.#compares = start.mode === "replaying" ? start.compares : true;
    if (start.mode !== "replaying") return;
    for (let page = 0; page < this.state.pages.length; page++) {
      this.#absent.add(page);
      this.state.pages[page] = 0;
    }
    this.#dirty.set(start.id, new Set());
  }

  /** An input from outside. */
  input(input: number): void {
    if (this.mode === "frozen") {
      this.#lateInputs.push(input);
      const bytes = wordBytes(input);
      this.#report({ kind: "late-input", event: { kind: "console", port: "uart", bytes } });
    } else if (this.mode === "live") this.#give(input);
  }

  request(request: VmRequest): void {
    switch (request.kind) {
      case "console":
        return this.input(inputOf(request.bytes));
      case "set-frontier-interval":
        this.#frontierMs = request.intervalMs;
        return;
      case "report-progress":
        this.#progressMs = request.intervalMs;
        return;
      case "throttle":
        this.#share = request.share;
        return;
      case "digest": {
        const digest = digestOf(this.state);
        this.#record({ kind: "digest", position: this.state.position, digest });
        return this.#report({ kind: "digest", id: request.id, digest, ...this.#where });
      }
      case "checkpoint":
        return this.#checkpoint(request);
      case "close-checkpoint":
        this.#open.delete(request.id);
        this.#touching.delete(request.id);
        return;
      case "freeze":
        return this.#freeze(request.id);
      case "unfreeze":
        return this.#unfreeze(request.id);
      default:
        return this.#replayRequest(request);
    }
  }

  /** A millisecond passes. */
  advance(now: number): void {
    this.#clock = now;
    if (this.mode === "live") this.#runLive(now);
    if (this.mode === "replaying") this.#runReplay(now);
    if (this.#progressMs !== undefined && now - this.#progressAt >= this.#progressMs) {
      this.#progressAt = now;
      const { mode } = this;
      const last = [...this.#dirty].at(-1);
      const changed = last && { since: last[0], pages: last[1].size };
      const zeros = { cpuMs: 0, runMs: 0, savedPages: 0 };
      this.#report({ kind: "progress", mode, ...zeros, changed, ...this.#where });
    }
  }

  get #where() {
    return { position: BigInt(this.state.position), ticks: BigInt(this.state.position) };
  }

  // ---- live

  #runLive(now: number): void {
    this.#debt += LIVE_SPEED * this.#share;
    for (; this.#debt >= 1; this.#debt--) {
      for (const page of nextPages(this.state.position)) this.#touch(page);
      step(
        this.state,
        (page) => this.#written(page),
        (output) => this.#outputs.push(output),
      );
    }
    const due = this.#frontierMs ?? 50;
    if (this.#outputs.length > 0 || now - this.#sealedAt >= due) this.#seal(now);
  }

  #give(input: number): void {
    this.#record({ kind: "input", position: this.state.position, input });
    give(
      this.state,
      input,
      (page) => this.#written(page),
      (output) => this.#outputs.push(output),
    );
  }

  #record(record: SimRecord): void {
    if (this.mode === "live" || record.kind !== "digest") this.#records.push(record);
  }

  #seal(now: number): void {
    this.#sealedAt = now;
    this.#records.push({ kind: "frontier", position: this.state.position });
    const segment = seal(this.#point, this.#records);
    this.#records = [];
    this.#point = { sequence: segment.sequence + 1, chain: segment.chain };
    this.#report({
      kind: "segment",
      lastPosition: BigInt(segment.lastPosition),
      bytes: segmentBytes(segment),
      header: {
        sequence: segment.sequence,
        unitCount: 1,
        from: this.#where,
        to: this.#where,
        plainBytes: 0,
        compressed: false,
        chain: chainBytes(segment.chain),
      },
    });
    const outputs = this.#outputs;
    this.#outputs = [];
    if (outputs.length > 0) this.#say(outputs);
  }

  #written(page: number): void {
    for (const set of this.#dirty.values()) set.add(page);
  }

  #touch(page: number): void {
    for (const [id, seen] of this.#touching) {
      if (seen.has(page)) continue;
      seen.add(page);
      this.#report({ kind: "touched", id, pages: Uint32Array.of(page) });
    }
  }

  #checkpoint(request: Extract<VmRequest, { kind: "checkpoint" }>): void {
    if (this.mode === "live") this.#seal(this.#clock);
    const { id, since } = request;
    const changed = since === undefined ? undefined : this.#dirty.get(since);
    const all = this.state.pages.flatMap((value, page) => (value === 0 ? [] : [page]));
    const pages = changed === undefined ? all : [...changed].toSorted((a, b) => a - b);
    this.#open.set(id, { state: copyModel(this.state) });
    this.#dirty.set(id, new Set());
    if (request.recordFirstTouch) this.#touching.set(id, new Set());
    this.#report({
      kind: "checkpoint-begun",
      id,
      state: stateBytes(this.state),
      guestWallNs: 0n,
      trace: this.#tracePoint(),
      since: changed === undefined ? undefined : since,
      pages: Uint32Array.from(pages),
      chunks: [],
      pauseMs: 0,
      ...this.#where,
    });
  }

  #tracePoint() {
    const { sequence, chain } = this.#point;
    return { sequence, chain: chainBytes(chain), ...this.#where };
  }

  /** Pages of an open checkpoint with their values, as `read-pages` gives them. */
  readNow(id: number, pages: readonly number[]): [number, number][] {
    const open = this.#open.get(id);
    if (open === undefined) throw new Error(`checkpoint ${id} is not open`);
    return pages.map((page) => [page, open.state.pages[page] ?? 0]);
  }

  #freeze(id: number): void {
    if (this.mode !== "live") return;
    this.#seal(this.#clock);
    this.mode = "frozen";
    const digest = digestOf(this.state);
    const trace = this.#tracePoint();
    this.#report({
      kind: "frozen",
      id,
      digest,
      guestWallNs: 0n,
      trace,
      waiting: [],
      ...this.#where,
    });
  }

  #unfreeze(id: number): void {
    if (this.mode !== "frozen") return;
    this.mode = "live";
    this.#report({ kind: "unfrozen", id, ...this.#where });
    for (const input of this.#lateInputs.splice(0)) this.#give(input);
  }

  // ---- replay

  #replayRequest(request: VmRequest): void {
    if (this.mode !== "replaying") return;
    try {
      this.#takeForReplay(request);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      const code = String(error.code);
      this.#report({ kind: "failed", error: { code, message: error.message, hint: undefined } });
    }
  }

  #takeForReplay(request: VmRequest): void {
    switch (request.kind) {
      case "supply-pages":
        for (const [i, page] of request.pages.entries()) {
          this.#supply(page, wordOf(request.bytes.subarray(i * 4, i * 4 + 4)));
        }
        return;
      case "supply-zero-pages":
        for (const page of request.pages) this.#supply(page, 0);
        return;
      case "feed":
        this.#units.push(...request.segments.map(segmentOf));
        return;
      case "jump":
        return this.#jump(request);
      case "replay-to":
        this.#replayTo = request;
        return this.#compare();
      case "go-live":
        return this.#goLive(request.id);
      default:
        return;
    }
  }

  #supply(page: number, value: number): void {
    if (!this.#absent.delete(page)) return;
    this.state.pages[page] = value;
    this.#asked.delete(page);
  }

  #jump(request: Extract<VmRequest, { kind: "jump" }>): void {
    const applied = this.state.position <= Number(request.position);
    if (applied) {
      this.state = modelOf(request.state, this.state.pages);
      for (const { pages, bytes } of request.pages) {
        for (const [i, page] of pages.entries()) {
          this.#absent.delete(page);
          this.state.pages[page] = wordOf(bytes.subarray(i * 4, i * 4 + 4));
        }
      }
      for (const page of request.zeroPages) {
        this.#absent.delete(page);
        this.state.pages[page] = 0;
      }
      this.#units = this.#units.filter(({ sequence }) => sequence >= request.trace.sequence);
      this.#done = 0;
      this.#point = { sequence: request.trace.sequence, chain: chainOf(request.trace.chain) };
      this.#asked.clear();
      this.#diverged = false;
    }
    this.#report({ kind: "jumped", id: request.id, applied, ...this.#where });
    if (applied && this.#units.length === 0) this.#atFrontier();
  }

  #runReplay(now: number): void {
    if (this.#diverged) return;
    const before = this.state.position;
    this.#waiting = true;
    for (let left = this.#speed; left > 0; left--) if (!this.#replayStep()) break;
    if (this.#waiting) this.#waitingMs++;
    if (now - this.#replayedAt < 10 || before === this.state.position) return;
    this.#replayedAt = now;
    this.#report({
      kind: "replayed",
      cpuMs: now - this.#waitingMs,
      waitingMs: this.#waitingMs,
      sequence: this.#point.sequence,
      fedBytes: 0,
      absentPages: this.#absent.size,
      ...this.#where,
    });
  }

  /** One position or one record; false: nothing can be done now. */
  #replayStep(): boolean {
    const unit = this.#units[0];
    const record = unit?.records[this.#done];
    if (unit === undefined || record === undefined) return false;
    if (this.state.position < record.position) {
      const need = nextPages(this.state.position);
      if (this.#misses(need)) return false;
      step(
        this.state,
        (page) => this.#written(page),
        () => undefined,
      );
      if (this.state.position === this.#wrongAt)
        this.state.pages[0] = (this.state.pages[0] ?? 0) ^ 1;
      this.#waiting = false;
      return true;
    }
    if (!this.#apply(record)) return false;
    this.#done++;
    if (this.#done < unit.records.length) return true;
    this.#units.shift();
    this.#done = 0;
    this.#point = { sequence: unit.sequence + 1, chain: unit.chain };
    if (this.#units.length > 0) return true;
    this.#atFrontier();
    return false;
  }

  #atFrontier(): void {
    const trace = this.#tracePoint();
    this.#report({ kind: "at-frontier", guestWallNs: 0n, trace, ...this.#where });
    this.#compare();
  }

  #apply(record: SimRecord): boolean {
    if (record.kind === "input") {
      if (this.#misses([record.input % this.state.pages.length])) return false;
      give(
        this.state,
        record.input,
        (page) => this.#written(page),
        () => undefined,
      );
    }
    if (record.kind === "digest" && this.#absent.size === 0) {
      if (this.#compares && digestOf(this.state) !== record.digest) {
        this.#diverge(record.digest);
        return false;
      }
      this.#report({ kind: "digest-matched", digest: record.digest, ...this.#where });
    }
    return true;
  }

  #misses(pages: readonly number[]): boolean {
    const missing = pages.filter((page) => this.#absent.has(page));
    if (missing.length === 0) return false;
    const fresh = missing.filter((page) => !this.#asked.has(page));
    for (const page of fresh) this.#asked.add(page);
    if (fresh.length > 0) this.#report({ kind: "missing", pages: fresh, blocks: [] });
    return true;
  }

  #diverge(expected: string): void {
    this.#diverged = true;
    const reason = { kind: "digest", expected, actual: digestOf(this.state) } as const;
    const place = { position: this.#where.position, idleTicks: undefined };
    const divergence = { reason, place, matched: undefined, before: [], after: [] };
    this.#report({ kind: "diverged", divergence, ...this.#where } as unknown as VmReport);
  }

  #compare(): void {
    const target = this.#replayTo;
    if (target === undefined || Number(target.position) !== this.state.position) return;
    if (this.#units.length > 0) return;
    this.#replayTo = undefined;
    const digest = this.#compares ? digestOf(this.state) : target.digest;
    if (digest !== target.digest) return this.#diverge(target.digest);
    this.#report({ kind: "reached", id: target.id, digest, ...this.#where });
  }

  #goLive(id: number): void {
    if (this.#absent.size > 0) throw new Error("a machine goes live with pages missing");
    this.mode = "live";
    this.#records = [];
    this.#report({ kind: "live", id, checkpoint: 0, ...this.#where });
  }
}

/** A number as the bytes of a page or an input. */
export function wordBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** The input that bytes on the console are: a hostile peer's may be fewer than a number has. */
export function inputOf(bytes: Uint8Array): number {
  const whole = new Uint8Array(4);
  whole.set(bytes.subarray(0, whole.length));
  return wordOf(whole);
}

/** The number in such bytes. */
export function wordOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
