/**
 * A host of the simulation: what an agent's driver does around the sessions, with stores in
 * memory. A crash drops everything but the store.
 */
import type { BulkMessage, ControlMessageOf, Hello } from "@dejavm/protocol";
import {
  DoubtSession,
  type MigrationReport,
  type OwnershipWish,
  type SourceAction,
  SourceSession,
} from "@dejavm/source-agent";
import { ownerByRecords } from "@dejavm/target-agent";
import type { VmReport, VmRequest } from "@dejavm/vm";
import { copyModel, MODEL_PAGES, type ModelState, newModel } from "./model.ts";
import { SimLink } from "./sim-network.ts";
import { SimTarget } from "./sim-target.ts";
import { type SimPoint, type SimSegment, segmentOf } from "./sim-trace.ts";
import type { SimConditions, SimStore, SimWorld } from "./sim-types.ts";
import { SimVm, wordBytes } from "./sim-vm.ts";

const MIGRATION = { lineage: "lineage", name: "vm" };

/** See the head of this file. */
export class SimHost {
  readonly name: string;
  readonly store: SimStore = { ownership: [], checkpoints: [], segments: [] };
  vm: SimVm | undefined;
  isUp = true;
  conditions: SimConditions;
  source: SourceSession | undefined;
  readonly world: SimWorld;
  readonly peer: string;
  #links = new Map<string, SimLink>();
  #targets = new Map<string, SimTarget>();
  #sourceLink: SimLink | undefined;
  #doubt: DoubtSession | undefined;
  #later: { readonly at: number; readonly action: () => void }[] = [];
  #counter = 0;
  #life = 0;

  constructor(name: string, peer: string, world: SimWorld, conditions: SimConditions) {
    this.name = name;
    this.peer = peer;
    this.world = world;
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
    this.source?.handle({ kind: "settle", live }, this.now);
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
    this.own("live", 1);
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
    this.world.network.listen(this.name, undefined);
    this.world.network.breakAll(this.name);
  }

  /** As an agent does when it starts: looks at its records. */
  restart(): void {
    this.isUp = true;
    this.world.network.listen(this.name, (connection, hello) => this.#accept(connection, hello));
    const last = this.store.ownership.at(-1);
    if (last?.state === "live") this.#recover();
    this.forgetReceived();
    if (last?.state === "offering") this.#ask(last.epoch);
  }

  /** Moves the machine to the peer. */
  migrate(): void {
    const last = this.store.ownership.at(-1);
    if (last?.state !== "live" || this.source !== undefined) return;
    const { now } = this.world.network;
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
        peer: this.peer,
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
    this.source?.handle({ kind: "cancel", reason }, this.world.network.now);
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
          target.act(a);
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
    this.world.step(this);
    return !this.isUp;
  }

  /** Records it; the epoch never falls. */
  own(state: SimStore["ownership"][number]["state"], epoch: number): void {
    const { ownership } = this.store;
    if (epoch < (ownership.at(-1)?.epoch ?? 0)) throw new Error(`${state} ${epoch}: epochs fall`);
    ownership.push({ state, epoch });
  }

  /** Later, if the host still lives. */
  after(ms: number, action: () => void): void {
    this.#later.push({ at: this.world.network.now + ms, action });
  }

  // ---- machines

  #runHere(state: ModelState, point: SimPoint): void {
    this.vm = this.#liveVm(state, point);
  }

  #liveVm(state: ModelState, point: SimPoint): SimVm {
    const vm: SimVm = new SimVm(
      { mode: "live", state, point },
      (report) => {
        if (report.kind === "frozen") this.world.frozen(this, vm.state);
        if (report.kind === "segment") this.#keep(segmentOf(report.bytes));
        this.source?.handle({ kind: "vm", report }, this.world.network.now);
      },
      (outputs) => this.world.outputs(this, outputs),
    );
    return vm;
  }

  #keep(segment: SimSegment): void {
    if (this.world.defect !== "lets outputs out early") this.store.segments.push(segment);
    else this.after(30, () => this.store.segments.push(segment));
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
    if (this.world.defect === "loses the end of the trace") segments.pop();
    const expected = segments.map((_, i) => base.point.sequence + i);
    if (segments.some(({ sequence }, i) => sequence !== expected[i])) {
      throw new Error(`${this.name}: the stored trace has a gap`);
    }
    replay.request({
      kind: "feed",
      segments: segments.map((segment) => new TextEncoder().encode(JSON.stringify(segment))),
    });
    replay.advance(this.world.network.now);
    const last = segments.at(-1);
    const point =
      last === undefined ? base.point : { sequence: last.sequence + 1, chain: last.chain };
    this.#runHere(replay.state, point);
  }

  // ---- source

  #sourceLinkTo(): SimLink {
    const { source } = this;
    const doubt = this.#doubt;
    return new SimLink({
      network: this.world.network,
      host: this.name,
      peer: this.peer,
      role: "dialer",
      name: `${this.name}-${this.#life}-${++this.#counter}`,
      giveUpAfterMs: 6000,
      handlers: {
        onMessage: (message) => {
          if (this.world.defect === "believes anybody" && message.kind === "live") this.#leave();
          source?.handle({ kind: "message", message }, this.now);
          doubt?.handle({ kind: "message", message });
        },
        onUp: () => source?.handle({ kind: "link-up" }, this.now),
        onDown: () => {
          const goesOn = this.world.defect === "runs on after the commitment";
          if (goesOn && source?.isCommitted === true) this.vm?.request({ kind: "unfreeze", id: 0 });
          source?.handle({ kind: "link-down" }, this.now);
        },
        onLost: (code, message) => {
          const reason = { code, message, hint: undefined };
          source?.handle({ kind: "link-lost", reason }, this.now);
          // Asking again at once would be asking without end within a moment.
          this.after(200, () => doubt?.handle({ kind: "link-lost", reason }));
        },
      },
    });
  }

  /** As if the peer had it now. */
  #leave(): void {
    this.vm = undefined;
    this.own("moved", (this.store.ownership.at(-1)?.epoch ?? 0) + 1);
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
            this.world.network.now,
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
    this.after(this.world.prng.below(3), () => {
      if (this.source === session) session?.handle({ kind: "prepared", batch }, this.now);
    });
  }

  get now(): number {
    return this.world.network.now;
  }

  #record(wish: OwnershipWish, done: (kind: "recorded" | "record-failed") => void): void {
    this.world.failPoint(this, `before ${wish.state}`);
    if (!this.isUp) return;
    if (this.now < this.conditions.fullUntil) return this.after(50, () => done("record-failed"));
    this.after(this.conditions.writeMs, () => {
      const isForgotten = this.world.defect === "offers without a record";
      if (!isForgotten || wish.state !== "offering") this.own(wish.state, wish.epoch);
      this.world.failPoint(this, `after ${wish.state}`);
      if (this.isUp) done("recorded");
    });
  }

  #askAgain(): void {
    const offer = this.source === undefined ? undefined : this.#offered();
    this.#sourceLink?.close();
    const life = this.#life;
    this.after(200, () => {
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
    if (isNonsense && this.world.defect === "stands still after nonsense") {
      this.vm?.request({ kind: "freeze", id: 0 });
    }
    this.source = undefined;
    const link = this.#sourceLink;
    this.#sourceLink = undefined;
    if (link !== undefined) {
      this.#links.set(link.link.name, link);
      this.after(3000, () => link.close());
    }
    this.world.finished(this, report);
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
    const target = new SimTarget(this, hello);
    this.#links.set(hello.link, target.link);
    this.#targets.set(hello.link, target);
    return target.link.attach(connection, hello);
  }

  /** A machine that has come is this host's. */
  takeOver(machine: SimVm | undefined): void {
    this.vm = machine;
  }

  /** What a machine that has come tells. */
  heard(report: VmReport): void {
    this.source?.handle({ kind: "vm", report }, this.now);
  }

  /** Nothing of what was being received stays. */
  forgetReceived(): void {
    if (this.store.ownership.at(-1)?.state !== "receiving") return;
    this.store.checkpoints = [];
    this.store.segments = [];
    this.own("moved", this.store.ownership.at(-1)?.epoch ?? 0);
  }

  /** Asked over a link that was made only to ask. */
  answerOwner(link: SimLink, question: ControlMessageOf<"ask-owner">): void {
    const { epoch, lineage } = question;
    const active = [...this.#targets.values()].filter(({ session }) => {
      return session.state.kind !== "ended" && session.state.kind !== "waiting";
    });
    for (const { session } of active) session.handle({ kind: "ask-owner" }, this.now, 0n);
    this.#pump();
    const undecided = active.some(({ session }) => session.state.kind === "recording");
    if (undecided) return this.after(20, () => this.answerOwner(link, question));
    const guesses = this.world.defect === "guesses who owns it";
    const state = guesses ? "not-here" : ownerByRecords(this.store.ownership, epoch);
    link.send({ kind: "owner", lineage, epoch, state });
  }
}
