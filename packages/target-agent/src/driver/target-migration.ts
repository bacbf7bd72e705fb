/**
 * One migration to here: the session with a real link, a real machine and a real store. What a
 * host decides (may it come, which machine, what becomes of it) is asked of `TargetHost`.
 */
import { randomBytes } from "node:crypto";
import type { LineageWriter, LogStore } from "@dejavm/log-store";
import type {
  ControlMessageOf,
  FrameSocket,
  FrameSocketEvents,
  Hello,
  Message,
} from "@dejavm/protocol";
import {
  DEFAULT_LINK_TIMES,
  LinkDriver,
  PROTOCOL_VERSIONS,
  type Reason,
  reasonOf,
} from "@dejavm/protocol";
import { readSegmentHeader } from "@dejavm/trace";
import type { ChunkBatch, PageBatch, VmReport, VmRequest } from "@dejavm/vm";
import { comesAlready, offeredAnew } from "../reasons.ts";
import { TargetSession } from "../target-session.ts";
import {
  type TargetAction,
  type TargetEvent,
  type TargetOutcome,
  type Verdict,
} from "../target-types.ts";
import { TargetStore } from "./target-store.ts";
import { type Contents, unpack, unpackedOf } from "./unpacker/contents.ts";
import { MoveUnpacker } from "./unpacker/move-unpacker.ts";

/** The session looks at the clock at least this often. */
const TICK_MS = 10;
/** Segments that wait for a tick to be stored together. */
const MAX_UNSTORED_SEGMENTS = 64;
/** The target's progress is told at most this often. */
const PROGRESS_MS = 10;
/** What may wait in memory to be replayed: a minute's trace of a busy guest, several times. */
const MAX_HELD_BYTES = 256 * 2 ** 20;

/** A machine in its thread, as `TargetHost.makeMachine` gives it. */
export interface ReplayingMachine {
  request(request: VmRequest): void;
  /** Ends the thread, whatever it does. */
  terminate(): void | Promise<void>;
}

/** What is handed over when the machine is live here. */
export interface TakenMachine {
  readonly offer: ControlMessageOf<"offer">;
  readonly epoch: number;
  readonly machine: ReplayingMachine;
  readonly writer: LineageWriter;
}

/** What the host decides and has. */
export interface TargetHost {
  readonly store: LogStore;
  readonly agent: string;
  /** Whether the machine may come: name, room, fingerprint, disks. */
  judge(offer: ControlMessageOf<"offer">): Promise<Verdict>;
  /**
   * A machine in `replaying` mode in the state of `checkpoint`, all pages absent. All its reports
   * go to `onReport`, from the first on and also after it went live.
   */
  makeMachine(
    offer: ControlMessageOf<"offer">,
    checkpoint: ControlMessageOf<"checkpoint">,
    onReport: (report: VmReport) => void,
  ): Promise<ReplayingMachine>;
  /** The files that it began with, here, as `image-refs` counts them; empty names are no files. */
  readonly bases: (offer: ControlMessageOf<"offer">) => readonly string[];
  /** It lives here now: the machine, its reports and its lineage are the host's. */
  tookOver(taken: TakenMachine): void;
}

/** What this host says of a hand-over; undefined: it is being recorded, ask again. */
export type OwnerOf = (
  question: ControlMessageOf<"ask-owner">,
) => ControlMessageOf<"owner">["state"] | undefined;

/** What a migration needs of the others that come in here. */
export interface Siblings {
  /** Answers who was not asked by this migration's source. */
  readonly ownerOf: OwnerOf;
  /** This machine is offered anew. False: somebody here receives it already. */
  readonly giveWay: (lineage: string) => boolean;
}

/** A migration that comes in. */
export class TargetMigration {
  /** Resolves when it is over, for better or worse. */
  readonly done: Promise<TargetOutcome>;
  readonly #host: TargetHost;
  readonly #session: TargetSession;
  readonly #link: LinkDriver;
  readonly #end = Promise.withResolvers<TargetOutcome>();
  readonly #timer: NodeJS.Timeout;
  readonly #kept = new Map<number, Contents[]>();
  readonly #waitingRequests: VmRequest[] = [];
  /** Of the trace, not stored yet. */
  readonly #segments: Uint8Array[] = [];
  #offer: ControlMessageOf<"offer"> | undefined;
  #store: TargetStore | undefined;
  #unpacker: MoveUnpacker | undefined;
  #machine: ReplayingMachine | undefined;
  #question: ControlMessageOf<"ask-owner"> | undefined;
  #isDraining = false;
  #isOver = false;

  readonly #siblings: Siblings;

  constructor(host: TargetHost, linkName: string, siblings: Siblings) {
    this.#host = host;
    this.#siblings = siblings;
    this.done = this.#end.promise;
    this.#session = new TargetSession({
      readSegment: (bytes) => {
        const { sequence, unitCount, to } = readSegmentHeader(bytes);
        return { sequence, nextSequence: sequence + unitCount, lastPosition: to.position };
      },
      entropySeed: new Uint8Array(randomBytes(32)),
      progressMs: PROGRESS_MS,
      maxHeldBytes: MAX_HELD_BYTES,
    });
    this.#link = new LinkDriver(
      {
        link: linkName,
        agent: host.agent,
        capabilities: [],
        versions: PROTOCOL_VERSIONS,
        bulkChannels: 1,
        maxBytesPerMs: Number.POSITIVE_INFINITY,
        times: DEFAULT_LINK_TIMES,
      },
      undefined,
      {
        onMessage: (message) => this.#message(message),
        onUp: () => this.#handle({ kind: "link-up" }),
        onDown: () => this.#handle({ kind: "link-down" }),
        onLost: ({ code, message, hint }) =>
          this.#handle({ kind: "link-lost", reason: { code, message, hint } }),
        onIdle: () => this.#handle({ kind: "tick" }),
      },
    );
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** The lineage that comes; undefined: nothing was offered yet. */
  get lineage(): string | undefined {
    return this.#offer?.lineage;
  }

  /** Whether the machine may be live here already. */
  get mayOwn(): boolean {
    return this.#session.mayOwn;
  }

  /** Whether it has ended, for better or worse. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Word for people. */
  get phase(): string {
    return this.#session.phase;
  }

  attach(socket: FrameSocket, hello: Hello): FrameSocketEvents {
    return this.#link.attach(socket, hello);
  }

  /**
   * The machine is offered over another link. Whoever does so was started anew and will not come
   * back to a link that is down; one that is up is not disturbed. Gives whether this has ended.
   */
  giveWay(): boolean {
    if (!this.#link.state.isUp) this.#handle({ kind: "link-lost", reason: offeredAnew() });
    return this.#isOver;
  }

  cancel(reason: Reason): void {
    this.#handle({ kind: "cancel", reason });
  }

  /**
   * The source asks over another link. Undefined: the record is being written, ask again. Where the
   * machine is not here yet, this ends the migration: the answer is a promise.
   */
  decideOwner(): "live-here" | "not-here" | undefined {
    let answer: "live-here" | "not-here" | undefined;
    this.#onAnswer = (state) => {
      answer = state;
    };
    this.#handle({ kind: "ask-owner" });
    this.#onAnswer = undefined;
    return answer;
  }

  #onAnswer: ((state: "live-here" | "not-here") => void) | undefined;

  #message(message: Message): void {
    if (message.kind === "ask-owner") {
      this.#question = message;
      if (this.#session.state.kind === "waiting") return this.#answerByRecords(message);
    }
    this.#handle({ kind: "message", message });
    if (message.kind === "commit") this.#tick();
  }

  /** A link that was made only to ask. */
  #answerByRecords(question: ControlMessageOf<"ask-owner">): void {
    const state = this.#siblings.ownerOf(question);
    if (state === undefined) {
      setTimeout(() => this.#answerByRecords(question), 50);
      return;
    }
    const { lineage, epoch } = question;
    this.#link.send({ kind: "owner", lineage, epoch, state });
  }

  #handle(event: TargetEvent): void {
    if (this.#isOver) return;
    const wallNs = BigInt(Date.now()) * 1_000_000n;
    this.#session.handle(event, performance.now(), wallNs);
    this.#drain();
  }

  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (let next = this.#session.poll(); next !== undefined; next = this.#session.poll()) {
      this.#attempt(next);
    }
    this.#isDraining = false;
  }

  #attempt(action: TargetAction): void {
    try {
      this.#act(action);
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    const reason = reasonOf(error);
    queueMicrotask(() => this.#handle({ kind: "unable", reason }));
  }

  #act(action: TargetAction): void {
    switch (action.kind) {
      case "judge":
        return this.#later(this.#judge(action.offer));
      case "send":
        return this.#link.send(action.message);
      case "make":
        return this.#later(this.#make(action.checkpoint));
      case "vm":
        return this.#request(action.request);
      case "open-checkpoint":
        return this.#store?.openCheckpoint(action.checkpoint);
      case "unpack":
        return this.#later(this.#unpack(action));
      case "jump":
        return this.#jump(action.id, action.checkpoint);
      case "drop-kept":
        this.#kept.delete(action.checkpoint);
        return;
      case "append":
        return this.#append(action.segment);
      case "store-checkpoint":
        this.#storeTrace();
        this.#store?.commitCheckpoint(action.checkpoint);
        return this.#later(this.#secure(action.checkpoint));
      case "record-live":
        return this.#recordLive(action.epoch);
      case "answer-owner":
        return this.#answerOwner(action.state);
      case "took-over":
        return this.#tookOver(action.epoch);
      case "forget":
        return this.#forget();
      case "finished":
        return this.#finish(action.outcome);
    }
  }

  async #judge(offer: ControlMessageOf<"offer">): Promise<void> {
    const isFree = this.#siblings.giveWay(offer.lineage);
    this.#offer = offer;
    const verdict = isFree ? await this.#host.judge(offer) : refusal(comesAlready(offer.name));
    // Given up meanwhile: a lineage that is opened now would never be closed.
    if (this.#isOver) return;
    if (verdict.kind === "accept") {
      this.#store = new TargetStore(this.#host.store, offer, this.#host.agent);
      this.#unpacker = new MoveUnpacker(this.#host.bases(offer));
      const inventory = this.#store.inventory();
      return this.#handle({ kind: "judged", verdict: { ...verdict, inventory } });
    }
    this.#handle({ kind: "judged", verdict });
  }

  async #make(checkpoint: ControlMessageOf<"checkpoint">): Promise<void> {
    if (this.#offer === undefined) return;
    const machine = await this.#host.makeMachine(this.#offer, checkpoint, (report) => {
      this.#handle({ kind: "vm", report });
    });
    this.#machine = machine;
    if (this.#isOver) return void machine.terminate();
    for (const request of this.#waitingRequests.splice(0)) machine.request(request);
    this.#handle({ kind: "made" });
  }

  #request(request: VmRequest): void {
    if (this.#machine === undefined) this.#waitingRequests.push(request);
    else this.#machine.request(request);
  }

  async #unpack({ id, message, keep }: Extract<TargetAction, { kind: "unpack" }>): Promise<void> {
    const [store, unpacker] = [this.#store, this.#unpacker];
    if (store === undefined || unpacker === undefined) return;
    const supply = (contents: Contents): void => {
      if (this.#isOver) return;
      if (keep) this.#keep(message.checkpoint, contents);
      else this.#supply(contents);
    };
    const contents = await unpack(message, { store, unpacker, supply });
    if (this.#isOver) return;
    this.#handle({ kind: "unpacked", unpacked: unpackedOf(id, message.checkpoint, contents) });
  }

  #keep(checkpoint: number, contents: Contents): void {
    const kept = this.#kept.get(checkpoint);
    if (kept === undefined) this.#kept.set(checkpoint, [contents]);
    else kept.push(contents);
  }

  #supply({ pages, zeroPages, chunks }: Contents): void {
    if (pages.pages.length > 0) this.#request({ kind: "supply-pages", ...pages });
    if (zeroPages.length > 0) {
      this.#request({ kind: "supply-zero-pages", pages: Uint32Array.from(zeroPages) });
    }
    if (chunks.chunks.length > 0) this.#request({ kind: "supply-chunks", ...chunks });
  }

  #jump(id: number, checkpoint: number): void {
    const kept = this.#kept.get(checkpoint) ?? [];
    const announcement = this.#session.announcement(checkpoint);
    if (announcement === undefined) return;
    const pages: PageBatch[] = kept.map((contents) => contents.pages);
    const chunks: ChunkBatch[] = kept.map((contents) => contents.chunks);
    const { position, ticks, state, trace } = announcement;
    this.#request({
      kind: "jump",
      id,
      position,
      state,
      ticks,
      trace,
      pages: pages.filter((batch) => batch.pages.length > 0),
      zeroPages: Uint32Array.from(kept.flatMap((contents) => contents.zeroPages)),
      chunks: chunks.filter((batch) => batch.chunks.length > 0),
    });
  }

  /** One commit for what comes within a tick. */
  #append(segment: Uint8Array): void {
    this.#segments.push(segment);
    if (this.#segments.length >= MAX_UNSTORED_SEGMENTS) this.#storeTrace();
  }

  #storeTrace(): void {
    const segments = this.#segments.splice(0);
    const last = segments.at(-1);
    if (last === undefined || this.#store === undefined) return;
    this.#store.append(segments);
    const { sequence, unitCount } = readSegmentHeader(last);
    this.#soon({ kind: "trace-stored", nextSequence: sequence + unitCount });
  }

  /**
   * What was stored is brought to the disk while both machines run: `recordLive` waits for all that
   * is not there yet, and then nobody runs.
   */
  async #secure(checkpoint: number): Promise<void> {
    await this.#host.store.sync();
    this.#handle({ kind: "checkpoint-stored", checkpoint });
  }

  /** Nothing waits for the tick once the machine is to be taken over. */
  #tick(): void {
    if (this.#isOver) return;
    try {
      this.#storeTrace();
    } catch (error) {
      this.#failed(error);
    }
    this.#handle({ kind: "tick" });
  }

  #recordLive(epoch: number): void {
    try {
      this.#store?.recordLive(epoch);
      this.#soon({ kind: "recorded" });
    } catch (error) {
      const reason = reasonOf(error, "E_STORE_IO");
      this.#soon({ kind: "record-failed", reason });
    }
  }

  #answerOwner(state: "live-here" | "not-here"): void {
    if (this.#onAnswer !== undefined) return this.#onAnswer(state);
    if (this.#question === undefined) return;
    const { lineage, epoch } = this.#question;
    this.#link.send({ kind: "owner", lineage, epoch, state });
  }

  #tookOver(epoch: number): void {
    const [offer, machine, store] = [this.#offer, this.#machine, this.#store];
    if (offer === undefined || machine === undefined || store === undefined) return;
    this.#host.tookOver({ offer, epoch, machine, writer: store.writer });
  }

  #forget(): void {
    this.#kept.clear();
    this.#segments.length = 0;
    void this.#machine?.terminate();
    this.#store?.forget();
    this.#store = undefined;
  }

  /** The last message is to arrive: the link ends once it is quiet. */
  #finish(outcome: TargetOutcome): void {
    this.#isOver = true;
    this.#unpacker?.close();
    clearInterval(this.#timer);
    const startedAt = performance.now();
    const closing = setInterval(() => {
      if (!this.#link.state.isQuiet && performance.now() - startedAt < 5000) return;
      clearInterval(closing);
      this.#link.close();
    }, TICK_MS);
    this.#end.resolve(outcome);
  }

  /** Events that an action causes come after the actions that are under way. */
  #soon(event: TargetEvent): void {
    this.#session.handle(event, performance.now(), BigInt(Date.now()) * 1_000_000n);
  }

  #later(work: Promise<void>): void {
    work.catch((error: unknown) => this.#failed(error));
  }
}

function refusal(reason: Reason): Verdict {
  return { kind: "refuse", reason };
}
