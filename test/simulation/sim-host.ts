/**
 * A host of the simulation: what an agent's driver does around the sessions, with stores in
 * memory. A crash drops everything but the store.
 */
import { CodedError, type Prng } from "@dejavm/base";
import type { BulkMessage, ControlMessageOf, Hello, Message } from "@dejavm/protocol";
import {
  DoubtSession,
  type IfNotConverging,
  type MigrationReport,
  type OwnershipWish,
  type SourceAction,
  SourceSession,
} from "@dejavm/source-agent";
import {
  offerRefusal,
  ownerByRecords,
  type TargetAction,
  type TargetOutcome,
  TargetSession,
} from "@dejavm/target-agent";
import type { PageBatch, VmRequest } from "@dejavm/vm";
import {
  copyModel,
  MODEL_PAGES,
  type ModelOutput,
  type ModelState,
  modelOf,
  newModel,
} from "./model.ts";
import { SimLink, type SimNetwork } from "./sim-network.ts";
import { chainOf, type SimPoint, type SimSegment, segmentOf } from "./sim-trace.ts";
import { SimVm, wordBytes, wordOf } from "./sim-vm.ts";

/** What survives a crash. */
export interface SimStore {
  readonly ownership: { state: OwnershipWish["state"] | "receiving"; epoch: number }[];
  checkpoints: { readonly state: ModelState; readonly point: SimPoint }[];
  segments: SimSegment[];
}

/** What may go wrong at a host, and how fast it is. */
export interface SimConditions {
  /** Positions per millisecond that it replays. */
  readonly replaySpeed: number;
  readonly wrongAt: number | undefined;
  /** Milliseconds that a write takes. */
  readonly writeMs: number;
  /** Until then ownership cannot be recorded. */
  readonly fullUntil: number;
  readonly ifNotConverging: IfNotConverging;
  /** Page groups arrive unpacked after so long. */
  readonly unpackMs: number;
}

/** Rules that a host can be made to break, to see that the simulation notices. */
export type Defect =
  | "offers without a record"
  | "goes live without a record"
  | "runs on after the commitment"
  | "guesses who owns it"
  | "loses the end of the trace"
  | "lets outputs out early"
  | "takes inputs twice"
  | "compares no digests"
  | "takes any offer"
  | "believes anybody"
  | "stands still after nonsense"
  | "holds without a bound";

/** What a target may hold of what its source sends: little, so that floods come to it. */
export const MAX_HELD_BYTES = 12_000;

/** What the world around hears. */
export interface SimWorld {
  readonly network: SimNetwork;
  readonly prng: Prng;
  readonly defect: Defect | undefined;
  /** A machine stands still at F. */
  frozen(host: SimHost, state: ModelState): void;
  /** A machine that has come runs. */
  cameLive(host: SimHost, state: ModelState): void;
  /** A migration to here is over. */
  received(host: SimHost, outcome: TargetOutcome): void;
  /** Something is about to be done: here a crash may come. */
  step(host: SimHost): void;
  outputs(host: SimHost, outputs: readonly ModelOutput[]): void;
  finished(host: SimHost, report: MigrationReport): void;
  /** Named places between durable writes and what follows: here a crash may come. */
  failPoint(host: SimHost, name: string): void;
}

const FULL = { code: "E_STORE_FULL", message: "full", hint: undefined };
const MIGRATION = { lineage: "lineage", name: "vm" };

/** See the head of this file. */
export class SimHost {
  readonly name: string;
  readonly store: SimStore = { ownership: [], checkpoints: [], segments: [] };
  vm: SimVm | undefined;
  isUp = true;
  conditions: SimConditions;
  source: SourceSession | undefined;
  readonly #world: SimWorld;
  readonly #peer: string;
  #links = new Map<string, SimLink>();
  #targets = new Map<string, Incoming>();
  #sourceLink: SimLink | undefined;
  #doubt: DoubtSession | undefined;
  #later: { readonly at: number; readonly action: () => void }[] = [];
  #counter = 0;
  #life = 0;

  constructor(name: string, peer: string, world: SimWorld, conditions: SimConditions) {
    this.name = name;
    this.#peer = peer;
    this.#world = world;
    this.conditions = conditions;
    world.network.listen(name, (connection, hello) => this.#accept(connection, hello));
  }

  /** Whether a machine runs here now. */
  get isLive(): boolean {
    return this.isUp && this.vm?.mode === "live";
  }

  /** What the records say of a machine that runs here; undefined: nothing. */
  get record(): SimStore["ownership"][number]["state"] | undefined {
    return this.store.ownership.at(-1)?.state;
  }

  /** Whether somebody has to say where the machine lives, if the peer never does. */
  get isInDoubt(): boolean {
    return this.source?.isCommitted === true || this.#doubt?.state.kind === "asking";
  }

  /** Whether nothing is under way. */
  get isAtRest(): boolean {
    const coming = [...this.#targets.values()].some(({ session }) => {
      return session.state.kind !== "ended" && session.state.kind !== "waiting";
    });
    return this.isUp && !coming && this.source === undefined && this.#doubt === undefined;
  }

  /** Bytes that others have sent and that wait here. */
  get heldBytes(): number {
    return Math.max(0, ...[...this.#targets.values()].map(({ session }) => session.heldBytes));
  }

  /** A person decides. */
  settle(live: "here" | "there"): void {
    this.source?.handle({ kind: "settle", live }, this.#now);
    this.#doubt?.handle({ kind: "settle", live });
  }

  /** Does harm: offers a machine that it need not have, as if it owned it with that epoch. */
  claim(epoch: number): void {
    if (!this.isUp || this.source !== undefined) return;
    this.store.ownership.push({ state: "live", epoch });
    if (this.vm === undefined) this.#runHere(newModel(), { sequence: 0, chain: 1 });
    this.migrate();
  }

  /** Begins the lineage here. */
  powerOn(): void {
    const point = { sequence: 0, chain: 1 };
    const state = newModel();
    this.store.checkpoints.push({ state: copyModel(state), point });
    this.#own("live", 1);
    this.#runHere(state, point);
  }

  /** For who looks at a failure. */
  describe(): string {
    const targets = [...this.#targets.values()].map(({ session, link, machine }) => {
      return { state: session.state.kind, over: link.isOver, mode: machine?.mode };
    });
    const { isUp, store } = this;
    const source = { state: this.source?.state.kind, up: this.#sourceLink?.link.isUp };
    const ownership = store.ownership.map(({ state, epoch }) => `${state} ${epoch}`);
    return JSON.stringify({ isUp, mode: this.vm?.mode, source, targets, ownership });
  }

  crash(): void {
    this.isUp = false;
    this.#life++;
    this.vm = undefined;
    this.source = undefined;
    this.#sourceLink = undefined;
    this.#doubt = undefined;
    this.#links = new Map();
    this.#targets = new Map();
    this.#later = [];
    this.#world.network.listen(this.name, undefined);
    this.#world.network.breakAll(this.name);
  }

  /** As an agent does when it starts: looks at its records. */
  restart(): void {
    this.isUp = true;
    this.#world.network.listen(this.name, (connection, hello) => this.#accept(connection, hello));
    const last = this.store.ownership.at(-1);
    if (last?.state === "live") this.#recover();
    if (last?.state === "receiving") this.#forgetReceived();
    if (last?.state === "offering") this.#ask(last.epoch);
  }

  /** Moves the machine to the peer. */
  migrate(): void {
    const last = this.store.ownership.at(-1);
    if (last?.state !== "live" || this.source !== undefined) return;
    const { now } = this.#world.network;
    this.source = new SourceSession(
      {
        offer: {
          kind: "offer",
          migration: `m${++this.#counter}-${this.#life}-${this.name}`,
          ...MIGRATION,
          epoch: last.epoch,
          semantics: 1,
          pageCount: MODEL_PAGES,
          disks: [],
          fingerprint: new Uint8Array(0),
          description: new Uint8Array(0),
          maxDowntimeMs: 100,
        },
        peer: this.#peer,
        negotiateMs: 5000,
        frontierMs: 5,
        maxSavedPages: 1000,
        maxDowntimeMs: 100,
        minShare: 0.5,
        ifNotConverging: this.conditions.ifNotConverging,
      },
      now,
    );
    this.#sourceLink = this.#sourceLinkTo();
  }

  cancel(): void {
    const reason = { code: "E_CANCELLED", message: "cancelled", hint: undefined };
    this.source?.handle({ kind: "cancel", reason }, this.#world.network.now);
  }

  /** A millisecond passes. */
  advance(now: number): void {
    if (!this.isUp) return;
    const due = this.#later.filter(({ at }) => at <= now);
    if (due.length > 0) {
      this.#later = this.#later.filter(({ at }) => at > now);
      for (const { action } of due) if (this.isUp) action();
    }
    this.vm?.advance(now);
    for (const target of this.#targets.values()) target.machine?.advance(now);
    if (now % 5 === 0) this.#tick(now);
    this.#pump();
  }

  #tick(now: number): void {
    const link = this.#sourceLink;
    if (this.source !== undefined && link !== undefined) {
      const view = {
        ...link.link.measures,
        isUp: link.link.isUp,
        bulkRoom: link.link.wantsBulk ? 4 : 0,
        bulkMessageBytes: 6000,
      };
      this.source.handle({ kind: "tick", link: view }, now);
    }
    for (const target of this.#targets.values()) target.session.handle({ kind: "tick" }, now, 0n);
  }

  #pump(): void {
    for (let again = true; again && this.isUp; ) {
      again = false;
      for (const link of [...this.#links.values(), this.#sourceLink]) link?.pump();
      for (let a = this.source?.poll(); a !== undefined; a = this.source?.poll()) {
        again = true;
        if (this.#diesHere()) return;
        this.#source(a);
      }
      for (const target of this.#targets.values()) {
        for (let a = target.session.poll(); a !== undefined; a = target.session.poll()) {
          again = true;
          if (this.#diesHere()) return;
          this.#target(target, a);
        }
      }
      for (let a = this.#doubt?.poll(); a !== undefined; a = this.#doubt?.poll()) {
        again = true;
        if (this.#diesHere()) return;
        this.#doubtful(a);
      }
    }
  }

  #diesHere(): boolean {
    this.#world.step(this);
    return !this.isUp;
  }

  #own(state: SimStore["ownership"][number]["state"], epoch: number): void {
    const { ownership } = this.store;
    if (epoch < (ownership.at(-1)?.epoch ?? 0)) throw new Error(`${state} ${epoch}: epochs fall`);
    ownership.push({ state, epoch });
  }

  #after(ms: number, action: () => void): void {
    this.#later.push({ at: this.#world.network.now + ms, action });
  }

  // ---- machines

  #runHere(state: ModelState, point: SimPoint): void {
    this.vm = this.#liveVm(state, point);
  }

  #liveVm(state: ModelState, point: SimPoint): SimVm {
    const vm: SimVm = new SimVm(
      { mode: "live", state, point },
      (report) => {
        if (report.kind === "frozen") this.#world.frozen(this, vm.state);
        if (report.kind === "segment") this.#keep(segmentOf(report.bytes));
        this.source?.handle({ kind: "vm", report }, this.#world.network.now);
      },
      (outputs) => this.#world.outputs(this, outputs),
    );
    return vm;
  }

  #keep(segment: SimSegment): void {
    if (this.#world.defect !== "lets outputs out early") this.store.segments.push(segment);
    else this.#after(30, () => this.store.segments.push(segment));
  }

  /** From the newest checkpoint by replay of everything stored: the last visible moment. */
  #recover(): void {
    const base = this.store.checkpoints.at(-1);
    if (base === undefined) throw new Error(`${this.name} owns a machine that it does not have`);
    const replay = new SimVm(
      {
        mode: "replaying",
        id: 0,
        state: base.state,
        point: base.point,
        speed: 1e9,
        wrongAt: undefined,
        compares: true,
      },
      (report) => {
        if (report.kind === "diverged") throw new Error(`${this.name}: recovery diverged`);
      },
      () => undefined,
    );
    const pages = Uint32Array.from(base.state.pages.keys());
    const bytes = Uint8Array.from(base.state.pages.flatMap((value) => [...wordBytes(value)]));
    replay.request({ kind: "supply-pages", pages, bytes });
    const segments = this.store.segments.filter(({ sequence }) => sequence >= base.point.sequence);
    if (this.#world.defect === "loses the end of the trace") segments.pop();
    const expected = segments.map((_, i) => base.point.sequence + i);
    if (segments.some(({ sequence }, i) => sequence !== expected[i])) {
      throw new Error(`${this.name}: the stored trace has a gap`);
    }
    replay.request({
      kind: "feed",
      segments: segments.map((segment) => new TextEncoder().encode(JSON.stringify(segment))),
    });
    replay.advance(this.#world.network.now);
    const last = segments.at(-1);
    const point =
      last === undefined ? base.point : { sequence: last.sequence + 1, chain: last.chain };
    this.#runHere(replay.state, point);
  }

  #forgetReceived(): void {
    this.store.checkpoints = [];
    this.store.segments = [];
    this.#own("moved", this.store.ownership.at(-1)?.epoch ?? 0);
  }

  // ---- source

  #sourceLinkTo(): SimLink {
    const { source } = this;
    const doubt = this.#doubt;
    return new SimLink({
      network: this.#world.network,
      host: this.name,
      peer: this.#peer,
      role: "dialer",
      name: `${this.name}-${this.#life}-${++this.#counter}`,
      giveUpAfterMs: 6000,
      handlers: {
        onMessage: (message) => {
          if (this.#world.defect === "believes anybody" && message.kind === "live") this.#leave();
          source?.handle({ kind: "message", message }, this.#now);
          doubt?.handle({ kind: "message", message });
        },
        onUp: () => source?.handle({ kind: "link-up" }, this.#now),
        onDown: () => {
          const goesOn = this.#world.defect === "runs on after the commitment";
          if (goesOn && source?.isCommitted === true) this.vm?.request({ kind: "unfreeze", id: 0 });
          source?.handle({ kind: "link-down" }, this.#now);
        },
        onLost: (code, message) => {
          const reason = { code, message, hint: undefined };
          source?.handle({ kind: "link-lost", reason }, this.#now);
          // Asking again at once would be asking without end within a moment.
          this.#after(200, () => doubt?.handle({ kind: "link-lost", reason }));
        },
      },
    });
  }

  /** As if the peer had it now. */
  #leave(): void {
    this.vm = undefined;
    this.#own("moved", (this.store.ownership.at(-1)?.epoch ?? 0) + 1);
  }

  #source(action: SourceAction): void {
    switch (action.kind) {
      case "vm":
        return this.#machineRequest(action.request);
      case "send":
        return this.#sourceLink?.send(action.message);
      case "send-bulk":
        return this.#sourceLink?.sendBulk(action.message);
      case "read":
        return this.#read(action);
      case "record":
        return this.#record(action.wish, (kind) => {
          const reason = { code: "E_STORE_FULL", message: "full", hint: undefined };
          const { wish } = action;
          this.source?.handle(
            kind === "recorded" ? { kind, wish } : { kind, wish, reason },
            this.#world.network.now,
          );
        });
      case "hold-link":
        return this.#sourceLink?.link.neverGiveUp();
      case "new-link":
        return this.#askAgain();
      case "progress":
        return;
      case "finished":
        return this.#sourceFinished(action.report);
    }
  }

  #machineRequest(request: VmRequest): void {
    this.vm?.request(request);
  }

  #read({ id, checkpoint, items }: Extract<SourceAction, { kind: "read" }>): void {
    const { vm } = this;
    if (vm === undefined) return;
    const session = this.source;
    const messages: BulkMessage[] = [];
    const capture = vm.readNow(checkpoint, items);
    const full = capture.filter(([, value]) => value !== 0);
    const zero = capture.filter(([, value]) => value === 0);
    if (zero.length > 0) {
      messages.push({ kind: "zero-pages", checkpoint, pages: zero.map(([page]) => page) });
    }
    if (full.length > 0) {
      const data = Uint8Array.from(full.flatMap(([, value]) => [...wordBytes(value)]));
      const pages = full.map(([page]) => page);
      messages.push({ kind: "page-group", checkpoint, codec: "zstd", pages, data });
    }
    const batch = { id, messages, zeroPages: zero.length, referenced: 0 };
    this.#after(this.#world.prng.below(3), () => {
      if (this.source === session) session?.handle({ kind: "prepared", batch }, this.#now);
    });
  }

  get #now(): number {
    return this.#world.network.now;
  }

  #record(wish: OwnershipWish, done: (kind: "recorded" | "record-failed") => void): void {
    this.#world.failPoint(this, `before ${wish.state}`);
    if (!this.isUp) return;
    if (this.#now < this.conditions.fullUntil) return this.#after(50, () => done("record-failed"));
    this.#after(this.conditions.writeMs, () => {
      const isForgotten = this.#world.defect === "offers without a record";
      if (!isForgotten || wish.state !== "offering") this.#own(wish.state, wish.epoch);
      this.#world.failPoint(this, `after ${wish.state}`);
      if (this.isUp) done("recorded");
    });
  }

  #askAgain(): void {
    const offer = this.source === undefined ? undefined : this.#offered();
    this.#sourceLink?.close();
    const life = this.#life;
    this.#after(200, () => {
      if (life !== this.#life || offer === undefined) return;
      this.#sourceLink = this.#sourceLinkTo();
      this.#sourceLink.link.neverGiveUp();
      this.#sourceLink.send({
        kind: "ask-owner",
        migration: "m",
        lineage: "lineage",
        epoch: offer,
      });
    });
  }

  #offered(): number | undefined {
    return this.store.ownership.at(-1)?.epoch;
  }

  #sourceFinished(report: MigrationReport): void {
    const { outcome } = report;
    if (outcome.kind === "moved") this.vm = undefined;
    const isNonsense = outcome.kind === "stayed" && outcome.code.startsWith("E_PROTOCOL");
    if (isNonsense && this.#world.defect === "stands still after nonsense") {
      this.vm?.request({ kind: "freeze", id: 0 });
    }
    this.source = undefined;
    const link = this.#sourceLink;
    this.#sourceLink = undefined;
    if (link !== undefined) {
      this.#links.set(link.link.name, link);
      this.#after(3000, () => link.close());
    }
    this.#world.finished(this, report);
  }

  // ---- after a crash

  #ask(epoch: number): void {
    this.#doubt = new DoubtSession({ migration: "m", lineage: "lineage", epoch });
  }

  #doubtful(action: ReturnType<DoubtSession["poll"]>): void {
    switch (action?.kind) {
      case "new-link":
        this.#sourceLink = this.#sourceLinkTo();
        this.#sourceLink.link.neverGiveUp();
        return;
      case "send":
        return this.#sourceLink?.send(action.message);
      case "record":
        return this.#record(action.wish, (kind) => {
          const reason = { code: "E_STORE_FULL", message: "full", hint: undefined };
          this.#doubt?.handle(kind === "recorded" ? { kind } : { kind, reason });
        });
      case "finished":
        this.#doubt = undefined;
        this.#sourceLink?.close();
        this.#sourceLink = undefined;
        if (action.owner === "here") this.#recover();
        return;
      case undefined:
        return;
    }
  }

  // ---- target

  #accept(connection: number, hello: Hello) {
    const known = this.#links.get(hello.link);
    if (known !== undefined) return known.attach(connection, hello);
    if (hello.known) return undefined;
    const session = new TargetSession({
      readSegment: (bytes) => {
        const { sequence, lastPosition } = segmentOf(bytes);
        return { sequence, nextSequence: sequence + 1, lastPosition: BigInt(lastPosition) };
      },
      entropySeed: new Uint8Array(32),
      progressMs: 10,
      maxHeldBytes:
        this.#world.defect === "holds without a bound" ? Number.POSITIVE_INFINITY : MAX_HELD_BYTES,
    });
    const now = () => this.#world.network.now;
    const link = new SimLink({
      network: this.#world.network,
      host: this.name,
      peer: this.#peer,
      role: "listener",
      name: hello.link,
      giveUpAfterMs: 6000,
      handlers: {
        onMessage: (message) => this.#targetMessage(incoming, message),
        onUp: () => session.handle({ kind: "link-up" }, now(), 0n),
        onDown: () => session.handle({ kind: "link-down" }, now(), 0n),
        onLost: (code, message) => {
          session.handle(
            { kind: "link-lost", reason: { code, message, hint: undefined } },
            now(),
            0n,
          );
        },
      },
    });
    const incoming: Incoming = {
      session,
      link,
      machine: undefined,
      kept: new Map(),
      received: new Map(),
      waiting: [],
      base: undefined,
      segments: [],
    };
    this.#links.set(hello.link, link);
    this.#targets.set(hello.link, incoming);
    return link.attach(connection, hello);
  }

  #targetMessage(incoming: Incoming, message: Message): void {
    const { session, link } = incoming;
    if (message.kind === "ask-owner" && session.state.kind === "waiting") {
      return this.#answerOwner(link, message);
    }
    session.handle({ kind: "message", message }, this.#now, 0n);
    const twice = message.kind === "late-input" && this.#world.defect === "takes inputs twice";
    if (twice) session.handle({ kind: "message", message }, this.#now, 0n);
  }

  #answerOwner(link: SimLink, question: ControlMessageOf<"ask-owner">): void {
    const { epoch, lineage } = question;
    const active = [...this.#targets.values()].filter(({ session }) => {
      return session.state.kind !== "ended" && session.state.kind !== "waiting";
    });
    for (const { session } of active) session.handle({ kind: "ask-owner" }, this.#now, 0n);
    this.#pump();
    const undecided = active.some(({ session }) => session.state.kind === "recording");
    if (undecided) return this.#after(20, () => this.#answerOwner(link, question));
    const guesses = this.#world.defect === "guesses who owns it";
    const state = guesses ? "not-here" : ownerByRecords(this.store.ownership, epoch);
    link.send({ kind: "owner", lineage, epoch, state });
  }

  #target(incoming: Incoming, action: TargetAction): void {
    const { session, link } = incoming;
    const tell = (event: Parameters<TargetSession["handle"]>[0]) =>
      session.handle(event, this.#now, 0n);
    switch (action.kind) {
      case "judge":
        return this.#judge(incoming);
      case "send":
        return link.send(action.message);
      case "make":
        return this.#make(incoming, action.checkpoint);
      case "vm":
        return requestOf(incoming, action.request);
      case "open-checkpoint":
        incoming.received.set(action.checkpoint.checkpoint, {
          message: action.checkpoint,
          pages: new Map(),
        });
        return;
      case "unpack":
        return this.#after(this.#world.prng.below(this.conditions.unpackMs + 1), () => {
          this.#unpack(incoming, action);
        });
      case "jump":
        return this.#jump(incoming, action);
      case "drop-kept":
        incoming.kept.delete(action.checkpoint);
        return;
      case "append":
        return this.#append(incoming, action.segment);
      case "store-checkpoint":
        return this.#after(this.conditions.writeMs, () => {
          if (session.state.kind === "ended") return;
          if (this.#isFull) return tell({ kind: "unable", reason: FULL });
          try {
            incoming.base = storedCheckpoint(incoming, action.checkpoint);
          } catch (error) {
            return tell({ kind: "unable", reason: reasonOf(error) });
          }
          tell({ kind: "checkpoint-stored", checkpoint: action.checkpoint });
        });
      case "record-live":
        return this.#recordLive(incoming, action.epoch);
      case "answer-owner":
        return;
      case "took-over":
        this.vm = incoming.machine;
        incoming.machine = undefined;
        return;
      case "forget":
        incoming.machine = undefined;
        incoming.received.clear();
        this.#forgetIfReceiving();
        return;
      case "finished":
        this.#world.received(this, action.outcome);
        return this.#after(3000, () => link.close());
    }
  }

  get #isFull(): boolean {
    return this.#now < this.conditions.fullUntil;
  }

  #forgetIfReceiving(): void {
    if (this.store.ownership.at(-1)?.state === "receiving") this.#forgetReceived();
  }

  #judge(incoming: Incoming): void {
    const { state } = incoming.session;
    const offered = state.kind === "judging" ? state.offer.epoch : 0;
    const reason = { code: "E_VM_EXISTS", message: "it is here already", hint: undefined };
    this.#after(this.conditions.writeMs, () => {
      const last = this.store.ownership.at(-1);
      const refused = offerRefusal(this.store.ownership, offered) !== undefined;
      const takes = this.#world.defect === "takes any offer";
      const busy = !takes && (refused || last?.state === "receiving");
      if (!busy) this.#own("receiving", takes ? (last?.epoch ?? 0) : offered);
      const has = { hasBase: [], checkpoints: [], freeMemoryBytes: 1e9, freeDiskBytes: 1e9 };
      incoming.session.handle(
        {
          kind: "judged",
          verdict: busy ? { kind: "refuse", reason } : { kind: "accept", has },
        },
        this.#now,
        0n,
      );
    });
  }

  #make(incoming: Incoming, message: ControlMessageOf<"checkpoint">): void {
    this.#after(10, () => {
      const state = this.#stateOf(message, incoming);
      if (state === undefined) return;
      const { trace } = message;
      const machine: SimVm = new SimVm(
        {
          mode: "replaying",
          id: message.checkpoint,
          state,
          point: { sequence: trace.sequence, chain: chainOf(trace.chain) },
          speed: this.conditions.replaySpeed,
          wrongAt: this.conditions.wrongAt,
          compares: this.#world.defect !== "compares no digests",
        },
        (report) => {
          if (report.kind === "frozen") this.#world.frozen(this, machine.state);
          if (report.kind === "live") this.#world.cameLive(this, machine.state);
          if (report.kind === "segment") this.store.segments.push(segmentOf(report.bytes));
          incoming.session.handle({ kind: "vm", report }, this.#now, 0n);
          this.source?.handle({ kind: "vm", report }, this.#now);
        },
        (outputs) => this.#world.outputs(this, outputs),
      );
      incoming.machine = machine;
      for (const request of incoming.waiting.splice(0)) machine.request(request);
      incoming.session.handle({ kind: "made" }, this.#now, 0n);
    });
  }

  #stateOf(
    { state }: ControlMessageOf<"checkpoint">,
    { session }: Incoming,
  ): ModelState | undefined {
    try {
      return modelOf(
        state,
        Array.from({ length: MODEL_PAGES }, () => 0),
      );
    } catch (error) {
      session.handle({ kind: "unable", reason: reasonOf(error) }, this.#now, 0n);
      return undefined;
    }
  }

  #unpack(incoming: Incoming, action: Extract<TargetAction, { kind: "unpack" }>): void {
    const { id, message, keep } = action;
    if (!("pages" in message)) return;
    const data = message.kind === "page-group" ? message.data : undefined;
    if (data !== undefined && data.length !== message.pages.length * 4) {
      const reason = { code: "E_PROTOCOL_MALFORMED", message: "no group", hint: undefined };
      return incoming.session.handle({ kind: "unable", reason }, this.#now, 0n);
    }
    const batch = message.pages.map((page, i): [number, number] => {
      return [page, data === undefined ? 0 : wordOf(data.subarray(i * 4, i * 4 + 4))];
    });
    const received = incoming.received.get(message.checkpoint);
    for (const [page, value] of batch) received?.pages.set(page, value);
    if (keep) {
      const kept = incoming.kept.get(message.checkpoint) ?? [];
      incoming.kept.set(message.checkpoint, [...kept, ...batch]);
    } else requestOf(incoming, { kind: "supply-pages", ...batchOf(batch) });
    incoming.session.handle(
      {
        kind: "unpacked",
        unpacked: {
          id,
          checkpoint: message.checkpoint,
          pages: message.pages,
          chunks: [],
          unknownPages: [],
          unknownChunks: [],
        },
      },
      this.#now,
      0n,
    );
  }

  #jump(incoming: Incoming, { id, checkpoint }: Extract<TargetAction, { kind: "jump" }>): void {
    const message = incoming.session.announcement(checkpoint);
    if (message === undefined) return;
    const { position, ticks, state, trace } = message;
    const kept = incoming.kept.get(checkpoint) ?? [];
    incoming.machine?.request({
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

  #append(incoming: Incoming, bytes: Uint8Array): void {
    const segment = segmentOf(bytes);
    this.#after(this.conditions.writeMs, () => {
      if (this.#isFull) {
        return incoming.session.handle({ kind: "unable", reason: FULL }, this.#now, 0n);
      }
      incoming.segments.push(segment);
      incoming.session.handle(
        { kind: "trace-stored", nextSequence: segment.sequence + 1 },
        this.#now,
        0n,
      );
    });
  }

  #recordLive(incoming: Incoming, epoch: number): void {
    this.#world.failPoint(this, "before live");
    if (!this.isUp) return;
    const tell = (event: Parameters<TargetSession["handle"]>[0]) =>
      incoming.session.handle(event, this.#now, 0n);
    if (this.#now < this.conditions.fullUntil) {
      return this.#after(20, () => tell({ kind: "record-failed", reason: FULL }));
    }
    if (this.#world.defect === "goes live without a record") return tell({ kind: "recorded" });
    this.#after(this.conditions.writeMs, () => {
      if (incoming.base === undefined) throw new Error("live without a durable base");
      this.store.checkpoints = [incoming.base];
      this.store.segments = [...incoming.segments];
      this.#own("live", epoch);
      this.#world.failPoint(this, "after live");
      if (this.isUp) tell({ kind: "recorded" });
    });
  }
}

/** Bytes of a peer's that are nothing. */
function reasonOf(error: unknown): typeof FULL {
  if (!(error instanceof CodedError)) throw error;
  return { code: String(error.code), message: error.message, hint: undefined };
}

interface Incoming {
  readonly session: TargetSession;
  readonly link: SimLink;
  machine: SimVm | undefined;
  readonly kept: Map<number, [number, number][]>;
  readonly received: Map<
    number,
    { readonly message: ControlMessageOf<"checkpoint">; readonly pages: Map<number, number> }
  >;
  readonly waiting: VmRequest[];
  base: { readonly state: ModelState; readonly point: SimPoint } | undefined;
  readonly segments: SimSegment[];
}

/** Requests wait for the machine to be made. */
function requestOf(incoming: Incoming, request: VmRequest): void {
  if (incoming.machine === undefined) incoming.waiting.push(request);
  else incoming.machine.request(request);
}

/** What the store can bring back: the newest layer on those before. */
function storedCheckpoint(incoming: Incoming, checkpoint: number) {
  const pages = Array.from({ length: MODEL_PAGES }, () => 0);
  let state: ModelState | undefined;
  let point: SimPoint | undefined;
  for (const [id, { message, pages: arrived }] of incoming.received) {
    if (id > checkpoint) break;
    for (const [page, value] of arrived) pages[page] = value;
    state = modelOf(message.state, pages);
    point = { sequence: message.trace.sequence, chain: chainOf(message.trace.chain) };
  }
  if (state === undefined || point === undefined) throw new Error("an unknown checkpoint");
  return { state: copyModel(state), point };
}

function batchOf(batch: readonly (readonly [number, number])[]): PageBatch {
  return {
    pages: Uint32Array.from(batch.map(([page]) => page)),
    bytes: Uint8Array.from(batch.flatMap(([, value]) => [...wordBytes(value)])),
  };
}
