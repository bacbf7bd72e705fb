/**
 * A sender with a pacer, one queue with a rate, and a receiver that acknowledges, on an invented
 * clock. Both hosts are busy with other things at times: what comes then waits.
 */
import { Prng } from "@dejavm/base";
import { BulkPacer, type SentBulk } from "../bulk-pacer.ts";

/** How the path and its hosts behave. */
export interface PacedPathOptions {
  readonly bytesPerMs: number;
  readonly rttMs: number;
  /** Longest time for which a host is busy at once. */
  readonly jitterMs: number;
  /** Share of the time in which hosts, and the path's middle, are busy; default: hosts, 1/4. */
  readonly busyShare?: number;
  /** Bytes per millisecond that the sender has; default: more than the path carries. */
  readonly offeredBytesPerMs?: number;
  /** What the user allows. */
  readonly maxBytesPerMs?: number;
  readonly seed?: number;
}

const STEP_MS = 0.25;
const MESSAGE_MS = 4;
const MIN_MESSAGE_BYTES = 4096;
const MAX_MESSAGE_BYTES = 128 * 1024;

/** A host that cannot answer while it is busy. */
class BusyHost {
  readonly #random: Prng;
  readonly #jitterMs: number;
  readonly #freeMs: number;
  #freeAt = 0;
  #nextBusyAt = 0;

  constructor(seed: number, jitterMs: number, share: number) {
    this.#random = new Prng(seed);
    this.#jitterMs = jitterMs;
    this.#freeMs = (jitterMs * (1 - share)) / share;
  }

  isFree(now: number): boolean {
    if (this.#jitterMs > 0 && now >= this.#nextBusyAt) {
      this.#freeAt = now + this.#random.below(this.#jitterMs * 1000) / 1000;
      this.#nextBusyAt = this.#freeAt + this.#random.below(this.#freeMs * 1000) / 1000;
    }
    return now >= this.#freeAt;
  }
}

/** See the head of this file. */
export class PacedPath {
  readonly pacer: BulkPacer;
  now = 0;
  bytesPerMs: number;
  rttMs: number;
  offeredBytesPerMs: number;
  /** Nothing passes until then. */
  stalledUntil = 0;
  deliveredBytes = 0;
  /** What a message would have waited, sampled every few milliseconds. */
  readonly queues: number[] = [];
  readonly #sender: BusyHost;
  readonly #receiver: BusyHost;
  readonly #middle: BusyHost;
  #queuedBytes = 0;
  readonly #queue: { readonly sent: SentBulk; left: number }[] = [];
  readonly #arriving: { readonly sent: SentBulk; readonly at: number }[] = [];
  readonly #acks: { readonly sent: SentBulk; readonly at: number }[] = [];
  readonly #arrived: { readonly sent: SentBulk }[] = [];
  readonly #acked: { readonly sent: SentBulk }[] = [];
  #offered = 0;

  constructor(options: PacedPathOptions) {
    const { bytesPerMs, rttMs, jitterMs, seed = 1 } = options;
    const { offeredBytesPerMs = Number.POSITIVE_INFINITY, maxBytesPerMs } = options;
    this.pacer = new BulkPacer(0, maxBytesPerMs);
    this.bytesPerMs = bytesPerMs;
    this.rttMs = rttMs;
    this.offeredBytesPerMs = offeredBytesPerMs;
    const share = options.busyShare ?? 1 / 4;
    this.#sender = new BusyHost(seed, jitterMs, share);
    this.#receiver = new BusyHost(seed + 1, jitterMs, share);
    this.#middle = new BusyHost(seed + 2, options.busyShare === undefined ? 0 : jitterMs, share);
  }

  /** Lets so much time pass. */
  run(ms: number): void {
    for (const end = this.now + ms; this.now < end; this.now += STEP_MS) this.#step();
  }

  get #messageBytes(): number {
    const bytes = this.pacer.bytesPerMs * MESSAGE_MS;
    return Math.min(Math.max(bytes, MIN_MESSAGE_BYTES), MAX_MESSAGE_BYTES);
  }

  #step(): void {
    const { now } = this;
    const { offeredBytesPerMs } = this;
    this.#offered = Number.isFinite(offeredBytesPerMs)
      ? Math.min(this.#offered, MAX_MESSAGE_BYTES) + offeredBytesPerMs * STEP_MS
      : offeredBytesPerMs;
    this.#carry();
    const passes = this.#middle.isFree(now);
    if (passes) {
      this.#arrived.push(...due(this.#arriving, now));
      this.#acked.push(...due(this.#acks, now));
    }
    if (this.#receiver.isFree(now)) {
      for (const { sent } of this.#arrived.splice(0)) {
        this.deliveredBytes += sent.bytes;
        this.#acks.push({ sent, at: now + this.rttMs / 2 });
      }
    }
    if (this.#sender.isFree(now)) {
      for (const { sent } of this.#acked.splice(0)) this.pacer.acknowledged(sent, now);
      this.#send();
    }
    if (Math.floor(now / 5) !== Math.floor((now - STEP_MS) / 5)) {
      this.queues.push(this.#queuedBytes / this.bytesPerMs);
    }
  }

  #send(): void {
    for (;;) {
      const bytes = this.#messageBytes;
      if (this.#offered < bytes) return this.pacer.appLimited();
      const at = this.pacer.sendAt(bytes);
      if (at === undefined || at > this.now) return;
      const sent = this.pacer.sent(bytes, this.now);
      this.#offered -= bytes;
      this.#queue.push({ sent, left: bytes });
      this.#queuedBytes += bytes;
    }
  }

  #carry(): void {
    if (this.now < this.stalledUntil) return;
    let room = this.bytesPerMs * STEP_MS;
    for (let first = this.#queue[0]; first !== undefined && room > 0; first = this.#queue[0]) {
      const bytes = Math.min(room, first.left);
      first.left -= bytes;
      room -= bytes;
      this.#queuedBytes -= bytes;
      if (first.left > 0) return;
      this.#queue.shift();
      this.#arriving.push({ sent: first.sent, at: this.now + this.rttMs / 2 });
    }
  }
}

function due<T extends { readonly at: number }>(waiting: T[], now: number): T[] {
  const count = waiting.findIndex(({ at }) => at > now);
  return waiting.splice(0, count < 0 ? waiting.length : count);
}
