/**
 * Decides when the next bulk message may leave, so that bulk fills the path and no queue: the trace
 * shares that queue. What may be under way, the credit, is about the path's rate times its shortest
 * round trip. The rate is what was acknowledged per round trip, the largest lately, as in BBR
 * (Cardwell et al., ACM Queue 2016). Round trips that are longer than the shortest are a queue: the
 * credit shrinks, as in LEDBAT (RFC 6817); without a queue it grows.
 *
 * A busy host makes round trips longer, too. So the credit never falls far below the product, and
 * of a round's round trips the shorter ones count.
 */
import { assert } from "@dejavm/base";

/** Delay by our own bulk that is looked for, and that is too much. */
const QUEUE_TARGET_MS = 6;
const QUEUE_LIMIT_MS = 16;
/** Growth per round trip without a queue: starts small, doubles, at most this. */
const MIN_GROWTH = 1 / 32;
const MAX_GROWTH = 1 / 20;
/** Doubled credit that brings less than this much more has filled the path. */
const STARTUP_GROWTH = 1.6;
/** How long the largest rate and the shortest round trip are believed. */
const RATE_WINDOW_MS = 8000;
const DELAY_WINDOW_MS = 10_000;
/** With less under way for a round the shortest round trip is found again. */
const DRAIN_SHARE = 0.6;
/** A round is at least this long and has so many acknowledgements: below it is noise. */
const MIN_ROUND_MS = 10;
const MIN_ROUND_ACKS = 3;
/** What may be under way before anything is known, and at least. */
const INITIAL_CREDIT_BYTES = 48 * 1024;
const MIN_CREDIT_BYTES = 16 * 1024;
const MAX_CREDIT_BYTES = 64 * 1024 * 1024;
/** Messages leave a bit faster than on average: the credit is what limits, not the pace. */
const PACE_MARGIN = 1.2;
/** A message under way: give it back with `acknowledged`. */
export interface SentBulk {
  readonly bytes: number;
  readonly sentAt: number;
}

/** The largest rate so far; `isFresh`: the last doubling has not been measured yet. */
interface Startup {
  readonly best: number;
  readonly isFresh: boolean;
}

/** See the head of this file. Times are milliseconds of one monotonic clock. */
export class BulkPacer {
  readonly #maxBytesPerMs: number;
  #credit = INITIAL_CREDIT_BYTES;
  #underWayBytes = 0;
  #nextAt = 0;
  #shortest: { readonly ms: number; readonly bytes: number; readonly at: number } | undefined;
  // The present round.
  #roundStart: number;
  #roundBytes = 0;
  readonly #queues: number[] = [];
  #isFull = false;
  // What rounds have shown.
  #rates: { readonly at: number; readonly perMs: number }[] = [];
  #startup: Startup | undefined = { best: 0, isFresh: true };
  #growth = MIN_GROWTH;
  #isDraining = false;

  /** `maxBytesPerMs`: what the user allows; Infinity: no limit. */
  constructor(now: number, maxBytesPerMs = Number.POSITIVE_INFINITY) {
    assert(maxBytesPerMs > 0, "a rate limit is positive");
    this.#maxBytesPerMs = maxBytesPerMs;
    this.#roundStart = now;
  }

  /** Bytes per millisecond that the path seems to carry; 0 before the first round trip. */
  get bytesPerMs(): number {
    return Math.max(0, ...this.#rates.map(({ perMs }) => perMs));
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
    const share = this.#isDraining ? DRAIN_SHARE : 1;
    return Math.max(MIN_CREDIT_BYTES, this.#credit * share);
  }

  /** When the next message may leave: `now` or earlier: at once; undefined: after an ack. */
  sendAt(bytes: number): number | undefined {
    if (this.#underWayBytes > 0 && this.#underWayBytes + bytes > this.creditBytes) {
      this.#isFull = true;
      return undefined;
    }
    return this.#nextAt;
  }

  sent(bytes: number, now: number): SentBulk {
    this.#underWayBytes += bytes;
    const rtt = this.#shortest?.ms;
    const pace = rtt === undefined ? Number.POSITIVE_INFINITY : (this.#credit / rtt) * PACE_MARGIN;
    // A timer that came late may catch up by a few milliseconds, no more: no bursts.
    this.#nextAt = Math.max(this.#nextAt, now - 3) + bytes / Math.min(pace, this.#maxBytesPerMs);
    return { bytes, sentAt: now };
  }

  /** The peer has it. */
  acknowledged(sent: SentBulk, now: number): void {
    this.#underWayBytes -= sent.bytes;
    this.#roundBytes += sent.bytes;
    const rtt = Math.max(now - sent.sentAt, 0.05);
    if (this.#shortest === undefined || rtt <= this.#shortest.ms) {
      this.#shortest = { ms: rtt, bytes: sent.bytes, at: now };
    }
    // A larger message takes longer by itself: that is no queue.
    const larger = Math.max(0, sent.bytes - this.#shortest.bytes);
    const rate = this.bytesPerMs;
    const own = rate === 0 ? 0 : larger / rate;
    this.#queues.push(Math.max(0, rtt - own - this.#shortest.ms));
    const roundMs = Math.max(MIN_ROUND_MS, this.#shortest.ms);
    if (now - this.#roundStart < roundMs || this.#queues.length < MIN_ROUND_ACKS) return;
    this.#endRound(now, this.#shortest.ms);
  }

  /** It will be sent again on another connection. */
  lost(sent: SentBulk): void {
    this.#underWayBytes -= sent.bytes;
  }

  #endRound(now: number, shortestMs: number): void {
    const perMs = this.#roundBytes / (now - this.#roundStart);
    const queueMs = standing(this.#queues);
    const isFull = this.#isFull;
    this.#queues.length = 0;
    this.#roundBytes = 0;
    this.#roundStart = now;
    this.#isFull = false;
    this.#rates = this.#rates.filter(({ at }) => now - at < RATE_WINDOW_MS);
    this.#rates.push({ at: now, perMs });
    if (this.#isDraining) {
      this.#isDraining = false;
      return;
    }
    this.#remeasure(now);
    if (this.#startup !== undefined) this.#start(this.#startup, perMs, isFull);
    else this.#follow(queueMs, shortestMs, isFull);
    this.#credit = Math.min(Math.max(this.#credit, MIN_CREDIT_BYTES), MAX_CREDIT_BYTES);
  }

  /** What a path carries within its shortest round trip. */
  #product(): number {
    return this.bytesPerMs * (this.#shortest?.ms ?? 0);
  }

  #start(startup: Startup, perMs: number, isFull: boolean): void {
    if (!isFull) return;
    // One round goes by before the last doubling shows.
    if (startup.isFresh) {
      this.#startup = { ...startup, isFresh: false };
      return;
    }
    if (perMs < startup.best * STARTUP_GROWTH) return this.#endStartup();
    this.#startup = { best: perMs, isFresh: true };
    this.#credit *= 2;
  }

  #endStartup(): void {
    this.#startup = undefined;
    this.#credit = this.#product();
  }

  #follow(queueMs: number, shortestMs: number, isFull: boolean): void {
    if (queueMs > QUEUE_LIMIT_MS) return this.#shrink(this.#product() * 0.9);
    if (queueMs > QUEUE_TARGET_MS) {
      const least = this.#product() * 0.9;
      const wanted = (this.#credit * (shortestMs + QUEUE_TARGET_MS)) / (shortestMs + queueMs);
      return this.#shrink(Math.max(least, wanted));
    }
    if (!isFull) return;
    this.#credit *= 1 + this.#growth;
    this.#growth = Math.min(this.#growth * 2, MAX_GROWTH);
  }

  #shrink(wanted: number): void {
    this.#growth = MIN_GROWTH;
    this.#credit = Math.min(this.#credit, wanted);
  }

  /** A path that has become longer is believed slowly; a shorter one at once. */
  #remeasure(now: number): void {
    const shortest = this.#shortest;
    if (shortest === undefined || now - shortest.at <= DELAY_WINDOW_MS) return;
    this.#isDraining = true;
    this.#shortest = { ...shortest, ms: shortest.ms + 1, at: now };
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
