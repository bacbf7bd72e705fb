/** A migration to a host of the simulation: what an agent's driver does around `TargetSession`. */
import { CodedError } from "@dejavm/base";
import type { ControlMessageOf, Hello, Message } from "@dejavm/protocol";
import {
  offerRefusal,
  type TargetAction,
  type TargetEvent,
  TargetSession,
} from "@dejavm/target-agent";
import type { PageBatch, VmRequest } from "@dejavm/vm";
import { copyModel, MODEL_PAGES, type ModelState, modelOf } from "./model.ts";
import type { SimHost } from "./sim-host.ts";
import { SimLink } from "./sim-network.ts";
import { chainOf, type SimPoint, type SimSegment, segmentOf } from "./sim-trace.ts";
import { FULL, MAX_HELD_BYTES } from "./sim-types.ts";
import { inputOf, SimVm, wordBytes, wordOf } from "./sim-vm.ts";

interface Layer {
  readonly message: ControlMessageOf<"checkpoint">;
  readonly pages: Map<number, number>;
}

/** See the head of this file. */
export class SimTarget {
  readonly session: TargetSession;
  readonly link: SimLink;
  machine: SimVm | undefined;
  readonly #host: SimHost;
  readonly #kept = new Map<number, [number, number][]>();
  readonly #received = new Map<number, Layer>();
  readonly #waiting: VmRequest[] = [];
  #base: { readonly state: ModelState; readonly point: SimPoint } | undefined;
  readonly #segments: SimSegment[] = [];
  /** Inputs after F that came before the machine ran. */
  readonly #late: number[] = [];

  constructor(host: SimHost, hello: Hello) {
    this.#host = host;
    const isBoundless = host.world.defect === "holds without a bound";
    this.session = new TargetSession({
      readSegment: (bytes) => {
        const { sequence, lastPosition } = segmentOf(bytes);
        return { sequence, nextSequence: sequence + 1, lastPosition: BigInt(lastPosition) };
      },
      entropySeed: new Uint8Array(32),
      progressMs: 10,
      maxHeldBytes: isBoundless ? Number.POSITIVE_INFINITY : MAX_HELD_BYTES,
    });
    this.link = new SimLink({
      network: host.world.network,
      host: host.name,
      peer: host.peer,
      role: "listener",
      name: hello.link,
      giveUpAfterMs: 6000,
      handlers: {
        onMessage: (message) => this.#message(message),
        onUp: () => this.#tell({ kind: "link-up" }),
        onDown: () => this.#tell({ kind: "link-down" }),
        onLost: (code, message) => {
          this.#tell({ kind: "link-lost", reason: { code, message, hint: undefined } });
        },
      },
    });
  }

  #message(message: Message): void {
    if (message.kind === "ask-owner" && this.session.state.kind === "waiting") {
      return this.#host.answerOwner(this.link, message);
    }
    if (message.kind === "late-input") this.#lateInput(message);
    this.#tell({ kind: "message", message });
    const twice = message.kind === "late-input" && this.#host.world.defect === "takes inputs twice";
    if (twice) this.#tell({ kind: "message", message });
  }

  /** The outside hears of each as it comes, whatever is made of it here. */
  #lateInput({ input }: ControlMessageOf<"late-input">): void {
    if (input.kind !== "console") return;
    const word = inputOf(input.bytes);
    if (this.session.state.kind === "live") this.#host.world.passedOn(this.#host, word);
    else this.#late.push(word);
  }

  #cameLive({ state }: SimVm): void {
    this.#host.world.cameLive(this.#host, state);
    for (const input of this.#late.splice(0)) this.#host.world.passedOn(this.#host, input);
  }

  #tell(event: TargetEvent): void {
    this.session.handle(event, this.#host.now, 0n);
  }

  /** Requests wait for the machine to be made. */
  #request(request: VmRequest): void {
    if (this.machine === undefined) this.#waiting.push(request);
    else this.machine.request(request);
  }

  /** Does what the session wants. */
  act(action: TargetAction): void {
    const { session, link } = this;
    switch (action.kind) {
      case "judge":
        return this.#judge();
      case "send":
        return link.send(action.message);
      case "make":
        return this.#make(action.checkpoint);
      case "vm":
        return this.#request(action.request);
      case "open-checkpoint":
        this.#received.set(action.checkpoint.checkpoint, {
          message: action.checkpoint,
          pages: new Map(),
        });
        return;
      case "unpack":
        return this.#host.after(
          this.#host.world.prng.below(this.#host.conditions.unpackMs + 1),
          () => {
            this.#unpack(action);
          },
        );
      case "jump":
        return this.#jump(action);
      case "drop-kept":
        this.#kept.delete(action.checkpoint);
        return;
      case "append":
        return this.#append(action.segment);
      case "store-checkpoint":
        return this.#host.after(this.#host.conditions.writeMs, () => {
          if (session.state.kind === "ended") return;
          if (this.#isFull) return this.#tell({ kind: "unable", reason: FULL });
          try {
            this.#base = this.#stored(action.checkpoint);
          } catch (error) {
            return this.#tell({ kind: "unable", reason: reasonOf(error) });
          }
          this.#tell({ kind: "checkpoint-stored", checkpoint: action.checkpoint });
        });
      case "record-live":
        return this.#recordLive(action.epoch);
      case "answer-owner":
        return;
      case "took-over":
        this.#host.takeOver(this.machine);
        this.machine = undefined;
        return;
      case "forget":
        this.machine = undefined;
        this.#received.clear();
        this.#host.forgetReceived();
        return;
      case "finished":
        this.#host.world.received(this.#host, action.outcome);
        return this.#host.after(3000, () => link.close());
    }
  }

  get #isFull(): boolean {
    return this.#host.now < this.#host.conditions.fullUntil;
  }

  #judge(): void {
    const { state } = this.session;
    const offered = state.kind === "judging" ? state.offer.epoch : 0;
    const reason = { code: "E_VM_EXISTS", message: "it is here already", hint: undefined };
    this.#host.after(this.#host.conditions.writeMs, () => {
      const last = this.#host.store.ownership.at(-1);
      const refused = offerRefusal(this.#host.store.ownership, offered) !== undefined;
      const takes = this.#host.world.defect === "takes any offer";
      const busy = !takes && (refused || last?.state === "receiving");
      if (!busy) this.#host.own("receiving", takes ? (last?.epoch ?? 0) : offered);
      const has = { hasBase: [], checkpoints: [], freeMemoryBytes: 1e9, freeDiskBytes: 1e9 };
      this.#tell({
        kind: "judged",
        verdict: busy ? { kind: "refuse", reason } : { kind: "accept", has },
      });
    });
  }

  #make(message: ControlMessageOf<"checkpoint">): void {
    this.#host.after(10, () => {
      const state = this.#stateOf(message);
      if (state === undefined) return;
      const { trace } = message;
      const machine: SimVm = new SimVm(
        {
          mode: "replaying",
          id: message.checkpoint,
          state,
          point: { sequence: trace.sequence, chain: chainOf(trace.chain) },
          speed: this.#host.conditions.replaySpeed,
          wrongAt: this.#host.conditions.wrongAt,
          compares: this.#host.world.defect !== "compares no digests",
        },
        (report) => {
          if (report.kind === "frozen") this.#host.world.frozen(this.#host, machine.state);
          if (report.kind === "live") this.#cameLive(machine);
          if (report.kind === "segment") this.#host.store.segments.push(segmentOf(report.bytes));
          this.#tell({ kind: "vm", report });
          this.#host.heard(report);
        },
        (outputs) => this.#host.world.outputs(this.#host, outputs),
      );
      this.machine = machine;
      for (const request of this.#waiting.splice(0)) machine.request(request);
      this.#tell({ kind: "made" });
    });
  }

  #stateOf({ state }: ControlMessageOf<"checkpoint">): ModelState | undefined {
    try {
      return modelOf(
        state,
        Array.from({ length: MODEL_PAGES }, () => 0),
      );
    } catch (error) {
      this.#tell({ kind: "unable", reason: reasonOf(error) });
      return undefined;
    }
  }

  #unpack(action: Extract<TargetAction, { kind: "unpack" }>): void {
    const { id, message, keep } = action;
    if (!("pages" in message)) return;
    const data = message.kind === "page-group" ? message.data : undefined;
    if (data !== undefined && data.length !== message.pages.length * 4) {
      const reason = { code: "E_PROTOCOL_MALFORMED", message: "no group", hint: undefined };
      return this.#tell({ kind: "unable", reason });
    }
    const batch = message.pages.map((page, i): [number, number] => {
      return [page, data === undefined ? 0 : wordOf(data.subarray(i * 4, i * 4 + 4))];
    });
    const received = this.#received.get(message.checkpoint);
    for (const [page, value] of batch) received?.pages.set(page, value);
    if (keep) {
      const kept = this.#kept.get(message.checkpoint) ?? [];
      this.#kept.set(message.checkpoint, [...kept, ...batch]);
    } else this.#request({ kind: "supply-pages", ...batchOf(batch) });
    this.#tell({
      kind: "unpacked",
      unpacked: {
        id,
        checkpoint: message.checkpoint,
        pages: message.pages,
        chunks: [],
        unknownPages: [],
        unknownChunks: [],
      },
    });
  }

  #jump({ id, checkpoint }: Extract<TargetAction, { kind: "jump" }>): void {
    const message = this.session.announcement(checkpoint);
    if (message === undefined) return;
    const { position, ticks, state, trace } = message;
    const kept = this.#kept.get(checkpoint) ?? [];
    this.machine?.request({
      kind: "jump",
      id,
      position,
      ticks,
      state,
      trace,
      pages: [batchOf(kept)],
      zeroPages: new Uint32Array(0),
      chunks: [],
    });
  }

  #append(bytes: Uint8Array): void {
    const segment = segmentOf(bytes);
    this.#host.after(this.#host.conditions.writeMs, () => {
      if (this.#isFull) {
        return this.#tell({ kind: "unable", reason: FULL });
      }
      this.#segments.push(segment);
      this.#tell({ kind: "trace-stored", nextSequence: segment.sequence + 1 });
    });
  }

  #recordLive(epoch: number): void {
    this.#host.world.failPoint(this.#host, "before live");
    if (!this.#host.isUp) return;
    if (this.#host.now < this.#host.conditions.fullUntil) {
      return this.#host.after(20, () => this.#tell({ kind: "record-failed", reason: FULL }));
    }
    if (this.#host.world.defect === "goes live without a record")
      return this.#tell({ kind: "recorded" });
    this.#host.after(this.#host.conditions.writeMs, () => {
      if (this.#base === undefined) throw new Error("live without a durable base");
      this.#host.store.checkpoints = [this.#base];
      this.#host.store.segments = [...this.#segments];
      this.#host.own("live", epoch);
      this.#host.world.failPoint(this.#host, "after live");
      if (this.#host.isUp) this.#tell({ kind: "recorded" });
    });
  }

  /** What the store can bring back: the newest layer on those before. */
  #stored(checkpoint: number) {
    const pages = Array.from({ length: MODEL_PAGES }, () => 0);
    let state: ModelState | undefined;
    let point: SimPoint | undefined;
    for (const [id, { message, pages: arrived }] of this.#received) {
      if (id > checkpoint) break;
      for (const [page, value] of arrived) pages[page] = value;
      state = modelOf(message.state, pages);
      point = { sequence: message.trace.sequence, chain: chainOf(message.trace.chain) };
    }
    if (state === undefined || point === undefined) throw new Error("an unknown checkpoint");
    return { state: copyModel(state), point };
  }
}

/** Bytes of a peer's that are nothing. */
function reasonOf(error: unknown): typeof FULL {
  if (!(error instanceof CodedError)) throw error;
  return { code: String(error.code), message: error.message, hint: undefined };
}

function batchOf(batch: readonly (readonly [number, number])[]): PageBatch {
  return {
    pages: Uint32Array.from(batch.map(([page]) => page)),
    bytes: Uint8Array.from(batch.flatMap(([, value]) => [...wordBytes(value)])),
  };
}
