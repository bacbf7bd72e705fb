/**
 * Decides when the next bulk message may leave, so that bulk fills the path and no queue: the trace
 * shares that queue. A model of the path, as in BBR (Cardwell et al., ACM Queue 2016): its rate is
 * the largest delivery rate lately, its length the shortest round trip. Messages leave at that
 * rate, and what is under way is bounded by about twice the product.
 *
 * Time goes by in rounds: one ends when what left at its beginning has been acknowledged. A round
 * tries more than the rate where that brought more the last time (so a new path is found out by
 * doubling), or once in a while; it stays below the rate while a queue stands.
 *
 * A busy host makes round trips longer, too, but not all of a round: the shortest of a round tells
 * a queue from it. And where sending less does not make it shorter although all of that arrives,
 * it is no queue of ours: the path has become longer, or the host is always busy.
 *
 * Messages that left while nothing waited say nothing against the rate: they never lower it.
 */
import { assert } from "@dejavm/base";

/** A queue that is left alone, in milliseconds. */
const QUEUE_LIMIT_MS = 6;
/**
 * Round trips that differ by more than this from one moment to the next, on average, are those of
 * hosts that are busy all the time: a queue grows slowly. Nothing smaller than that is seen there,
 * and acknowledgements are late by some multiples of it.
 */
const BUSY_JITTER_MS = 12;
const LATE_JITTERS = 4;
/** What one try may make of a queue. */
const PROBE_QUEUE_MS = 4;
/** While doubling messages leave at this multiple of the rate: 2 / ln 2, as BBR has it. */
const DOUBLING_GAIN = 2.77;
/** Doubling goes on while a round brings this much more; so many that do not: the path is full. */
const DOUBLING_BROUGHT = 1.25;
const PLATEAU_ROUNDS = 3;
/** A first try is so much more than the rate at least and at most; what brings more doubles. */
const MIN_TRY = 1 / 32;
const MAX_TRY = 1 / 4;
const TRY_BROUGHT = 0.4;
/** Rounds, and milliseconds, between two tries on a path that is full. */
const CRUISE_ROUNDS = 4;
const CRUISE_MS = 150;
/** Least share of the rate while a queue drains. */
const MIN_DRAIN = 0.5;
/** Rounds of draining after which the path carries less, or a queue must have another reason. */
const LESS_ROUNDS = 2;
const PATIENT_ROUNDS = 3;
/** Least share of the rate that is left of it where it made a queue. */
const LOWER = 0.9;
/** A queue that is so much of what it was in the round before is being drained. */
const SHRINKS = 0.8;
/** If less than this share of what should have left arrived, the path is the limit. */
const ARRIVED = 0.85;
/** Rounds that the largest rate is believed. */
const RATE_ROUNDS = 10;
/** A round is at least this long and has so many acknowledgements: below it is noise. */
const MIN_ROUND_MS = 30;
const MIN_ROUND_ACKS = 4;
/** Where a queue grows, a round ends after so many shortest ones at the latest. */
const LONGEST_ROUND = 1.5;
/** Moments at which acknowledgements came that tell a queue from a host that was busy once. */
const MIN_QUEUE_MOMENTS = 5;
const MOMENT_MS = 1;
/** Two hosts on one board. */
const MIN_RTT_MS = 0.05;
/** What may be under way: before anything is known, at least, at most. */
const INITIAL_CREDIT_BYTES = 128 * 1024;
const MIN_CREDIT_BYTES = 32 * 1024;
const MAX_CREDIT_BYTES = 64 * 1024 * 1024;
/** What may be under way, in products; and the time for which acknowledgements may be late. */
const CREDIT_PRODUCTS = 2;
const LATE_ACKS_MS = 40;
/** What is remembered of a jitter from round to round, and the most of it. */
const JITTER_DECAY = 0.8;
const MAX_JITTER_MS = 200;
/** A timer that came late may catch up by so many milliseconds, no more: no bursts. */
const CATCH_UP_MS = 6;

/** A message under way: give it back with `acknowledged` or `lost`. */
export interface SentBulk {
  readonly bytes: number;
  readonly sentAt: number;
  /** Bytes acknowledged before it left, when the last of them was, and when that one had left. */
  readonly delivered: number;
  readonly deliveredAt: number;
  readonly firstSentAt: number;
  /** Nothing waited behind it. */
  readonly isAppLimited: boolean;
}

/** What the rounds do. */
type Phase =
  /** `best`: the rate that the last round brought; `failed` in a row brought no more. */
  | {
      readonly kind: "double";
      readonly best: number;
      readonly failed: number;
      /** Bytes that may be under way whatever the model says: it knows little yet. */
      readonly creditBytes: number;
    }
  /** One round of `more` than the rate, which was `before`; the round after shows its effect. */
  | {
      readonly kind: "try";
      readonly more: number;
      readonly before: number;
      readonly isOver: boolean;
    }
  | { readonly kind: "cruise"; readonly since: number; readonly rounds: number }
  /** `gain` of the rate, for `rounds` in which the queue of `queueMs` has not become shorter. */
  | {
      readonly kind: "drain";
      readonly gain: number;
      readonly rounds: number;
      readonly queueMs: number;
    };

/** See the head of this file. Times are milliseconds of one monotonic clock. */
export class BulkPacer {
  readonly #maxBytesPerMs: number;
  #underWayBytes = 0;
  #nextAt = 0;
  // The path.
  #shortest: { readonly ms: number; readonly bytes: number } | undefined;
  #rates: { readonly round: number; readonly perMs: number }[] = [];
  // Acknowledgements.
  #delivered = 0;
  #deliveredAt: number;
  #firstSentAt: number;
  /** Until so many bytes are delivered, samples are of messages behind which nothing waited. */
  #appLimitedUntil = 0;
  // The present round.
  #round = 0;
  #roundStart: number;
  #roundEndsAt = 0;
  #roundDelivered = 0;
  #roundAcks = 0;
  #roundMoments = 0;
  #roundQueueMs = Number.POSITIVE_INFINITY;
  /** Of what was acknowledged together the shortest; of the moment before; how they differ. */
  #momentQueueMs = Number.POSITIVE_INFINITY;
  #lastMomentQueueMs: number | undefined;
  #roundRisenMs = 0;
  #roundFallenMs = 0;
  /** How much round trips jump on a busy host; 0: it is none. */
  #jitterMs = 0;
  #roundIsLimited = false;
  #phase: Phase = {
    kind: "double",
    best: 0,
    failed: 0,
    creditBytes: INITIAL_CREDIT_BYTES,
  };

  /** `maxBytesPerMs`: what the user allows; Infinity: no limit. */
  constructor(now: number, maxBytesPerMs = Number.POSITIVE_INFINITY) {
    assert(maxBytesPerMs > 0, "a rate limit is positive");
    this.#maxBytesPerMs = maxBytesPerMs;
    this.#deliveredAt = now;
    this.#firstSentAt = now;
    this.#roundStart = now;
  }

  /** Bytes per millisecond that the path seems to carry; 0 before the first round trip. */
  get bytesPerMs(): number {
    let largest = 0;
    for (const { perMs } of this.#rates) largest = Math.max(largest, perMs);
    return largest;
  }

  /** Whether a new path is still being found out. */
  get isFindingOut(): boolean {
    return this.#phase.kind === "double";
  }

  /** The shortest round trip of a message; undefined: none yet. */
  get minRttMs(): number | undefined {
    return this.#shortest?.ms;
  }

  /** Bytes sent and not acknowledged. */
  get underWayBytes(): number {
    return this.#underWayBytes;
  }

  /** Bytes that may be under way now. */
  get creditBytes(): number {
    const rate = this.bytesPerMs;
    if (rate === 0) return INITIAL_CREDIT_BYTES;
    const { kind } = this.#phase;
    const products = kind === "drain" ? 1 : kind === "double" ? DOUBLING_GAIN : CREDIT_PRODUCTS;
    const wanted =
      rate * (products * (this.#shortestMs + this.#jitterMs * LATE_JITTERS) + LATE_ACKS_MS);
    const least = this.#phase.kind === "double" ? this.#phase.creditBytes : MIN_CREDIT_BYTES;
    return Math.min(Math.max(wanted, least), MAX_CREDIT_BYTES);
  }

  /** When the next message may leave: `now` or earlier: at once; undefined: after an ack. */
  sendAt(bytes: number): number | undefined {
    if (this.#underWayBytes > 0 && this.#underWayBytes + bytes > this.creditBytes) {
      return undefined;
    }
    return this.#nextAt;
  }

  /** Nothing waits to be sent, although it could be. */
  appLimited(): void {
    this.#appLimitedUntil = this.#delivered + Math.max(this.#underWayBytes, 1);
    this.#roundIsLimited = true;
  }

  sent(bytes: number, now: number): SentBulk {
    if (this.#underWayBytes === 0) {
      // The path was empty: time without anything under way is nobody's.
      this.#deliveredAt = now;
      this.#firstSentAt = now;
    }
    this.#underWayBytes += bytes;
    this.#nextAt = Math.max(this.#nextAt, now - CATCH_UP_MS) + bytes / this.#pace();
    return {
      bytes,
      sentAt: now,
      delivered: this.#delivered,
      deliveredAt: this.#deliveredAt,
      firstSentAt: this.#firstSentAt,
      isAppLimited: this.#delivered < this.#appLimitedUntil,
    };
  }

  /** The peer has it. */
  acknowledged(sent: SentBulk, now: number): void {
    this.#underWayBytes -= sent.bytes;
    if (now - this.#deliveredAt >= MOMENT_MS) this.#endMoment();
    this.#delivered += sent.bytes;
    this.#deliveredAt = now;
    this.#firstSentAt = sent.sentAt;
    this.#roundDelivered += sent.bytes;
    this.#roundAcks++;
    this.#measureRate(sent, now);
    this.#measureDelay(sent, now);
    const roundMs = now - this.#roundStart;
    if (roundMs < this.#roundMs || this.#roundAcks < MIN_ROUND_ACKS) return;
    if (sent.delivered < this.#roundEndsAt && roundMs < LONGEST_ROUND * this.#roundMs) return;
    this.#endRound(now);
  }

  /** It will be sent again on another connection. */
  lost(sent: SentBulk): void {
    this.#underWayBytes -= sent.bytes;
  }

  get #shortestMs(): number {
    return this.#shortest?.ms ?? 0;
  }

  get #roundMs(): number {
    return Math.max(MIN_ROUND_MS, this.#shortestMs);
  }

  /** Bytes per millisecond at which messages leave. */
  #pace(): number {
    const rate = this.bytesPerMs;
    if (rate === 0) return this.#maxBytesPerMs;
    const phase = this.#phase;
    // As long as little was sent, little was delivered: that says nothing about the path.
    const least = phase.kind === "double" ? phase.creditBytes / this.#roundMs : 0;
    return Math.min(Math.max(rate * this.#gain(), least), this.#maxBytesPerMs);
  }

  #gain(): number {
    const phase = this.#phase;
    switch (phase.kind) {
      case "double":
        return DOUBLING_GAIN;
      case "try":
        return phase.isOver ? 1 : 1 + phase.more;
      case "cruise":
        return 1;
      case "drain":
        return phase.gain;
    }
  }

  /** What was delivered between a message's leaving and its acknowledgement. */
  #measureRate(sent: SentBulk, now: number): void {
    const bytes = this.#delivered - sent.delivered;
    // Acknowledgements may come in bursts, but nothing arrives faster than it left.
    const ms = Math.max(now - sent.deliveredAt, sent.sentAt - sent.firstSentAt);
    if (ms < this.#shortestMs * 0.9 || ms <= 0) return;
    const perMs = bytes / ms;
    if (sent.isAppLimited && perMs <= this.bytesPerMs) return;
    const newest = this.#rates.at(-1);
    if (newest?.round !== this.#round) this.#rates.push({ round: this.#round, perMs });
    else if (newest.perMs < perMs) this.#rates[this.#rates.length - 1] = { ...newest, perMs };
  }

  #measureDelay(sent: SentBulk, now: number): void {
    const rtt = Math.max(now - sent.sentAt, MIN_RTT_MS);
    const { bytes } = sent;
    if (this.#shortest === undefined || rtt < this.#shortest.ms)
      this.#shortest = { ms: rtt, bytes };
    // A larger message takes longer by itself: that is no queue.
    const own = Math.max(0, bytes - this.#shortest.bytes) / this.bytesPerMs;
    const queueMs = rtt - own - this.#shortest.ms;
    this.#roundQueueMs = Math.min(this.#roundQueueMs, queueMs);
    this.#momentQueueMs = Math.min(this.#momentQueueMs, queueMs);
  }

  /** What is acknowledged together has waited for the same host: the newest of it least. */
  #endMoment(): void {
    this.#roundMoments++;
    const queueMs = this.#momentQueueMs;
    this.#momentQueueMs = Number.POSITIVE_INFINITY;
    if (!Number.isFinite(queueMs)) return;
    const risen = queueMs - (this.#lastMomentQueueMs ?? queueMs);
    if (risen > 0) this.#roundRisenMs += risen;
    else this.#roundFallenMs -= risen;
    this.#lastMomentQueueMs = queueMs;
  }

  #measureJitter(): void {
    // A queue only rises, or only falls.
    const bothMs = 2 * Math.min(this.#roundRisenMs, this.#roundFallenMs);
    const jitterMs = bothMs / Math.max(1, this.#roundMoments);
    const seen = jitterMs < BUSY_JITTER_MS ? 0 : Math.min(jitterMs, MAX_JITTER_MS);
    const kept = this.#jitterMs * JITTER_DECAY;
    this.#jitterMs = Math.max(seen, kept < 1 ? 0 : kept);
  }

  #endRound(now: number): void {
    this.#phase = this.#next(now);
    this.#measureJitter();
    this.#round++;
    this.#roundStart = now;
    this.#roundEndsAt = this.#delivered;
    this.#roundDelivered = 0;
    this.#roundAcks = 0;
    this.#roundMoments = 0;
    this.#roundQueueMs = Number.POSITIVE_INFINITY;
    this.#roundRisenMs = 0;
    this.#roundFallenMs = 0;
    this.#roundIsLimited = this.#delivered < this.#appLimitedUntil;
    // Rounds below the rate, or without enough to send, are no reason to forget what it was.
    const isOrdinary = this.#phase.kind !== "drain" && !this.#roundIsLimited;
    if (!isOrdinary) this.#rates = this.#rates.map((rate) => ({ ...rate, round: rate.round + 1 }));
    const kept = this.#rates.filter(({ round }) => this.#round - round < RATE_ROUNDS);
    this.#rates = kept.length > 0 ? kept : this.#rates.slice(-1);
  }

  #next(now: number): Phase {
    const phase = this.#phase;
    // Of too few moments the shortest says nothing.
    const queueMs = this.#roundMoments < MIN_QUEUE_MOMENTS ? 0 : this.#roundQueueMs;
    if (phase.kind === "drain") return this.#drainOn(phase, queueMs, now);
    const isQueue = queueMs > Math.max(QUEUE_LIMIT_MS, this.#jitterMs);
    switch (phase.kind) {
      case "double":
        return this.#double(phase, isQueue ? queueMs : undefined, now);
      case "try":
        // While a try brings more, what looks like a queue is none.
        if (phase.isOver && this.#hasBrought(phase)) return this.#tryMore(phase);
        return isQueue ? this.#drain(queueMs) : this.#tryOn(phase, now);
      case "cruise":
        if (!isQueue) return this.#cruiseOn(phase, now);
        this.#lowerRate(now);
        return this.#drain(queueMs);
    }
  }

  /** A queue came up at the rate itself: so much does not pass. */
  #lowerRate(now: number): void {
    const arrived = this.#roundDelivered / (now - this.#roundStart);
    const perMs = Math.max(arrived, this.bytesPerMs * LOWER);
    if (perMs < this.bytesPerMs) this.#rates = [{ round: this.#round, perMs }];
  }

  #double(
    phase: Extract<Phase, { kind: "double" }>,
    queueMs: number | undefined,
    now: number,
  ): Phase {
    const rate = this.bytesPerMs;
    if (rate >= phase.best * DOUBLING_BROUGHT) return this.#doubleOn(rate, phase.creditBytes);
    if (this.#roundIsLimited) return phase;
    if (queueMs !== undefined && this.#jitterMs === 0) return this.#drain(queueMs);
    const failed = phase.failed + 1;
    if (failed < PLATEAU_ROUNDS) return { ...phase, failed };
    return { kind: "cruise", since: now, rounds: 0 };
  }

  #doubleOn(best: number, creditBytes: number): Phase {
    const twice = Math.max(creditBytes, 2 * this.#roundDelivered);
    return { kind: "double", best, failed: 0, creditBytes: twice };
  }

  #cruiseOn(phase: Extract<Phase, { kind: "cruise" }>, now: number): Phase {
    // Without enough to send nothing can be tried.
    if (this.#roundIsLimited) return phase;
    const rounds = phase.rounds + 1;
    if (rounds < CRUISE_ROUNDS || now - phase.since < CRUISE_MS) return { ...phase, rounds };
    // As much as makes a queue of a few milliseconds in one round.
    const more = Math.min(Math.max(PROBE_QUEUE_MS / this.#roundMs, MIN_TRY), MAX_TRY);
    return { kind: "try", more, before: this.bytesPerMs, isOver: false };
  }

  #tryOn(phase: Extract<Phase, { kind: "try" }>, now: number): Phase {
    if (this.#roundIsLimited) return phase;
    return phase.isOver ? { kind: "cruise", since: now, rounds: 0 } : { ...phase, isOver: true };
  }

  #hasBrought({ before, more }: Extract<Phase, { kind: "try" }>): boolean {
    return this.bytesPerMs >= before * (1 + more * TRY_BROUGHT);
  }

  #tryMore({ more }: Extract<Phase, { kind: "try" }>): Phase {
    const before = this.bytesPerMs;
    if (more > MAX_TRY) return this.#doubleOn(before, MIN_CREDIT_BYTES);
    return { kind: "try", more: more * 2, before, isOver: false };
  }

  #drain(queueMs: number): Extract<Phase, { kind: "drain" }> {
    return { kind: "drain", gain: this.#drainGain(queueMs), rounds: 0, queueMs };
  }

  /** So much less that a round takes the queue away. */
  #drainGain(queueMs: number): number {
    return Math.max(MIN_DRAIN, 1 - queueMs / this.#roundMs);
  }

  #drainOn(phase: Extract<Phase, { kind: "drain" }>, queueMs: number, now: number): Phase {
    if (queueMs <= QUEUE_LIMIT_MS / 2) return { kind: "cruise", since: now, rounds: 0 };
    const rounds = queueMs < phase.queueMs * SHRINKS ? 0 : phase.rounds + 1;
    const arrived = this.#roundDelivered / (now - this.#roundStart);
    const isLess = !this.#roundIsLimited && arrived < this.bytesPerMs * phase.gain * ARRIVED;
    if (rounds < (isLess ? LESS_ROUNDS : PATIENT_ROUNDS)) {
      return { ...this.#drain(queueMs), rounds };
    }
    if (isLess) {
      // The path carries less than it did.
      this.#rates = [{ round: this.#round, perMs: arrived }];
      return this.#drain(queueMs);
    }
    // All of it arrived and it is no shorter: this is what the path is like now.
    const { ms, bytes } = this.#shortest ?? { ms: 0, bytes: 0 };
    this.#shortest = { ms: ms + queueMs, bytes };
    return { kind: "cruise", since: now, rounds: 0 };
  }
}
