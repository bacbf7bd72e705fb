/**
 * The target's side of one migration: takes checkpoints and trace, has the machine replay them,
 * and takes it over. Sans-IO: `handle` takes what happened, `poll` gives out what is to be done,
 * in the order in which it has to be done.
 *
 * Ownership: until `record-live` is asked for, every failure ends with everything forgotten and
 * the source told so. From then on only the store's answer decides.
 */
import { assert, CodedError, unreachable } from "@dejavm/base";
import {
  type BulkMessage,
  bulkBytes,
  type ControlMessageOf,
  decodePageSet,
  MAX_LIST_ITEMS,
  type Message,
  type Reason,
  reasonOf,
} from "@dejavm/protocol";
import type { VmReport, VmRequest } from "@dejavm/vm";
import { Arrivals } from "./arrivals.ts";
import { checkPlaces, contentsOf, otherPages } from "./places.ts";
import { askedForOwner, diverged, guestEnded, replayFailed, silent, withHint } from "./reasons.ts";
import { ReplayProgress } from "./replay-progress.ts";
import {
  TARGET_TRANSITIONS,
  type TargetAction,
  type TargetEvent,
  type TargetOptions,
  type TargetOutcome,
  type TargetPhase,
  type TargetState,
  type Unpacked,
  type Verdict,
} from "./target-types.ts";
import { TraceIntake } from "./trace-intake.ts";

/** Bulk messages that may be ahead of their announcement: more than a link has under way. */
const MAX_EARLY = 1024;
/** A source that says nothing for so long, over a link that is up, is stuck or means harm. */
const SILENCE_MS = 30_000;

/** See the head of this file. */
export class TargetSession {
  readonly #options: TargetOptions;
  readonly #arrivals = new Arrivals();
  readonly #trace: TraceIntake;
  readonly #progress: ReplayProgress;
  readonly #actions: TargetAction[] = [];
  readonly #late: ControlMessageOf<"late-input">["input"][] = [];
  #state: TargetState = { kind: "waiting" };
  #made = false;
  /** Contents that came before their checkpoint was announced. */
  readonly #early: BulkMessage[] = [];
  /** Of what waits here: segments, contents without announcement, inputs after F. */
  #heldBytes = 0;
  #isLinkUp = false;
  #heardAt = 0;
  #storedSequence = 0;
  #storedCheckpoint: number | undefined;
  #askedToStore: number | undefined;
  /** The checkpoint from which replay began or to which it jumped last. */
  #base = 0;
  #jumping: { readonly id: number; readonly checkpoint: number } | undefined;
  #replayTo: number | undefined;
  /** Numbers of requests: beyond those that the machine's handle uses itself. */
  #requests = 2 ** 40;
  readonly #unpacking = new Set<number>();

  constructor(options: TargetOptions) {
    this.#options = options;
    this.#trace = new TraceIntake(options.readSegment);
    this.#progress = new ReplayProgress(options.progressMs);
  }

  get state(): TargetState {
    return this.#state;
  }

  /** Whether this side may own the machine already. */
  get mayOwn(): boolean {
    return ["recording", "going-live", "live"].includes(this.#state.kind);
  }

  /** Bytes of the source's messages that wait in the session: `maxHeldBytes` at most. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** What the source said of a checkpoint; undefined: forgotten, or never announced. */
  announcement(checkpoint: number): ControlMessageOf<"checkpoint"> | undefined {
    return this.#arrivals.announcement(checkpoint);
  }

  poll(): TargetAction | undefined {
    return this.#actions.shift();
  }

  /** `wallNs`: this host's wall clock, nanoseconds since 1970. */
  handle(event: TargetEvent, now: number, wallNs: bigint): void {
    if (this.#state.kind === "ended") return;
    try {
      this.#handle(event, now, wallNs);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#unable(reasonOf(error), true);
    }
  }

  #handle(event: TargetEvent, now: number, wallNs: bigint): void {
    switch (event.kind) {
      case "message":
        return this.#message(event.message, now);
      case "link-up":
        this.#isLinkUp = true;
        this.#heardAt = now;
        this.#progress.changed();
        return;
      case "link-down":
        this.#isLinkUp = false;
        return;
      case "link-lost":
        return this.#linkLost(event.reason);
      case "judged":
        return this.#judged(event.verdict);
      case "made":
        this.#made = true;
        return this.#go(now);
      case "unable":
        return this.#unable(event.reason, true);
      case "vm":
        return this.#machine(event.report, now);
      case "unpacked":
        return this.#unpacked(event.unpacked, now);
      case "trace-stored":
        this.#storedSequence = Math.max(this.#storedSequence, event.nextSequence);
        return this.#secure();
      case "checkpoint-stored":
        this.#storedCheckpoint = event.checkpoint;
        this.#progress.changed();
        return this.#go(now);
      case "recorded":
        return this.#recorded(now, wallNs);
      case "record-failed":
        return this.#recordFailed(event.reason);
      case "ask-owner":
        return this.#askOwner();
      case "cancel":
        if (!this.mayOwn) this.#unable(event.reason, true);
        return;
      case "tick":
        if (this.#waitsForSource && now - this.#heardAt > SILENCE_MS) {
          return this.#unable(silent(this.phase), true);
        }
        return this.#tell(now);
      default:
        unreachable(event);
    }
  }

  // ---- the source

  #message(message: Message, now: number): void {
    this.#heardAt = now;
    switch (message.kind) {
      case "offer":
        if (this.#state.kind !== "waiting") return this.#outOfPlace(message);
        this.#enter({ kind: "judging", offer: message });
        this.#actions.push({ kind: "judge", offer: message });
        return;
      case "checkpoint":
        return this.#checkpoint(message, now);
      case "checkpoint-chunks":
        if (this.#state.kind !== "receiving") return this.#outOfPlace(message);
        this.#arrivals.moreChunks(message);
        return this.#go(now);
      case "segment":
        return this.#segment(message.bytes);
      case "page-group":
      case "zero-pages":
      case "page-refs":
      case "image-refs":
      case "chunk-group":
      case "chunk-refs":
      case "zero-chunks":
        return this.#bulk(message);
      case "commit":
        return this.#commit(message, now);
      case "late-input":
        return this.#lateInput(message);
      case "cancel":
        if (this.mayOwn) return;
        return this.#unable(message.reason, false);
      case "moved":
        if (this.#state.kind !== "live") return this.#outOfPlace(message);
        return this.#end({ kind: "live", epoch: this.#state.epoch });
      case "ask-owner":
        return this.#askOwner();
      default:
        return this.#outOfPlace(message);
    }
  }

  #judged(verdict: Verdict): void {
    const state = this.#state;
    if (state.kind !== "judging") return;
    if (verdict.kind === "refuse") return this.#unable(verdict.reason, true);
    this.#enter({ kind: "receiving", offer: state.offer });
    this.#send({ kind: "accept", migration: state.offer.migration, ...verdict.has });
    for (const prefixes of verdict.inventory ?? []) this.#send({ kind: "inventory", prefixes });
  }

  #checkpoint(message: ControlMessageOf<"checkpoint">, now: number): void {
    const state = this.#state;
    if (state.kind !== "receiving") return this.#outOfPlace(message);
    const pages = decodePageSet(message.pages, state.offer.pageCount);
    this.#arrivals.announce(message, pages);
    if (message.checkpoint === 0) {
      this.#trace.begin(message.trace.sequence, message.position);
      this.#storedSequence = message.trace.sequence;
      this.#actions.push({ kind: "make", checkpoint: message });
      const zeroPages = otherPages(pages, state.offer.pageCount);
      this.#request({ kind: "supply-zero-pages", pages: zeroPages });
    }
    this.#actions.push({ kind: "open-checkpoint", checkpoint: message });
    for (const early of this.#early.splice(0)) {
      this.#heldBytes -= bulkBytes(early);
      this.#bulk(early);
    }
    this.#go(now);
  }

  #segment(bytes: Uint8Array): void {
    if (this.#state.kind !== "receiving") return this.#outOfPlace({ kind: "segment", bytes });
    this.#trace.take(bytes);
    this.#actions.push({ kind: "append", segment: bytes });
    this.#hold(bytes.length);
    this.#feed();
  }

  #bulk(message: BulkMessage): void {
    const state = this.#state;
    if (state.kind !== "receiving" && state.kind !== "reaching") return this.#outOfPlace(message);
    checkPlaces(message, state.offer);
    const { newest } = this.#arrivals;
    if (message.checkpoint > (newest ?? -1)) {
      // Its announcement comes over another connection, and may come later.
      const isNext = message.checkpoint === (newest ?? -1) + 1;
      if (!isNext || this.#early.length >= MAX_EARLY) return this.#outOfPlace(message);
      this.#hold(bulkBytes(message));
      this.#early.push(message);
      return;
    }
    this.#arrivals.comes(message.checkpoint, contentsOf(message));
    const id = this.#nextRequest();
    this.#unpacking.add(id);
    this.#actions.push({ kind: "unpack", id, message, keep: message.checkpoint > this.#base });
  }

  #commit(commit: ControlMessageOf<"commit">, now: number): void {
    const state = this.#state;
    if (state.kind !== "receiving") return this.#outOfPlace(commit);
    const { epoch } = state.offer;
    // F is where the trace ends: replay would never come to another place.
    const isWhole = commit.trace.sequence === this.#trace.nextSequence;
    if (commit.epoch !== epoch + 1 || !isWhole || commit.position !== this.#trace.frontier) {
      return this.#outOfPlace(commit);
    }
    this.#enter({ kind: "reaching", offer: state.offer, commit, arrivedAt: now });
    this.#go(now);
  }

  #lateInput(message: ControlMessageOf<"late-input">): void {
    const { input } = message;
    if (!["reaching", "securing", "recording", "going-live", "live"].includes(this.#state.kind)) {
      return this.#outOfPlace(message);
    }
    this.#hold(inputBytes(input));
    this.#late.push(input);
    if (this.#state.kind === "live") this.#giveLateInputs();
  }

  /** Throws E_NOT_CONVERGING where more waits than is kept. */
  #hold(bytes: number): void {
    const { maxHeldBytes } = this.#options;
    if (this.#heldBytes + bytes > maxHeldBytes) {
      const waiting = `${this.#heldBytes} bytes wait already, ${maxHeldBytes} are kept`;
      throw new CodedError("E_NOT_CONVERGING", `cannot take more from the source: ${waiting}`, {
        hint: "replay here is too slow for it: throttle the guest, or choose another host",
      });
    }
    this.#heldBytes += bytes;
  }

  /** Whether nothing can go on here before the source says something. */
  get #waitsForSource(): boolean {
    const { kind } = this.#state;
    if (!this.#isLinkUp) return false;
    return kind === "receiving" || (kind === "reaching" && !this.#hasAll);
  }

  /** Whether everything that was announced has come. */
  get #hasAll(): boolean {
    return this.#arrivals.complete === this.#arrivals.newest;
  }

  #outOfPlace(message: Message): void {
    throw new CodedError(
      "E_PROTOCOL_STATE",
      `the source sent ${message.kind} while the target was ${this.#state.kind}`,
      { hint: "both agents should run the same version" },
    );
  }

  // ---- the machine

  #machine(report: VmReport, now: number): void {
    switch (report.kind) {
      case "missing":
        return this.#missing(report);
      case "replayed":
        this.#progress.replayed(report);
        this.#trace.held(report.fedBytes);
        this.#feed();
        return;
      case "at-frontier":
        this.#progress.atFrontier(report, now);
        return this.#tell(now);
      case "digest-matched":
        this.#progress.digestMatched(report);
        return this.#tell(now);
      case "diverged":
        return this.#unable(diverged(report.divergence), true);
      case "jumped":
        return this.#jumped(report, now);
      case "reached":
        return this.#reached(report, now);
      case "live":
        return this.#live(now);
      case "replay-ended":
        return this.#unable(guestEnded(), true);
      case "ended":
      case "failed":
        return this.#machineGone(report);
      default:
        return;
    }
  }

  #machineGone(report: Extract<VmReport, { kind: "ended" | "failed" }>): void {
    if (this.mayOwn) return;
    const message = report.kind === "failed" ? report.error.message : "it has stopped";
    this.#unable(replayFailed(message), true);
  }

  #missing({ pages, blocks }: Extract<VmReport, { kind: "missing" }>): void {
    if (this.#state.kind !== "receiving" && this.#state.kind !== "reaching") return;
    this.#send({
      kind: "want",
      checkpoint: this.#base,
      pages: pages.slice(0, MAX_LIST_ITEMS),
      chunks: blocks.slice(0, MAX_LIST_ITEMS).map(({ disk, chunk }) => [disk, chunk]),
    });
  }

  #feed(): void {
    if (!this.#made) return;
    for (const { segments, bytes } of this.#trace.feeds()) {
      this.#heldBytes -= bytes;
      this.#request({ kind: "feed", segments });
    }
  }

  // ---- checkpoints

  #unpacked(unpacked: Unpacked, now: number): void {
    this.#unpacking.delete(unpacked.id);
    const { checkpoint, pages, chunks, unknownPages, unknownChunks } = unpacked;
    this.#arrivals.arrived(checkpoint, pages, chunks);
    if (unknownPages.length + unknownChunks.length > 0) {
      this.#send({
        kind: "unknown-reference",
        checkpoint,
        pages: [...unknownPages],
        chunks: unknownChunks.map(({ disk, chunk }) => [disk, chunk]),
      });
    }
    this.#go(now);
  }

  /** Whatever has become possible. */
  #go(now: number): void {
    const { complete } = this.#arrivals;
    if (complete !== undefined && (this.#askedToStore ?? -1) < complete) {
      this.#askedToStore = complete;
      this.#actions.push({ kind: "store-checkpoint", checkpoint: complete });
      this.#progress.changed();
    }
    this.#feed();
    this.#jumpOn();
    this.#replayOn();
    this.#secure();
    this.#tell(now);
  }

  #jumpOn(): void {
    const { complete } = this.#arrivals;
    if (!this.#made || this.#jumping !== undefined || complete === undefined) return;
    if (complete <= this.#base || this.#replayTo !== undefined) return;
    this.#jumping = { id: this.#nextRequest(), checkpoint: this.#base + 1 };
    this.#actions.push({ kind: "jump", ...this.#jumping });
  }

  #jumped(report: Extract<VmReport, { kind: "jumped" }>, now: number): void {
    const jump = this.#jumping;
    if (jump?.id !== report.id) return;
    this.#jumping = undefined;
    this.#base = jump.checkpoint;
    this.#progress.jumped(report);
    this.#arrivals.forgetBefore(jump.checkpoint);
    this.#actions.push({ kind: "drop-kept", checkpoint: jump.checkpoint });
    this.#send({
      kind: "leapfrog",
      checkpoint: jump.checkpoint,
      taken: report.applied,
      position: report.position,
    });
    this.#go(now);
  }

  // ---- taking over

  #replayOn(): void {
    const state = this.#state;
    const { newest } = this.#arrivals;
    const ready = this.#made && this.#base === newest && this.#trace.isFed;
    if (state.kind !== "reaching" || !ready || this.#replayTo !== undefined) return;
    if (!this.#hasAll) return;
    const { position, ticks, digest } = state.commit;
    this.#replayTo = this.#nextRequest();
    this.#request({ kind: "replay-to", id: this.#replayTo, position, ticks, digest });
  }

  #reached(report: Extract<VmReport, { kind: "reached" }>, now: number): void {
    const state = this.#state;
    if (state.kind !== "reaching" || report.id !== this.#replayTo) return;
    assert(report.digest === state.commit.digest, "reached means equal");
    const { chain } = this.#progress;
    if (chain === undefined || !equal(chain, state.commit.trace.chain)) {
      throw new CodedError("E_TRACE_CORRUPT", "the trace's hash chain at F is another one");
    }
    const { offer, commit, arrivedAt } = state;
    this.#enter({ kind: "securing", offer, commit, arrivedAt, reachedAt: now });
    this.#secure();
  }

  #secure(): void {
    const state = this.#state;
    if (state.kind !== "securing") return;
    if (this.#storedCheckpoint !== this.#arrivals.newest) return;
    if (this.#storedSequence !== this.#trace.nextSequence) return;
    const { commit, arrivedAt, reachedAt } = state;
    this.#enter({ kind: "recording", commit, arrivedAt, reachedAt });
    this.#actions.push({ kind: "record-live", epoch: commit.epoch });
  }

  #recorded(now: number, wallNs: bigint): void {
    const state = this.#state;
    if (state.kind !== "recording") return;
    this.#enter({ ...state, kind: "going-live", recordedAt: now });
    this.#request({
      kind: "go-live",
      id: this.#nextRequest(),
      behindTicks: Number((wallNs - this.#progress.guestWallNs) / 100n),
      entropySeed: this.#options.entropySeed,
      record: state.commit.trace,
      frozen: false,
    });
  }

  #recordFailed(reason: Reason): void {
    if (this.#state.kind === "recording") this.#unable(reason, true, { certain: true });
  }

  #live(now: number): void {
    const state = this.#state;
    if (state.kind !== "going-live") return;
    const { commit, arrivedAt, reachedAt, recordedAt } = state;
    const { epoch } = commit;
    const { frontierAt = 0 } = this.#progress;
    const replayedAt = Math.min(Math.max(frontierAt, arrivedAt), reachedAt);
    this.#enter({ kind: "live", epoch });
    this.#send({
      kind: "live",
      epoch,
      replayedMs: replayedAt - arrivedAt,
      comparedMs: reachedAt - replayedAt,
      durableMs: recordedAt - reachedAt,
      runningMs: now - recordedAt,
    });
    this.#giveLateInputs();
    this.#actions.push({ kind: "took-over", epoch });
  }

  #giveLateInputs(): void {
    for (const input of this.#late.splice(0)) {
      this.#heldBytes -= inputBytes(input);
      this.#request(input);
    }
  }

  #askOwner(): void {
    const state = this.#state;
    // While the record is being written its outcome is the answer: asked again, it is known.
    if (state.kind === "recording") return;
    if (state.kind === "live" || state.kind === "going-live") {
      this.#actions.push({ kind: "answer-owner", state: "live-here" });
      return;
    }
    // The answer is a promise, so this is the end here.
    this.#unable(askedForOwner(), false);
    this.#actions.push({ kind: "answer-owner", state: "not-here" });
  }

  #linkLost(reason: Reason): void {
    switch (this.#state.kind) {
      case "waiting":
      case "judging":
      case "receiving":
        return this.#unable(reason, false);
      case "reaching":
        // What is missing would have come over this link: nobody is to wait for it.
        if (!this.#hasAll) this.#unable(reason, false);
        return;
      case "live":
        return this.#end({ kind: "live", epoch: this.#state.epoch });
      default:
        // A commitment is followed whether or not anybody listens.
        return;
    }
  }

  /** This host cannot or may not go on: everything here is forgotten, the source told. */
  #unable(why: Reason, tell: boolean, how: { readonly certain?: boolean } = {}): void {
    if (this.mayOwn && how.certain !== true) return;
    const { phase } = this;
    const reason = withHint(why);
    if (tell) this.#send({ kind: "refused", phase, reason });
    this.#actions.push({ kind: "forget" });
    this.#end({ kind: "gone", phase, reason });
  }

  #end(outcome: TargetOutcome): void {
    this.#enter({ kind: "ended", outcome });
    this.#actions.push({ kind: "finished", outcome });
  }

  // ---- helpers

  /** The word for people. */
  get phase(): TargetPhase {
    switch (this.#state.kind) {
      case "waiting":
      case "judging":
        return "negotiate";
      case "receiving":
        return "receive";
      case "reaching":
      case "securing":
      case "recording":
      case "going-live":
        return "cutover";
      case "live":
        return "live";
      case "ended":
        return "ended";
    }
  }

  #tell(now: number): void {
    if (this.#state.kind !== "receiving") return;
    const replay = this.#progress.toTell(now);
    if (replay === undefined) return;
    const { complete } = this.#arrivals;
    const stored = this.#storedCheckpoint;
    this.#send({
      kind: "target-progress",
      ...replay,
      frontier: this.#trace.frontier,
      durableSequence: this.#storedSequence,
      ...(stored === undefined ? {} : { durableCheckpoint: stored }),
      ...(complete === undefined ? {} : { completeCheckpoint: complete }),
    });
  }

  #enter(state: TargetState): void {
    assert(
      TARGET_TRANSITIONS[this.#state.kind].includes(state.kind),
      `the target goes from ${this.#state.kind} to ${state.kind}`,
    );
    this.#state = state;
  }

  #send(message: Message): void {
    this.#actions.push({ kind: "send", message });
  }

  #request(request: VmRequest): void {
    this.#actions.push({ kind: "vm", request });
  }

  #nextRequest(): number {
    return ++this.#requests;
  }
}

/** What an input that waits takes besides its bytes, about: an empty one is not free. */
const INPUT_BYTES = 64;

function inputBytes(input: ControlMessageOf<"late-input">["input"]): number {
  return INPUT_BYTES + ("bytes" in input ? input.bytes.length : 0);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
