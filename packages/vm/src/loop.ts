/**
 * The execution loop of one machine: runs it in slices as the pacer says, gives it its inputs,
 * supplies disk chunks, hands out what it says. Sans-IO but for the two things handed in, the
 * block store and the snapshot writer: `handle` takes requests in, `advance` does one step and says
 * when the next is due. Host time is an argument, in ticks of 100 ns.
 */
import { assert, unreachable } from "@dejavm/base";
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
import type { Observation, Pacer } from "./pacer.ts";
import type { EndReason, VmReport } from "./reports.ts";
import type { LiveRequest } from "./requests.ts";
import type { BlockStore, RunnableMachine } from "./runnable-machine.ts";

/** Output bytes on their way to their readers; above this the machine waits for them. */
export const MAX_UNREAD_OUTPUT_BYTES = 1024 * 1024;
/** Frames that wait for the machine; more are dropped, as a network does. */
export const MAX_WAITING_FRAMES = 1024;
/** Slices between two collections of changed disk chunks: bounds what the machine holds. */
const SLICES_PER_COLLECTION = 32;
/** One console input event; keeps events small enough to be recorded and replayed evenly. */
const MAX_CONSOLE_EVENT_BYTES = 4096;

/** When `advance` wants to be called again. Every request is a reason to call it at once. */
export type LoopWait =
  | { readonly kind: "now" }
  /** At this host time; undefined: only when a request comes. */
  | { readonly kind: "until"; readonly at: number | undefined }
  | { readonly kind: "ended" };

/** What the loop works with. */
export interface LoopOptions {
  readonly machine: RunnableMachine;
  readonly pacer: Pacer;
  readonly store: BlockStore;
  /** Execution never passes this position; positions before a restart count. */
  readonly limit: Position | undefined;
  /**
   * Switches the machine on again after it asked for a reset: gives the new one and its pacer.
   * Undefined: a reset is the end.
   */
  readonly restart:
    | (() => { readonly machine: RunnableMachine; readonly pacer: Pacer })
    | undefined;
  /** Whether the report at the end has the digest. */
  readonly digestAtEnd: boolean;
  readonly report: (report: VmReport) => void;
  /** Answers requests that read the whole machine; gives whether it could. */
  readonly answer: (request: Extract<LiveRequest, { id: number }>) => boolean;
}

interface ConsoleQueue {
  readonly parts: Uint8Array[];
}

/** See the head of this file. */
export class ExecutionLoop {
  readonly #options: LoopOptions;
  readonly #consoles = new Map<ConsolePort, ConsoleQueue>();
  readonly #events: InputEvent[] = [];
  #machine: RunnableMachine;
  #pacer: Pacer;
  #limit: Position | undefined;
  #restarts = 0;
  /** Positions of the machines before the last restart. */
  #positionsBefore = 0n;
  /** What a restarted machine is to be told again. */
  #link: InputEvent | undefined;
  #waitingFrames = 0;
  #unreadBytes = 0;
  #idle: Observation["idle"];
  #slices = 0;
  #atLimit = false;
  #ended = false;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#machine = options.machine;
    this.#pacer = options.pacer;
    this.#limit = options.limit;
  }

  /** Takes a request; `advance` acts on it. */
  handle(request: LiveRequest): void {
    if (this.#ended) return;
    switch (request.kind) {
      case "console":
        this.#console(request.port).parts.push(request.bytes);
        break;
      case "frame":
        if (this.#waitingFrames >= MAX_WAITING_FRAMES) break;
        this.#waitingFrames++;
        this.#events.push(request);
        break;
      case "link":
        this.#link = request;
        this.#events.push(request);
        break;
      case "power-button":
        this.#events.push(request);
        break;
      case "written":
        this.#unreadBytes -= request.bytes;
        break;
      case "save":
        this.#collectBlocks();
        if (this.#options.answer(request) && request.thenStop) this.#stop();
        break;
      case "digest":
        this.#options.answer(request);
        break;
      case "stop":
        this.#stop();
        break;
      default:
        unreachable(request);
    }
  }

  /** Gives waiting inputs, then runs one slice at most. */
  advance(now: number): LoopWait {
    if (this.#ended) return { kind: "ended" };
    if (this.#atLimit || this.#unreadBytes > MAX_UNREAD_OUTPUT_BYTES) {
      return { kind: "until", at: undefined };
    }
    this.#giveInputs(now);
    const step = this.#pacer.next(this.#observe(now));
    switch (step.kind) {
      case "sleep":
        this.#collectBlocks();
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

  #observe(now: number): Observation {
    const { position, ticks } = this.#machine;
    return { now, position, ticks, idle: this.#idle };
  }

  #slice(wanted: Position, skipIdleUntil: Ticks): LoopWait {
    const machine = this.#machine;
    const limit = this.#limit;
    const until = limit !== undefined && limit < wanted ? limit : wanted;
    this.#idle = undefined;
    const stop = machine.run(until, skipIdleUntil);
    this.#handOut();
    this.#slices++;
    if (this.#slices % SLICES_PER_COLLECTION === 0) this.#collectBlocks();
    return this.#stopped(stop);
  }

  #stopped(stop: StopReason): LoopWait {
    switch (stop.kind) {
      case "budget":
        this.#checkLimit();
        return { kind: "now" };
      case "idle":
        this.#idle = { deadline: stop.deadline };
        return { kind: "now" };
      case "missing-block":
        this.#supply(stop.blocks);
        return { kind: "now" };
      case "reset":
        if (this.#options.restart !== undefined) {
          this.#restart(this.#options.restart);
          return { kind: "now" };
        }
        this.#end(stop);
        return { kind: "ended" };
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

  /** What was on its way to the machine before stays on its way; what it had taken is lost. */
  #restart(make: NonNullable<LoopOptions["restart"]>): void {
    const { position: before } = this.#machine;
    this.#collectBlocks();
    ({ machine: this.#machine, pacer: this.#pacer } = make());
    this.#restarts++;
    this.#positionsBefore += before;
    if (this.#limit !== undefined) this.#limit = position(this.#limit - before);
    this.#events.unshift(...(this.#link === undefined ? [] : [this.#link]));
    this.#checkLimit();
  }

  #checkLimit(): void {
    const machine = this.#machine;
    if (this.#limit === undefined || machine.position < this.#limit) return;
    this.#atLimit = true;
    const { position, ticks } = machine;
    this.#options.report({ kind: "at-limit", position, ticks });
  }

  #giveInputs(now: number): void {
    const at = this.#idle && this.#pacer.inputTicks(this.#observe(now));
    let event = this.#events.shift();
    for (; event !== undefined; event = this.#events.shift()) {
      if (event.kind === "frame") this.#waitingFrames--;
      this.#give(event, at);
    }
    for (const [port, queue] of this.#consoles) this.#giveConsole(port, queue, at);
  }

  #giveConsole(port: ConsolePort, queue: ConsoleQueue, at: Ticks | undefined): void {
    for (;;) {
      const first = queue.parts[0];
      if (first === undefined) return;
      const room = this.#machine.consoleRoom(port);
      const count = Math.min(first.length, room, MAX_CONSOLE_EVENT_BYTES);
      if (count === 0 && first.length > 0) return;
      if (count > 0) this.#give({ kind: "console", port, bytes: first.slice(0, count) }, at);
      if (count === first.length) queue.parts.shift();
      else queue.parts[0] = first.subarray(count);
      this.#options.report({ kind: "console-taken", port, bytes: count });
    }
  }

  /** `at` is for a machine that is idle, and only for the first input that finds it so. */
  #give(event: InputEvent, at: Ticks | undefined): void {
    const idle = this.#idle !== undefined;
    this.#idle = undefined;
    for (;;) {
      const machine = this.#machine;
      const result: InputResult =
        idle && at !== undefined ? machine.input(event, at) : machine.input(event);
      if (result.kind === "accepted") break;
      assert(result.kind === "missing-block", "a live machine misses a page");
      this.#supply(result.blocks);
    }
    this.#handOut();
  }

  #supply(blocks: readonly MissingBlock[]): void {
    const { store } = this.#options;
    // What the machine holds may be newer than what the store has.
    this.#collectBlocks();
    for (const block of blocks) this.#machine.supplyBlock(block, store.read(block));
  }

  #collectBlocks(): void {
    const { store } = this.#options;
    for (const block of this.#machine.takeDirtyBlocks()) store.write(block);
  }

  #handOut(): void {
    const outputs = this.#machine.takeOutputs().map(({ output }) => output);
    if (outputs.length === 0) return;
    for (const output of outputs) {
      if (output.kind === "console") this.#unreadBytes += output.bytes.length;
    }
    const { position, ticks } = this.#machine;
    this.#options.report({ kind: "outputs", after: undefined, outputs, position, ticks });
  }

  #stop(): void {
    this.#end(this.#atLimit ? { kind: "limit" } : { kind: "stopped" });
  }

  #end(reason: EndReason): void {
    const { report, digestAtEnd } = this.#options;
    const machine = this.#machine;
    this.#ended = true;
    this.#collectBlocks();
    report({
      kind: "ended",
      reason,
      instructions: machine.instructions,
      position: machine.position,
      ticks: machine.ticks,
      restarts: this.#restarts,
      positionsBefore: this.#positionsBefore,
      digest: digestAtEnd ? machine.digest() : undefined,
    });
  }

  #console(port: ConsolePort): ConsoleQueue {
    let queue = this.#consoles.get(port);
    if (queue === undefined) {
      queue = { parts: [] };
      this.#consoles.set(port, queue);
    }
    return queue;
  }
}
