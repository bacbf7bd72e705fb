/**
 * The source's side of one migration, from the offer until the target lives or the machine runs
 * on here. Sans-IO: `handle` takes what happened; `poll` gives out what is to be done, in the
 * order in which it has to be done. The machine, the store and the link belong to the driver.
 *
 * Ownership: up to the commitment every failure ends with the machine running on here. The record
 * `offering` is durable before the machine is asked to stand still; from the commitment on only
 * the target's answer, or a person, lets this side go on.
 */
import { assert, unreachable } from "@dejavm/base";
import {
  type ControlMessageOf,
  MAX_INVENTORY,
  MAX_PAGES,
  type Message,
  type Reason,
} from "@dejavm/protocol";
import type { VmReport, VmRequest } from "@dejavm/vm";
import { type BegunReport, Checkpoints } from "./checkpoints.ts";
import { Controller, type Decision, type Situation } from "./controller.ts";
import { DigestSchedule } from "./digest-schedule.ts";
import { LateInputs } from "./late-inputs.ts";
import { MigrationLog } from "./migration-log.ts";
import { type DowntimeSplit, type MigrationOutcome, splitDowntime } from "./migration-report.ts";
import { Observations } from "./observations.ts";
import {
  guestEnded,
  lostCheckpoint,
  notConverging,
  outOfPlace,
  rehearsalOnly,
  restarted,
  settledByHand,
  silent,
  stayed,
} from "./reasons.ts";
import { predict } from "./rehearsal.ts";
import {
  type EndingBy,
  type Frozen,
  type LinkView,
  SOURCE_TRANSITIONS,
  type SourceAction,
  type SourceEvent,
  type SourceOptions,
  type SourcePhase,
  type SourceState,
} from "./source-types.ts";

/** Time between two decisions. */
const DECIDE_MS = 20;
/** Frontier intervals while pages are under way, in those at the end. */
const FAR_FRONTIERS = 8;
/** A target that says nothing for so long, over a link that is up, is stuck or means harm. */
const SILENCE_MS = 30_000;
/** Largest inventory: that of the largest machine. */
const MAX_INVENTORIES = MAX_PAGES / MAX_INVENTORY;
/** Reports of the machine's progress. */
const PROGRESS_MS = 20;
/** Progress for people. */
const SHOW_MS = 200;

/** See the head of this file. */
export class SourceSession {
  readonly #options: SourceOptions;
  readonly #controller: Controller;
  readonly #log: MigrationLog;
  readonly #checkpoints: Checkpoints;
  readonly #actions: SourceAction[] = [];
  readonly #seen = new Observations();
  readonly #digests = new DigestSchedule();
  readonly #late = new LateInputs();
  #state: SourceState;
  #heardAt: number;
  #inventories = 0;
  #decidedAt = Number.NEGATIVE_INFINITY;
  #shownAt = Number.NEGATIVE_INFINITY;
  #shownPhase: SourcePhase | undefined;
  #why = "";
  /** Whether frontiers are sent at the smaller interval. */
  #isClose = false;
  #freezeAskedAt = 0;
  #committedAt = 0;
  /** Numbers of requests: beyond those that the machine's handle uses itself. */
  #requests = 2 ** 40;

  constructor(options: SourceOptions, now: number) {
    this.#options = options;
    this.#controller = new Controller(options);
    const { migration, lineage, name } = options.offer;
    this.#log = new MigrationLog({ migration, lineage, name }, now);
    this.#checkpoints = new Checkpoints(this.#log);
    this.#heardAt = now;
    this.#state = { kind: "negotiating", since: now };
    this.#send(options.offer);
  }

  get state(): SourceState {
    return this.#state;
  }

  /** Whether only the target's answer can go on: no cancel, no running here. */
  get isCommitted(): boolean {
    return ["committed", "asking", "handing-over"].includes(this.#state.kind);
  }

  poll(): SourceAction | undefined {
    return this.#actions.shift();
  }

  handle(event: SourceEvent, now: number): void {
    if (this.#state.kind === "ended") return;
    switch (event.kind) {
      case "vm":
        return this.#machine(event.report, now);
      case "message":
        return this.#message(event.message, now);
      case "link-down":
      case "link-up":
        this.#heardAt = now;
        return;
      case "link-lost":
        return this.#linkLost(event.reason, now);
      case "prepared":
        for (const action of this.#checkpoints.prepared(event.batch)) this.#actions.push(action);
        return this.#copied(now);
      case "recorded":
        return this.#recorded(event.wish.state, now);
      case "record-failed":
        return this.#recordFailed(event.reason, now);
      case "cancel":
        return this.#cancel(event.reason, now);
      case "settle":
        return this.#settle(event.live);
      case "tick":
        return this.#tick(event.link, now);
      default:
        unreachable(event);
    }
  }

  // ---- the machine

  #machine(report: VmReport, now: number): void {
    switch (report.kind) {
      case "segment":
        this.#seen.cameTo(report.lastPosition);
        this.#trace(report.bytes);
        return;
      case "progress":
        this.#seen.sourceProgress(report, now);
        if (report.changed) this.#checkpoints.changed(report.changed.since, report.changed.pages);
        return;
      case "checkpoint-begun":
        return this.#begun(report, now);
      case "touched":
        this.#checkpoints.touched(report.id, report.pages);
        return;
      case "checkpoint-abandoned":
        return this.#giveUp(lostCheckpoint(), now);
      case "digest":
        return this.#digested(report.id, now);
      case "frozen":
        return this.#frozen(report, now);
      case "late-input":
        this.#late.add(report.event);
        if (this.#state.kind === "committed") this.#sendLateInputs();
        return;
      case "ended":
      case "failed":
        return this.#machineEnded(report, now);
      default:
        // Reports that the handle in the driver deals with: consoles, snapshots, outputs.
        return;
    }
  }

  /** Segments before the first checkpoint are of no use to the target. */
  #trace(bytes: Uint8Array): void {
    const { kind } = this.#state;
    const sends = ["moving", "offering", "freezing", "copying"].includes(kind);
    if (!sends || this.#checkpoints.newest === undefined) return;
    this.#log.bytes.trace += bytes.length;
    this.#actions.push({ kind: "send", message: { kind: "segment", bytes } });
  }

  #begun(report: BegunReport, now: number): void {
    this.#seen.cameTo(report.position);
    if (this.#state.kind !== "moving" && this.#state.kind !== "copying") return;
    for (const message of this.#checkpoints.begun(report, now)) this.#send(message);
    this.#pump();
  }

  #frozen(report: Extract<VmReport, { kind: "frozen" }>, now: number): void {
    const state = this.#state;
    // After a cancel it is told to go on anyway.
    if (state.kind !== "freezing") return;
    const { position, ticks, digest, trace } = report;
    assert(trace !== undefined, "a machine that moves is recorded");
    const frozen: Frozen = { position, ticks, digest, trace, at: now };
    for (const event of report.waiting) this.#late.add(event);
    if (state.by === "trace") return this.#commit(frozen, now);
    this.#enter({ kind: "copying", frozen, since: now });
    this.#actions.push(this.#checkpoints.ask({ ...this.#options, firstTouch: false }));
  }

  /** End by copy: everything has been handed to the link. */
  #copied(now: number): void {
    const state = this.#state;
    if (state.kind !== "copying" || this.#checkpoints.isAsked || !this.#checkpoints.isSent) return;
    this.#commit(state.frozen, now);
  }

  #commit(frozen: Frozen, now: number): void {
    this.#enter({ kind: "committed", frozen, since: now });
    const { position, ticks, digest, trace } = frozen;
    this.#log.digestAtCutover = digest;
    this.#actions.push({ kind: "hold-link" });
    const epoch = this.#offeredEpoch;
    this.#send({ kind: "commit", epoch, position, ticks, digest, trace });
    this.#sendLateInputs();
  }

  #sendLateInputs(): void {
    for (const message of this.#late.take()) this.#send(message);
  }

  #machineEnded(report: Extract<VmReport, { kind: "ended" | "failed" }>, now: number): void {
    if (this.isCommitted) return;
    const why = report.kind === "ended" ? report.reason.kind : report.error.message;
    this.#giveUp(guestEnded(why), now, { runs: false });
  }

  // ---- the peer

  #message(message: Message, now: number): void {
    if (message.kind !== "target-progress" || this.#seen.isNews(message)) this.#heardAt = now;
    switch (message.kind) {
      case "accept":
        if (this.#state.kind !== "negotiating") return this.#outOfPlace(message, now);
        return this.#accepted(now);
      case "inventory":
        // The driver looks at it: contents are nothing to the session.
        if (++this.#inventories > MAX_INVENTORIES) this.#outOfPlace(message, now);
        return;
      case "target-progress":
        return this.#targetProgress(message, now);
      case "want":
        return this.#want(message);
      case "unknown-reference":
        this.#checkpoints.again(message);
        return this.#pump();
      case "leapfrog":
        if (message.checkpoint > (this.#checkpoints.newest ?? -1)) {
          return this.#outOfPlace(message, now);
        }
        this.#seen.targetJumped(message.checkpoint);
        if (message.taken) this.#log.leapfrogs++;
        return;
      case "refused":
        return this.#refused(message, now);
      case "cancel":
        if (this.isCommitted) return this.#outOfPlace(message, now);
        return this.#giveUp(message.reason, now, { tell: false });
      case "live":
        return this.#live(message, now);
      case "owner":
        return this.#owner(message, now);
      default:
        return this.#outOfPlace(message, now);
    }
  }

  #accepted(now: number): void {
    this.#enter({ kind: "moving" });
    this.#request({ kind: "report-progress", intervalMs: PROGRESS_MS });
    const intervalMs = this.#options.frontierMs * FAR_FRONTIERS;
    this.#request({ kind: "set-frontier-interval", intervalMs });
    this.#actions.push(this.#checkpoints.ask({ ...this.#options, firstTouch: true }));
    this.#heardAt = now;
  }

  #targetProgress(message: ControlMessageOf<"target-progress">, now: number): void {
    if (this.#seen.isImpossible(message, this.#checkpoints.newest)) {
      return this.#outOfPlace(message, now);
    }
    this.#seen.targetProgress(message, now);
    this.#log.digestsCompared = message.digestsMatched;
    if (message.completeCheckpoint === undefined) return;
    if (message.completeCheckpoint === this.#checkpoints.newest) this.#checkpoints.completed(now);
    const closed = this.#checkpoints.settle(message.completeCheckpoint, this.#seen.base);
    this.#actions.push(...closed);
  }

  #want(message: ControlMessageOf<"want">): void {
    const { pages, chunks } = this.#checkpoints.want(message);
    if (pages.length > 0) {
      const { checkpoint } = message;
      const zero = { kind: "zero-pages" as const, checkpoint, pages };
      this.#actions.push({ kind: "send", message: zero });
    }
    // Chunks that no checkpoint has are the base's, which the target has.
    if (chunks.length > 0) this.#why = `${chunks.length} chunks are as in the base`;
    this.#pump();
  }

  #refused(message: ControlMessageOf<"refused">, now: number): void {
    const reason = message.reason;
    if (this.#state.kind === "committed" || this.#state.kind === "asking") {
      return this.#retract(true, reason);
    }
    if (this.isCommitted) return this.#outOfPlace(message, now);
    this.#giveUp(reason, now, { tell: false });
  }

  #live(message: ControlMessageOf<"live">, now: number): void {
    const state = this.#state;
    const awaited = state.kind === "committed" || state.kind === "asking";
    if (!awaited || message.epoch !== this.#offeredEpoch) return this.#outOfPlace(message, now);
    this.#handOver(state.frozen, message);
  }

  #owner(message: ControlMessageOf<"owner">, now: number): void {
    const state = this.#state;
    if (state.kind !== "committed" && state.kind !== "asking") return;
    const isAsked = message.lineage === this.#options.offer.lineage;
    if (!isAsked || message.epoch !== this.#offeredEpoch) return this.#outOfPlace(message, now);
    if (message.state !== "not-here") return this.#handOver(state.frozen, undefined);
    this.#retract(true, restarted());
  }

  #handOver(frozen: Frozen, live: ControlMessageOf<"live"> | undefined): void {
    this.#enter({ kind: "handing-over", frozen, live });
    this.#record({ state: "moved", epoch: this.#offeredEpoch });
  }

  #outOfPlace(message: Message, now: number): void {
    this.#linkLost(outOfPlace(message.kind, this.#state.kind), now);
  }

  // ---- time, decisions

  #tick(link: LinkView, now: number): void {
    // Contents that arrive are a sign of life, too: of an idle guest there is nothing to tell.
    if (link.bulkUnderWayBytes !== this.#seen.link?.bulkUnderWayBytes) this.#heardAt = now;
    this.#seen.link = link;
    const state = this.#state;
    const waits = state.kind === "moving" ? this.#seen.limit(this.#checkpoints, now) : undefined;
    this.#log.limitedBy(waits, now);
    if (state.kind === "negotiating") {
      this.#show(now);
      // Who cannot be reached has not been asked; the driver knows how long that is tried.
      if (!link.isUp) this.#state = { ...state, since: now };
      else if (now - state.since > this.#options.negotiateMs) {
        this.#giveUp(silent("negotiate"), now);
      }
      return;
    }
    if (this.isCommitted || state.kind === "retracting") return this.#show(now);
    if (link.isUp && now - this.#heardAt > SILENCE_MS) {
      return this.#giveUp(silent(this.phase), now);
    }
    this.#pump();
    this.#copied(now);
    if (state.kind === "moving") {
      this.#followClosely();
      this.#decide(now);
    }
    this.#show(now);
  }

  /** While pages are under way nobody needs to know so exactly where the machine is. */
  #followClosely(): void {
    const isSent = this.#checkpoints.newest !== undefined && this.#checkpoints.isSent;
    if (this.#isClose || !isSent) return;
    this.#isClose = true;
    const { frontierMs: intervalMs } = this.#options;
    this.#request({ kind: "set-frontier-interval", intervalMs });
  }

  /** Begins reads as the link has room. */
  #pump(): void {
    const { kind } = this.#state;
    const { link } = this.#seen;
    if (link === undefined || !["moving", "offering", "freezing", "copying"].includes(kind)) return;
    for (const read of this.#checkpoints.reads(link)) this.#actions.push(read);
  }

  #decide(now: number): void {
    const situation = this.#situation(now);
    if (situation === undefined) {
      const { rehearseMs = Number.POSITIVE_INFINITY } = this.#options;
      if (this.#log.elapsedMs(now) >= rehearseMs) this.#rehearsed(undefined, now);
      return;
    }
    if (now - this.#decidedAt < DECIDE_MS) return;
    this.#decidedAt = now;
    const isSent = this.#checkpoints.isSent && !this.#checkpoints.isAsked;
    if (isSent && this.#digests.isDue(situation)) {
      this.#request({ kind: "digest", id: this.#nextRequest() });
    }
    const decision = this.#controller.decide(situation);
    this.#log.decided(decision, now);
    this.#why = decision.why;
    this.#carryOut(decision, situation, now);
  }

  #carryOut(decision: Decision, situation: Situation, now: number): void {
    const { rehearseMs } = this.#options;
    const goesOn =
      decision.kind === "wait" || decision.kind === "increment" || !situation.isComplete;
    if (rehearseMs !== undefined && (!goesOn || this.#log.elapsedMs(now) >= rehearseMs)) {
      return this.#rehearsed(decision, now);
    }
    switch (decision.kind) {
      case "wait":
        return;
      case "increment":
        this.#actions.push(this.#checkpoints.ask({ ...this.#options, firstTouch: true }));
        return;
      case "throttle":
        // A rehearsal leaves the guest alone.
        if (rehearseMs !== undefined) return;
        this.#seen.share = decision.share;
        this.#log.lowestShare = Math.min(this.#log.lowestShare, decision.share);
        return this.#request({ kind: "throttle", share: decision.share });
      case "cutover":
        return this.#offerNow("trace");
      case "end-by-copy":
        return this.#offerNow("copy");
      case "cancel":
        return this.#giveUp(notConverging(decision.why), now);
      default:
        unreachable(decision);
    }
  }

  #rehearsed(next: Decision | undefined, now: number): void {
    const situation = this.#situation(now);
    this.#sayCancel(this.phase, rehearsalOnly());
    const prediction = predict({
      elapsedMs: this.#log.elapsedMs(now),
      sentBytes: this.#log.sentBytes,
      situation,
      downtimeMs: situation && this.#controller.predictDowntimeMs(situation),
      next,
    });
    this.#end({ kind: "rehearsed", prediction }, now);
  }

  #situation(now: number): Situation | undefined {
    return this.#seen.situation(this.#checkpoints, now);
  }

  /** The offer is recorded first: after a crash from here on the peer is asked. */
  #offerNow(by: EndingBy): void {
    this.#enter({ kind: "offering", by });
    this.#log.endedBy = by;
    this.#record({ state: "offering", epoch: this.#offeredEpoch });
  }

  // ---- ownership

  #recorded(wish: "live" | "offering" | "moved", now: number): void {
    const state = this.#state;
    switch (state.kind) {
      case "offering":
        if (wish !== "offering") return;
        return this.#digestFirst(state.by);
      case "handing-over":
        if (wish !== "moved") return;
        this.#send({ kind: "moved", epoch: this.#offeredEpoch });
        this.#log.downtime = state.live && this.#downtime(state.frozen.at, state.live);
        return this.#end({ kind: "moved", epoch: this.#offeredEpoch }, now);
      case "retracting":
        if (wish !== "live") return;
        if (state.stands) this.#request({ kind: "unfreeze", id: this.#nextRequest() });
        return this.#end(stayed(state.phase, state.reason), now);
      default:
        return;
    }
  }

  /** A digest before leaves only the last milliseconds to be hashed while it stands. */
  #digestFirst(by: EndingBy): void {
    const digest = this.#nextRequest();
    this.#state = { kind: "offering", by, digest };
    this.#request({ kind: "digest", id: digest });
  }

  #digested(id: number, now: number): void {
    const state = this.#state;
    if (state.kind !== "offering" || state.digest !== id) return;
    this.#enter({ kind: "freezing", by: state.by, since: now });
    this.#freezeAskedAt = now;
    this.#request({ kind: "freeze", id: this.#nextRequest() });
  }

  #recordFailed(reason: Reason, now: number): void {
    const state = this.#state;
    // The machine runs and nothing is recorded: it just goes on.
    if (state.kind === "offering") return this.#end(stayed("cutover", reason), now);
    // What must be durable is tried again: there is no other way on.
    if (state.kind === "handing-over")
      return this.#record({ state: "moved", epoch: this.#offeredEpoch });
    if (state.kind === "retracting") this.#record({ state: "live", epoch: this.#offeredEpoch + 1 });
  }

  #cancel(reason: Reason, now: number): void {
    if (!this.isCommitted) this.#giveUp(reason, now);
  }

  #settle(live: "here" | "there"): void {
    const state = this.#state;
    if (state.kind !== "committed" && state.kind !== "asking") return;
    if (live === "there") return this.#handOver(state.frozen, undefined);
    this.#retract(true, settledByHand());
  }

  #linkLost(reason: Reason, now: number): void {
    const state = this.#state;
    if (state.kind === "committed") {
      this.#enter({ kind: "asking", frozen: state.frozen, since: state.since });
      this.#actions.push({ kind: "new-link" });
      return;
    }
    if (state.kind === "asking") {
      this.#actions.push({ kind: "new-link" });
      return;
    }
    if (state.kind === "handing-over") return;
    this.#giveUp(reason, now, { tell: true });
  }

  /** Before the commitment: the machine runs on here, the target forgets. */
  #giveUp(reason: Reason, now: number, how: { tell?: boolean; runs?: boolean } = {}): void {
    const state = this.#state;
    if (state.kind === "retracting" || this.isCommitted) return;
    const { phase } = this;
    if (how.tell !== false) this.#sayCancel(phase, reason);
    switch (state.kind) {
      case "offering":
      case "freezing":
      case "copying":
        return this.#retract(state.kind !== "offering" && how.runs !== false, reason);
      default:
        return this.#end(stayed(phase, reason), now);
    }
  }

  #retract(stands: boolean, reason: Reason): void {
    const { phase } = this;
    this.#enter({ kind: "retracting", stands, reason, phase });
    this.#log.endedBy = undefined;
    // One more than was offered: whoever still believes in the offer is outdated.
    this.#record({ state: "live", epoch: this.#offeredEpoch + 1 });
  }

  #end(outcome: MigrationOutcome, now: number): void {
    this.#enter({ kind: "ended", outcome });
    this.#actions.push(...this.#checkpoints.closeAll());
    if (outcome.kind !== "moved") {
      if (this.#seen.share < 1) this.#request({ kind: "throttle", share: 1 });
      this.#request({ kind: "set-frontier-interval", intervalMs: undefined });
      this.#request({ kind: "report-progress", intervalMs: undefined });
    }
    const link = this.#seen.link ?? { rttMs: undefined, bytesPerMs: 0, resumes: 0 };
    this.#actions.push({ kind: "finished", report: this.#log.report(outcome, link, now) });
  }

  // ---- helpers

  /** The word for people. */
  get phase(): SourcePhase {
    switch (this.#state.kind) {
      case "negotiating":
        return "negotiate";
      case "moving":
        return this.#seen.hasComplete ? "chase" : "checkpoint";
      case "offering":
      case "freezing":
      case "copying":
        return "cutover";
      case "committed":
      case "asking":
        return "in-doubt";
      case "handing-over":
        return "handing-over";
      case "retracting":
        return "going-on";
      case "ended":
        return "ended";
    }
  }

  get #offeredEpoch(): number {
    return this.#options.offer.epoch + 1;
  }

  #downtime(frozenAt: number, live: ControlMessageOf<"live">): DowntimeSplit {
    const freezeMs = frozenAt - this.#freezeAskedAt;
    const copyMs = this.#committedAt - frozenAt;
    return splitDowntime({ freezeMs, copyMs, rttMs: this.#seen.link?.rttMs, live });
  }

  #show(now: number): void {
    const situation = this.#situation(now);
    const lagMs = situation && this.#lagMs(situation);
    const isNear = situation?.isComplete === true;
    const bytesPerMs = this.#seen.link?.bytesPerMs ?? 0;
    const { phase } = this;
    this.#log.sample({ phase, lagMs: lagMs ?? -1, share: this.#seen.share, bytesPerMs }, now);
    if (phase === this.#shownPhase && now - this.#shownAt < SHOW_MS) return;
    this.#shownAt = now;
    this.#shownPhase = phase;
    this.#actions.push({
      kind: "progress",
      progress: {
        phase,
        lagMs,
        share: this.#seen.share,
        bytesPerMs,
        sentBytes: this.#log.sentBytes,
        pendingPages: this.#checkpoints.pendingPages,
        pendingMs: this.#checkpoints.pendingMs(now),
        predictedDowntimeMs: isNear ? this.#controller.predictDowntimeMs(situation) : undefined,
        why: this.#why,
      },
    });
  }

  /** Undefined: not known, as of a replay that waits for its first pages nearly all the time. */
  #lagMs({ lagPositions, replaySpeed, isReplayStarved }: Situation): number | undefined {
    if (replaySpeed === 0 || (isReplayStarved && !this.#seen.hasComplete)) return undefined;
    return lagPositions / replaySpeed;
  }

  #enter(state: SourceState): void {
    assert(
      SOURCE_TRANSITIONS[this.#state.kind].includes(state.kind),
      `the source goes from ${this.#state.kind} to ${state.kind}`,
    );
    if (state.kind === "committed") this.#committedAt = state.since;
    this.#state = state;
  }

  #send(message: Message): void {
    this.#log.bytes.control += 64;
    this.#actions.push({ kind: "send", message });
  }

  #sayCancel(phase: SourcePhase, reason: Reason): void {
    this.#send({ kind: "cancel", phase, reason });
  }

  #request(request: VmRequest): void {
    this.#actions.push({ kind: "vm", request });
  }

  #record(wish: Extract<SourceAction, { kind: "record" }>["wish"]): void {
    this.#actions.push({ kind: "record", wish });
  }

  #nextRequest(): number {
    return ++this.#requests;
  }
}
