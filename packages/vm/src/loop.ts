/**
 * The execution loop of one live machine: runs it in slices as the pacer says, gives it its
 * inputs, records them, supplies disk chunks, hands out what it says, serves who reads
 * checkpoints. Sans-IO but for what is handed in: `handle` takes requests in, `advance` does one
 * step and says when the next is due. Host time is an argument, in ticks of 100 ns.
 */
import { assert, CodedError, unreachable } from "@dejavm/base";
import {
  type ConsolePort,
  type InputEvent,
  type InputResult,
  type MissingBlock,
  type Position,
  position,
  type StopReason,
  type Ticks,
} from "@dejavm/machine";
import type { TraceHasher, TracePoint } from "@dejavm/trace";
import { CheckpointDesk } from "./checkpoint-desk.ts";
import { type SourceAgentErrorCode, toReport } from "./host-errors.ts";
import type { Observation, Pacer } from "./pacer.ts";
import { Recording } from "./recording.ts";
import type { EndReason, VmReport } from "./reports.ts";
import type { LiveRequest, VmRequest } from "./requests.ts";
import type { BlockStore, CheckpointBase, RunnableMachine } from "./runnable-machine.ts";

/** Output bytes on their way to their readers; above this the machine waits for them. */
export const MAX_UNREAD_OUTPUT_BYTES = 1024 * 1024;
/** Frames that wait for the machine; more are dropped, as a network does. */
export const MAX_WAITING_FRAMES = 1024;
/** Slices between two collections of changed disk chunks: bounds what the machine holds. */
const SLICES_PER_COLLECTION = 32;
/** One console input event; keeps events small enough to be recorded and replayed evenly. */
const MAX_CONSOLE_EVENT_BYTES = 4096;
/** Pages hashed between two slices for a digest that was asked for: below half a millisecond. */
const DIGEST_PAGES_PER_SLICE = 256;
/** A guest that has answered looks for the next request so often: each tenth of a millisecond. */
const LOOK_POSITIONS = 8192n;
/** Smallest share of the time that a throttled guest gets. */
const MIN_SHARE = 0.01;
const TICKS_PER_MS = 10_000;
/** A rest of a throttled guest: below what its clients notice. */
const REST_TICKS = 5 * TICKS_PER_MS;

/** When `advance` wants to be called again. Every request is a reason to call it at once. */
export type LoopWait =
  | { readonly kind: "now" }
  /** At this host time; undefined: only when a request comes. */
  | { readonly kind: "until"; readonly at: number | undefined }
  | { readonly kind: "ended" };

/** What one loop of a machine is to its driver. */
export interface MachineLoop {
  handle(request: VmRequest): void;
  advance(now: number): LoopWait;
}

/** What the loop works with. */
export interface LoopOptions {
  readonly machine: RunnableMachine;
  readonly pacer: Pacer;
  readonly store: BlockStore;
  /** Execution never passes this position. */
  readonly limit: Position | undefined;
  /** Whether the report at the end has the digest. */
  readonly digestAtEnd: boolean;
  /** Where the trace goes on; undefined: unrecorded. */
  readonly record: TracePoint | undefined;
  /** The checkpoint that the machine came from: later ones can be relative to it. */
  readonly base: CheckpointBase | undefined;
  /** Given before any other input. */
  readonly inputs: readonly InputEvent[];
  readonly hasher: TraceHasher;
  /** Host time now. */
  readonly clock: () => number;
  /** CPU time of this thread, in ms. */
  readonly cpuMs: () => number;
  readonly report: (report: VmReport) => void;
  /** Whether a request is on its way that `handle` has not had yet; may be wrong for a moment. */
  readonly requestWaits: () => boolean;
  /** Writes a snapshot file; gives whether it could. */
  readonly save: (request: Extract<LiveRequest, { kind: "save" }>) => boolean;
}

/** See the head of this file. */
export class ExecutionLoop implements MachineLoop {
  readonly #options: LoopOptions;
  readonly #machine: RunnableMachine;
  readonly #desk: CheckpointDesk;
  readonly #consoles = new Map<ConsolePort, Uint8Array[]>();
  #events: InputEvent[] = [];
  #recording: Recording | undefined;
  /** Requests for a digest that are not answered yet. */
  readonly #digests: number[] = [];
  #waitingFrames = 0;
  #unreadBytes = 0;
  #idle: Observation["idle"];
  /**
   * The machine has been idle since the last frame left. Whoever it waited for may wait for that
   * frame now: the slice ends with it. A guest that is busy loses nothing by a full slice.
   */
  #answerDue = false;
  /**
   * Such a frame has left, and the machine has not been idle since. Whoever got it may ask again
   * before the guest has gone to sleep, which is half of what a request costs it: the next request
   * ends the slice. A busy guest has full slices, and takes what came meanwhile together.
   */
  #answered = false;
  #slices = 0;
  #share = 1;
  /** A throttled guest may not run before. */
  #restUntil = 0;
  /** Until then what a throttled guest has run is its share. */
  #paidUntil = 0;
  #progress: { readonly interval: number; next: number } | undefined;
  #runTicks = 0;
  #atLimit = false;
  #frozen = false;
  #ended = false;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#machine = options.machine;
    this.#desk = new CheckpointDesk(options);
    this.#events = [...options.inputs];
    if (options.record !== undefined) this.#recording = this.#startRecording(options.record);
  }

  /** Takes a request; `advance` acts on those that take time. */
  handle(request: VmRequest): void {
    if (this.#ended) return;
    switch (request.kind) {
      case "console":
      case "frame":
      case "link":
      case "power-button":
        this.#take(request);
        break;
      case "written":
        this.#unreadBytes -= request.bytes;
        break;
      case "save":
        this.#collectBlocks();
        if (this.#options.save(request) && request.thenStop) this.#stop();
        break;
      case "digest":
        this.#digests.push(request.id);
        break;
      case "stop":
        this.#stop();
        break;
      case "start-recording": {
        const { position, ticks } = this.#machine;
        this.#recording = this.#startRecording({ ...request.from, position, ticks });
        break;
      }
      case "stop-recording":
        this.#stopRecording();
        break;
      case "set-frontier-interval":
        if (this.#recording !== undefined) this.#recording.intervalMs = request.intervalMs;
        break;
      case "throttle":
        this.#share = Math.min(Math.max(request.share, MIN_SHARE), 1);
        break;
      case "report-progress":
        this.#setProgress(request.intervalMs);
        break;
      case "freeze":
        this.#freeze(request.id);
        break;
      case "unfreeze":
        this.#unfreeze(request.id);
        break;
      case "checkpoint":
        this.#collectBlocks();
        this.#desk.begin(request, this.#recording?.point());
        break;
      case "read-pages":
      case "read-chunks":
        this.#desk.read(request);
        break;
      case "close-checkpoint":
        this.#desk.close(request.id);
        break;
      case "jump":
      case "replay-to":
      case "go-live":
        this.#refuse(request.id, request.kind);
        break;
      case "supply-pages":
      case "supply-zero-pages":
      case "supply-rest-zero":
      case "supply-chunks":
      case "feed":
        break;
      default:
        unreachable(request);
    }
  }

  /** Gives waiting inputs, then runs one slice at most. */
  advance(now: number): LoopWait {
    if (this.#ended) return { kind: "ended" };
    this.#desk.serve();
    this.#serveDigests();
    this.#reportProgress(now);
    const wait = this.#step(now);
    if (wait.kind !== "until") return wait;
    if (this.#desk.hasReads || this.#digests.length > 0) return { kind: "now" };
    return { kind: "until", at: earliest([wait.at, this.#recording?.due, this.#progress?.next]) };
  }

  #step(now: number): LoopWait {
    const unread = this.#unreadBytes > MAX_UNREAD_OUTPUT_BYTES;
    if (this.#frozen || this.#atLimit || unread || this.#desk.isFull) {
      return { kind: "until", at: undefined };
    }
    if (now < this.#restUntil) return { kind: "until", at: this.#restUntil };
    this.#giveInputs(now);
    const step = this.#pacer.next(this.#observe(now));
    switch (step.kind) {
      case "sleep":
        this.#collectBlocks();
        this.#recording?.afterSlice(0);
        return { kind: "until", at: step.wakeAt };
      case "clock":
        this.#give({ kind: "clock", rate: step.rate, step: step.step }, undefined);
        return { kind: "now" };
      case "run":
        return this.#slice(step.until, step.skipIdleUntil);
      default:
        return unreachable(step);
    }
  }

  get #pacer(): Pacer {
    return this.#options.pacer;
  }

  #observe(now: number): Observation {
    const { position, ticks } = this.#machine;
    return { now, position, ticks, idle: this.#idle };
  }

  #slice(wanted: Position, skipIdleUntil: Ticks): LoopWait {
    const { limit, clock } = this.#options;
    const until = limit !== undefined && limit < wanted ? limit : wanted;
    this.#idle = undefined;
    const start = clock();
    const stop = this.#execute(until, skipIdleUntil);
    const took = clock() - start;
    this.#runTicks += took;
    if (this.#share < 1) this.#rest(start, start + took);
    this.#slices++;
    if (this.#slices % SLICES_PER_COLLECTION === 0) this.#collectBlocks();
    this.#handOut();
    this.#recording?.afterSlice(took);
    return this.#stopped(stop);
  }

  #execute(until: Position, skipIdleUntil: Ticks): StopReason {
    const machine = this.#machine;
    if (!this.#answered) return machine.run(until, skipIdleUntil, this.#answerDue);
    for (;;) {
      const look = position(machine.position + LOOK_POSITIONS);
      const stop = machine.run(look < until ? look : until, skipIdleUntil, this.#answerDue);
      if (stop.kind !== "budget" || this.#options.requestWaits()) return stop;
      if (machine.position < until) continue;
      this.#answered = false;
      return stop;
    }
  }

  /**
   * A throttled guest that has had more than its share rests until it has not. It rests seldom and
   * for long: a thread that sleeps waits for a processor each time.
   */
  #rest(start: number, now: number): void {
    const paid = Math.max(this.#paidUntil, start - REST_TICKS);
    this.#paidUntil = paid + (now - start) / this.#share;
    if (this.#paidUntil - now >= REST_TICKS) this.#restUntil = this.#paidUntil;
  }

  #stopped(stop: StopReason): LoopWait {
    switch (stop.kind) {
      case "budget":
        this.#checkLimit();
        return { kind: "now" };
      case "idle":
        this.#idle = { deadline: stop.deadline };
        this.#answerDue = true;
        this.#answered = false;
        return { kind: "now" };
      case "missing-block":
        this.#supply(stop.blocks);
        return { kind: "now" };
      case "reset":
      case "power-off":
        this.#end(stop);
        return { kind: "ended" };
      case "missing-page":
      case "breakpoint":
      case "watchpoint":
        // Every page was supplied before the machine ran, and nobody set the others.
        assert(false, `a live machine stopped with ${stop.kind}`);
        break;
      default:
        return unreachable(stop);
    }
  }

  #checkLimit(): void {
    const machine = this.#machine;
    const { limit } = this.#options;
    if (limit === undefined || machine.position < limit) return;
    this.#atLimit = true;
    const { position, ticks } = machine;
    this.#options.report({ kind: "at-limit", position, ticks });
  }

  // ---- inputs

  #take(event: InputEvent): void {
    if (this.#frozen) this.#options.report({ kind: "late-input", event });
    if (event.kind === "console") {
      const parts = this.#consoles.get(event.port) ?? [];
      this.#consoles.set(event.port, parts);
      parts.push(event.bytes);
      return;
    }
    if (event.kind === "frame") {
      if (this.#waitingFrames >= MAX_WAITING_FRAMES) return;
      this.#waitingFrames++;
    }
    this.#events.push(event);
  }

  #giveInputs(now: number): void {
    const at = this.#idle && this.#pacer.inputTicks(this.#observe(now));
    const events = this.#events;
    if (this.#answered && this.#waitingFrames > 0) {
      this.#answered = false;
      this.#answerDue = this.#waitingFrames === 1;
    }
    this.#events = [];
    this.#waitingFrames = 0;
    for (const event of events) this.#give(event, at);
    for (const [port, parts] of this.#consoles) this.#giveConsole(port, parts, at);
  }

  #giveConsole(port: ConsolePort, parts: Uint8Array[], at: Ticks | undefined): void {
    for (;;) {
      const first = parts[0];
      if (first === undefined) return;
      const room = this.#machine.consoleRoom(port);
      const count = Math.min(first.length, room, MAX_CONSOLE_EVENT_BYTES);
      if (count === 0 && first.length > 0) return;
      if (count > 0) this.#give({ kind: "console", port, bytes: first.slice(0, count) }, at);
      if (count === first.length) parts.shift();
      else parts[0] = first.subarray(count);
      this.#options.report({ kind: "console-taken", port, bytes: count });
    }
  }

  /** `at` is for a machine that is idle, and only for the first input that finds it so. */
  #give(event: InputEvent, at: Ticks | undefined): void {
    const when = this.#idle === undefined ? undefined : at;
    this.#idle = undefined;
    for (;;) {
      const result = this.#input(event, when);
      if (result.kind === "accepted") break;
      assert(result.kind === "missing-block", `an input of a live machine lacks a page`);
      this.#supply(result.blocks);
    }
    this.#handOut();
  }

  #input(event: InputEvent, at: Ticks | undefined): InputResult {
    if (this.#recording !== undefined) return this.#recording.input(event, at);
    return at === undefined ? this.#machine.input(event) : this.#machine.input(event, at);
  }

  // ---- outputs and disks

  #handOut(): void {
    const machine = this.#machine;
    const outputs = machine.takeOutputs().map(({ output }) => output);
    if (outputs.length === 0) return;
    for (const output of outputs) {
      if (output.kind === "console") this.#unreadBytes += output.bytes.length;
      else if (this.#answerDue) [this.#answerDue, this.#answered] = [false, true];
    }
    const after = this.#recording?.seal();
    const { position, ticks } = machine;
    this.#options.report({ kind: "outputs", after, outputs, position, ticks });
  }

  #supply(blocks: readonly MissingBlock[]): void {
    const { store } = this.#options;
    // What the machine holds may be newer than what the store has.
    this.#collectBlocks();
    for (const block of blocks) {
      const bytes = store.read(block);
      assert(bytes !== undefined, "a live machine has all of its disks");
      this.#machine.supplyBlock(block, bytes);
    }
  }

  #collectBlocks(): void {
    const { store } = this.#options;
    for (const block of this.#machine.takeDirtyBlocks()) store.write(block);
  }

  // ---- recording and steering

  #startRecording(from: TracePoint): Recording {
    const { machine, hasher, clock, report } = this.#options;
    return new Recording({ machine, from, hasher, clock, report });
  }

  #stopRecording(): void {
    const trace = this.#recording?.point();
    this.#recording = undefined;
    if (trace === undefined) return;
    const { position, ticks } = this.#machine;
    this.#options.report({ kind: "recording-stopped", trace, position, ticks });
  }

  #digest(): string {
    this.#collectBlocks();
    return this.#recording?.digest() ?? this.#machine.digest();
  }

  /** What a digest costs is spread over slices, as long as there are any. */
  #serveDigests(): void {
    const stands = this.#frozen || this.#atLimit;
    if (this.#digests.length === 0) return;
    if (!stands && !this.#machine.prepareDigest(DIGEST_PAGES_PER_SLICE)) return;
    const digest = this.#digest();
    const { position, ticks } = this.#machine;
    for (const id of this.#digests.splice(0)) {
      this.#options.report({ kind: "digest", id, digest, position, ticks });
    }
  }

  #setProgress(intervalMs: number | undefined): void {
    const interval = intervalMs === undefined ? undefined : intervalMs * TICKS_PER_MS;
    this.#progress = interval === undefined ? undefined : { interval, next: 0 };
  }

  #reportProgress(now: number): void {
    const progress = this.#progress;
    if (progress === undefined || now < progress.next) return;
    progress.next = now + progress.interval;
    const { position, ticks } = this.#machine;
    this.#options.report({
      kind: "progress",
      mode: this.#frozen ? "frozen" : "live",
      position,
      ticks,
      cpuMs: this.#options.cpuMs(),
      runMs: this.#runTicks / TICKS_PER_MS,
      savedPages: this.#desk.savedPages,
      changed: this.#desk.changed,
    });
  }

  #freeze(id: number): void {
    if (this.#frozen) {
      this.#refuse(id, "freeze");
      return;
    }
    this.#frozen = true;
    const digest = this.#digest();
    const { position, ticks, wallTimeNs: guestWallNs } = this.#machine;
    this.#options.report({
      kind: "frozen",
      id,
      digest,
      position,
      ticks,
      guestWallNs,
      trace: this.#recording?.point(),
      waiting: this.#waitingInputs(),
    });
  }

  #waitingInputs(): InputEvent[] {
    const typed = [...this.#consoles].flatMap(([port, parts]) =>
      parts.map((bytes) => ({ kind: "console" as const, port, bytes })),
    );
    return [...this.#events, ...typed];
  }

  #unfreeze(id: number): void {
    if (!this.#frozen) {
      this.#refuse(id, "unfreeze");
      return;
    }
    this.#frozen = false;
    const { position, ticks } = this.#machine;
    this.#options.report({ kind: "unfrozen", id, position, ticks });
  }

  #refuse(id: number, action: string): void {
    const code: SourceAgentErrorCode = "E_VM_MODE";
    const mode = this.#frozen ? "frozen" : "live";
    const error = new CodedError(code, `cannot ${action} a machine that is ${mode}`);
    this.#options.report({ kind: "refused", id, error: toReport(error) });
  }

  // ---- the end

  #stop(): void {
    this.#end(this.#atLimit ? { kind: "limit" } : { kind: "stopped" });
  }

  #end(reason: EndReason): void {
    const { report, digestAtEnd } = this.#options;
    const machine = this.#machine;
    this.#ended = true;
    this.#collectBlocks();
    const digest = digestAtEnd ? machine.digest() : undefined;
    const { position, ticks, instructions, restarts } = machine;
    this.#recording?.end(reason.kind === "limit" ? { kind: "stopped" } : reason);
    this.#desk.closeAll();
    report({ kind: "ended", reason, instructions, position, ticks, restarts, digest });
  }
}

function earliest(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
