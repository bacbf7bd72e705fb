/**
 * Decides when the next bulk message may leave, so that bulk fills the path and no queue: the trace
 * shares that queue. What may be under way, the credit, follows the round trip as in FAST TCP (Jin,
 * Wei, Low, Infocom 2004): `credit = credit * shortest / present + alpha` once a round trip. It
 * comes to rest where the queue delays by `QUEUE_TARGET_MS`, whatever the path's rate.
 *
 * The first rounds double the credit, but never beyond what the spacing of the acknowledgements
 * says the path can carry: a burst leaves the narrowest part of the path at that part's rate. So
 * the end of the doubling is seen before the queue is.
 */
import { assert } from "@dejavm/base";

/** Delay by our own bulk at which the credit comes to rest. */
const QUEUE_TARGET_MS = 3;
/** Growth per round trip while there is no queue at all: starts small, doubles, at most this. */
const MAX_GROWTH = 1 / 16;
/** A queue shorter than this is noise. */
const NO_QUEUE_MS = 1.5;
/** How long the shortest round trip is believed; then one round with less under way finds it. */
const DELAY_WINDOW_MS = 10_000;
const DRAIN_SHARE = 0.6;
/** What may be under way before anything is known, and at least. */
const INITIAL_CREDIT_BYTES = 12 * 1024;
const MIN_CREDIT_BYTES = 12 * 1024;
const MAX_CREDIT_BYTES = 64 * 1024 * 1024;
/** Messages leave a bit faster than on average: the credit is what limits, not the pace. */
const PACE_MARGIN = 1.15;
/** Shorter spans say nothing about a rate: timers and threads are not that exact. */
const MIN_SPAN_MS = 1;
/** Acknowledgements in a row whose spacing is looked at: the same burst, if the credit allows. */
const TRAIN = 4;
/** Fewer acknowledgements in a round trip: the bursts are too short to have such trains. */
const MIN_ROUND_ACKS = 12;

/** A message under way: give it back with `acknowledged`. */
export interface SentBulk {
  readonly bytes: number;
  readonly sentAt: number;
  readonly deliveredBefore: number;
}

/** Acknowledgements of one round trip. */
interface Round {
  /** Over when this many bytes in all are acknowledged. */
  readonly until: number;
  readonly firstAckAt: number | undefined;
  readonly bytesAfterFirst: number;
  readonly lastAckAt: number;
  readonly acks: number;
  /** Largest rate of a few acknowledgements in a row; 0: too few came. */
  readonly trainRate: number;
  /** Whether the credit was ever the limit. */
  readonly full: boolean;
}

/** See the head of this file. Times are milliseconds of one monotonic clock. */
export class BulkPacer {
  readonly #maxBytesPerMs: number;
  #credit = INITIAL_CREDIT_BYTES;
  #underWayBytes = 0;
  #deliveredBytes = 0;
  #round: Round;
  #rate = 0;
  #growth = 1 / 32;
  #startup = true;
  #shortest: { readonly ms: number; readonly bytes: number; readonly at: number } | undefined;
  #draining = false;
  readonly #train: { readonly at: number; readonly delivered: number }[] = [];
  /** Delay of each message of the round beyond the shortest round trip, milliseconds. */
  readonly #queues: number[] = [];
  #nextAt = 0;
  #full = false;

  /** `maxBytesPerMs`: what the user allows; Infinity: no limit. */
  constructor(now: number, maxBytesPerMs = Number.POSITIVE_INFINITY) {
    assert(maxBytesPerMs > 0, "a rate limit is positive");
    this.#maxBytesPerMs = maxBytesPerMs;
    this.#round = this.#newRound(now);
  }

  /** Bytes per millisecond that the path seems to carry; 0 before the first round trip. */
  get bytesPerMs(): number {
    return this.#rate;
  }

  /** The shortest round trip lately, in milliseconds; undefined before the first. */
  get minRttMs(): number | undefined {
    return this.#shortest?.ms;
  }

  /** Bytes sent and not acknowledged. */
  get underWayBytes(): number {
    return this.#underWayBytes;
  }

  /** Bytes that may be under way now. */
  get creditBytes(): number {
    const share = this.#draining ? DRAIN_SHARE : 1;
    return Math.max(MIN_CREDIT_BYTES, this.#credit * share);
  }

  /** When the next message may leave: `now` or earlier: at once; undefined: after an ack. */
  sendAt(bytes: number): number | undefined {
    if (this.#underWayBytes > 0 && this.#underWayBytes + bytes > this.creditBytes) {
      this.#full = true;
      return undefined;
    }
    return this.#nextAt;
  }

  sent(bytes: number, now: number): SentBulk {
    this.#underWayBytes += bytes;
    const rtt = this.#shortest?.ms;
    // The first rounds come in bursts: the spacing of their acknowledgements is what is measured.
    const pace = rtt === undefined || this.#startup ? Number.POSITIVE_INFINITY : this.#credit / rtt;
    const rate = Math.min(pace * PACE_MARGIN, this.#maxBytesPerMs);
    // A timer that came late may catch up by a millisecond or two, no more: no bursts.
    this.#nextAt = Math.max(this.#nextAt, now - 2) + bytes / rate;
    return { bytes, sentAt: now, deliveredBefore: this.#deliveredBytes };
  }

  /** The peer has it. */
  acknowledged(sent: SentBulk, now: number): void {
    this.#underWayBytes -= sent.bytes;
    this.#deliveredBytes += sent.bytes;
    const rtt = Math.max(now - sent.sentAt, 0.05);
    if (this.#shortest === undefined || rtt <= this.#shortest.ms) {
      this.#shortest = { ms: rtt, bytes: sent.bytes, at: now };
    }
    // A larger message takes longer by itself: that is no queue.
    const larger = Math.max(0, sent.bytes - this.#shortest.bytes);
    const own = this.#rate === 0 ? 0 : larger / this.#rate;
    this.#queues.push(Math.max(0, rtt - own - this.#shortest.ms));
    const round = this.#round;
    this.#round = {
      until: round.until,
      firstAckAt: round.firstAckAt ?? now,
      bytesAfterFirst: round.bytesAfterFirst + (round.firstAckAt === undefined ? 0 : sent.bytes),
      lastAckAt: now,
      acks: round.acks + 1,
      trainRate: Math.max(round.trainRate, this.#trainRate(now)),
      full: round.full || this.#full,
    };
    if (this.#deliveredBytes >= round.until) this.#endRound(now);
  }

  #trainRate(now: number): number {
    this.#train.push({ at: now, delivered: this.#deliveredBytes });
    const first = this.#train.length > TRAIN ? this.#train.shift() : undefined;
    if (first === undefined) return 0;
    return (this.#deliveredBytes - first.delivered) / Math.max(now - first.at, MIN_SPAN_MS);
  }

  /** It will be sent again on another connection. */
  lost(sent: SentBulk): void {
    this.#underWayBytes -= sent.bytes;
  }

  #newRound(now: number): Round {
    this.#full = false;
    return {
      // At least two messages: one alone has no spacing.
      until: this.#deliveredBytes + Math.max(this.#underWayBytes, 1),
      firstAckAt: undefined,
      bytesAfterFirst: 0,
      lastAckAt: now,
      acks: 0,
      trainRate: 0,
      full: false,
    };
  }

  #endRound(now: number): void {
    const round = this.#round;
    const shortest = this.#shortest;
    this.#round = this.#newRound(now);
    if (shortest === undefined || round.acks === 0 || round.firstAckAt === undefined) return;
    const queueMs = standing(this.#queues.splice(0));
    const span = round.lastAckAt - round.firstAckAt;
    if (span >= MIN_SPAN_MS && round.acks >= 3) this.#measure(round.bytesAfterFirst / span, round);
    if (this.#draining) {
      this.#draining = false;
      return;
    }
    if (now - shortest.at > DELAY_WINDOW_MS) this.#remeasure(now);
    if (this.#startup) this.#grow(round, shortest.ms);
    else this.#follow(round, queueMs, shortest.ms);
    this.#credit = Math.min(Math.max(this.#credit, MIN_CREDIT_BYTES), MAX_CREDIT_BYTES);
  }

  #measure(rate: number, round: Round): void {
    if (!round.full) this.#rate = Math.max(this.#rate, rate);
    else this.#rate = this.#rate === 0 || this.#startup ? rate : (this.#rate + rate) / 2;
  }

  #remeasure(now: number): void {
    const shortest = this.#shortest;
    if (shortest === undefined) return;
    this.#draining = true;
    // A path that has become longer is believed slowly; a shorter one at once.
    this.#shortest = { ...shortest, ms: shortest.ms + 1, at: now };
  }

  #grow(round: Round, shortestMs: number): void {
    if (!round.full) return;
    const known = round.trainRate > 0 && round.acks >= MIN_ROUND_ACKS;
    const limit = known ? round.trainRate * shortestMs : Infinity;
    this.#credit = Math.min(this.#credit * 2, Math.max(limit, MIN_CREDIT_BYTES));
    if (this.#credit >= limit) {
      this.#startup = false;
      this.#rate = Math.max(this.#rate, round.trainRate);
    }
  }

  #follow(round: Round, queueMs: number, shortestMs: number): void {
    if (queueMs >= NO_QUEUE_MS) {
      this.#growth = 1 / 32;
      // Far beyond the target the queue goes first.
      const aimMs = queueMs > 3 * QUEUE_TARGET_MS ? 0 : QUEUE_TARGET_MS;
      const alpha = (this.#credit * aimMs) / (shortestMs + queueMs);
      const wanted = (this.#credit * shortestMs) / (shortestMs + queueMs) + alpha;
      this.#credit += (wanted - this.#credit) * (wanted < this.#credit ? 1 : 0.5);
      return;
    }
    if (!round.full) return;
    this.#credit *= 1 + Math.min(this.#growth, QUEUE_TARGET_MS / shortestMs + this.#growth);
    this.#growth = Math.min(this.#growth * 2, MAX_GROWTH);
  }
}

/**
 * The delay that stands in the path: the lower quarter of the newer half of a round. A host's
 * jitter only ever adds to some of them.
 */
function standing(queues: readonly number[]): number {
  const newer = queues.slice(queues.length >> 1).toSorted((a, b) => a - b);
  return newer[newer.length >> 2] ?? 0;
}
