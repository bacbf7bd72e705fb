/**
 * The half of a connection that sends to the guest: what waits for its acknowledgement, how much
 * may be on its way, and when it is sent again (RFC 9293, 5681, 6298, 6582). Order of the sequence
 * space that we send:
 *
 *     iss | una ....... nxt ....... max ....... | una + ring.length = FIN
 *          acknowledged  to be sent  ever sent
 */
import type { Metrics } from "../metrics.ts";
import { Congestion } from "./congestion.ts";
import { ByteRing } from "./ring.ts";
import { RetransmissionTimeout } from "./rto.ts";
import { type Segment, type SegmentData, segmentLength } from "./segment.ts";
import { seqAdd, seqDiff } from "./sequence.ts";
import { DEFAULT_MSS, FLAG } from "./wire.ts";

/** Smallest segment that a guest can ask for. */
const MIN_MSS = 64;
/** A SYN or SYN-ACK without answer is given up after so many repetitions: about a minute. */
const MAX_SYN_RETRIES = 5;
/** Data without acknowledgement is given up after so many repetitions: several minutes. */
const MAX_RETRIES = 12;
const NEVER = Number.POSITIVE_INFINITY;

/** What a sender needs of its connection. */
export interface SenderOptions {
  /** The initial sequence number. */
  readonly iss: number;
  /** Largest segment that the cable takes. */
  readonly mss: number;
  readonly metrics: Metrics;
  /** Sends a segment with `count` bytes from `sequence` on, `data` gives them. */
  readonly send: (sequence: number, flags: number, count: number) => void;
  /** Bytes that wait have changed by so much. */
  readonly onBuffered: (bytes: number) => void;
}

/** What an acknowledgement does: nothing is as it was before, as it says, or it is impossible. */
export type AckKind = "new" | "repeated" | "old" | "impossible";

/** The FIN of the connection: not wanted yet, to be sent, or on its way. */
export type FinState = "none" | "due" | "sent";

/** See the head of this file. */
export class Sender {
  /** When to call `timedOut`. */
  retransmitAt = NEVER;
  readonly #options: SenderOptions;
  readonly #ring = new ByteRing();
  readonly #rto = new RetransmissionTimeout();
  #congestion = new Congestion(DEFAULT_MSS);
  #una: number;
  #nxt: number;
  #max: number;
  #window = 0;
  #windowScale = 0;
  #windowFrom = 0;
  #mss = DEFAULT_MSS;
  /** Losses before this have been dealt with. */
  #recover: number;
  /** The segment whose round trip is measured ends here. */
  #timed: { readonly end: number; readonly at: number } | undefined;
  #retries = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#una = options.iss;
    this.#nxt = options.iss;
    this.#max = options.iss;
    this.#recover = options.iss;
  }

  /** Bytes that the guest has not acknowledged. */
  get bufferedBytes(): number {
    return this.#ring.length;
  }

  /** The number of a segment that has no data. */
  get next(): number {
    return this.#nxt;
  }

  /** Behind everything that was ever sent. */
  get end(): number {
    return this.#max;
  }

  /** The number in front of what waits: a segment with it only makes the guest answer. */
  get probe(): number {
    return seqAdd(this.#una, -1);
  }

  /** Whether `acknowledgement` is that of our SYN. */
  isSynAck(acknowledgement: number): boolean {
    return acknowledgement === seqAdd(this.#options.iss, 1);
  }

  /** Bytes of a segment that is being sent. */
  data(sequence: number, count: number): SegmentData | undefined {
    if (count === 0) return undefined;
    return { ring: this.#ring, offset: seqDiff(sequence, this.#una), count };
  }

  /** The guest's SYN. */
  begin(syn: Segment): void {
    this.#mss = Math.max(MIN_MSS, Math.min(syn.mss ?? DEFAULT_MSS, this.#options.mss));
    this.#congestion = new Congestion(this.#mss);
    this.#windowScale = syn.windowScale ?? 0;
    this.#window = syn.window;
    this.#windowFrom = syn.sequence;
  }

  /** Bytes for the guest. */
  write(bytes: Uint8Array): void {
    this.#ring.write(bytes);
    this.#options.onBuffered(bytes.length);
  }

  sendSyn(flags: number, now: number): void {
    const { iss, metrics, send } = this.#options;
    const again = this.#max !== iss;
    this.#max = seqAdd(iss, 1);
    this.#nxt = this.#max;
    if (again) metrics.counters.tcpRetransmits++;
    this.#timed = again ? undefined : { end: this.#max, at: now };
    send(iss, flags, 0);
    this.retransmitAt = now + this.#rto.ms;
  }

  /** Our SYN is acknowledged. */
  opened(acknowledgement: number, now: number): void {
    this.#una = acknowledgement;
    this.#nxt = acknowledgement;
    this.#max = acknowledgement;
    this.#retries = 0;
    this.retransmitAt = NEVER;
    if (this.#timed !== undefined) this.#rto.measured(now - this.#timed.at);
    this.#timed = undefined;
  }

  kindOf(acknowledgement: number): AckKind {
    if (seqDiff(acknowledgement, this.#max) > 0) return "impossible";
    const gained = seqDiff(acknowledgement, this.#una);
    if (gained > 0) return "new";
    return gained === 0 ? "repeated" : "old";
  }

  /** One of kind `new`; true where it is that of our FIN, too. */
  acknowledged(acknowledgement: number, now: number): boolean {
    const bytes = seqDiff(acknowledgement, this.#una);
    const data = Math.min(bytes, this.#ring.length);
    this.#ring.drop(data);
    this.#options.onBuffered(-data);
    this.#una = acknowledgement;
    if (seqDiff(this.#nxt, this.#una) < 0) this.#nxt = this.#una;
    if (this.#timed !== undefined && seqDiff(acknowledgement, this.#timed.end) >= 0) {
      this.#rto.measured(now - this.#timed.at);
      this.#timed = undefined;
    }
    this.#retries = 0;
    this.#rto.progress();
    this.retransmitAt = NEVER;
    const whole = seqDiff(acknowledgement, this.#recover) >= 0;
    const partial = this.#congestion.recovering && !whole;
    this.#congestion.acknowledged(bytes, whole);
    if (partial) this.#retransmitFirst();
    return bytes > data;
  }

  /** One of kind `repeated`: a sign that a later segment has come. */
  repeated(segment: Segment): void {
    const inFlight = seqDiff(this.#max, this.#una);
    const sameWindow = segment.window << this.#windowScale === this.#window;
    if (inFlight === 0 || !sameWindow || segmentLength(segment) > 0) return;
    if (!this.#congestion.recovering && seqDiff(this.#una, this.#recover) <= 0) return;
    if (!this.#congestion.duplicate(inFlight)) return;
    this.#recover = this.#max;
    this.#options.metrics.counters.tcpFastRetransmits++;
    this.#retransmitFirst();
  }

  learnWindow(segment: Segment): void {
    // Only newer segments tell: reordered ones would shut a window that is open.
    if (seqDiff(segment.sequence, this.#windowFrom) < 0) return;
    if (seqDiff(segment.acknowledgement, this.#una) < 0) return;
    this.#windowFrom = segment.sequence;
    const window = segment.window << this.#windowScale;
    if (window > 0 && this.#window === 0) this.retransmitAt = NEVER;
    this.#window = window;
    // A guest that says that its window is shut is there, however long it stays shut.
    if (window === 0) this.#retries = 0;
  }

  /** Sends all that may be sent now; true if the FIN went out for the first time. */
  flush(fin: FinState, now: number): boolean {
    const limit = Math.min(this.#window, this.#congestion.window);
    let state = fin;
    for (;;) {
      const inFlight = seqDiff(this.#nxt, this.#una);
      const left = this.#ring.length - inFlight;
      const finLeft = left >= 0 && state !== "none";
      if (left <= 0 && !finLeft) break;
      const count = Math.min(this.#mss, left, limit - inFlight);
      if (count < 0 || (count === 0 && left > 0) || (left === 0 && limit <= inFlight)) break;
      // Part of a segment waits for room for the whole (RFC 1122, section 4.2.3.4).
      if (count < this.#mss && count < left && inFlight > 0) break;
      const withFin = finLeft && count === left && count < limit - inFlight;
      this.#sendNext(count, withFin, now);
      if (withFin) state = "sent";
    }
    const waiting = this.#nxt !== this.#una || this.#ring.length > 0 || state === "due";
    if (waiting && this.retransmitAt === NEVER) this.retransmitAt = now + this.#rto.ms;
    return state !== fin;
  }

  /** `retransmitAt` has come for a SYN; false: it is given up. */
  synTimedOut(): boolean {
    this.#backOff();
    return this.#retries <= MAX_SYN_RETRIES;
  }

  /** `retransmitAt` has come; false: the guest is given up. */
  timedOut(): boolean {
    this.#backOff();
    if (this.#retries > MAX_RETRIES) return false;
    if (this.#window === 0) {
      this.#probeWindow();
      return true;
    }
    this.#congestion.timedOut(seqDiff(this.#max, this.#una));
    this.#recover = this.#max;
    this.#timed = undefined;
    this.#nxt = this.#una;
    return true;
  }

  /** What was on its way is lost, and nobody waits for the timer. */
  replugged(synchronised: boolean): void {
    this.#retries = 0;
    this.#rto.progress();
    this.#timed = undefined;
    if (synchronised) this.#nxt = this.#una;
    this.retransmitAt = NEVER;
  }

  #sendNext(count: number, fin: boolean, now: number): void {
    const { counters } = this.#options.metrics;
    const from = this.#nxt;
    const fresh = from === this.#max;
    const last = count === this.#ring.length - seqDiff(from, this.#una);
    const flags = FLAG.Ack | (last && count > 0 ? FLAG.Psh : 0) | (fin ? FLAG.Fin : 0);
    this.#nxt = seqAdd(from, count + (fin ? 1 : 0));
    this.#options.send(from, flags, count);
    if (fresh) {
      counters.tcpBytesToGuest += count;
      this.#timed ??= { end: this.#nxt, at: now };
    } else {
      counters.tcpRetransmits++;
    }
    if (seqDiff(this.#nxt, this.#max) > 0) this.#max = this.#nxt;
  }

  /** One segment from the oldest byte on, whatever the windows say. */
  #retransmitFirst(): void {
    const sent = seqDiff(this.#max, this.#una);
    const count = Math.min(this.#mss, this.#ring.length, sent);
    const fin = count < sent && count === this.#ring.length;
    this.#options.metrics.counters.tcpRetransmits++;
    this.#timed = undefined;
    this.#options.send(this.#una, FLAG.Ack | (fin ? FLAG.Fin : 0), count);
  }

  #backOff(): void {
    this.retransmitAt = NEVER;
    this.#retries++;
    this.#rto.backOff();
    this.#options.metrics.counters.tcpTimeouts++;
  }

  /** One byte into a shut window: the answer tells whether it is still shut. */
  #probeWindow(): void {
    const count = Math.min(1, this.#ring.length);
    const next = seqAdd(this.#una, count);
    if (seqDiff(next, this.#max) > 0) {
      this.#max = next;
      this.#options.metrics.counters.tcpBytesToGuest += count;
    }
    this.#nxt = this.#una;
    this.#timed = undefined;
    // Without data the FIN is the probe; the guest answers to an old number as well.
    this.#options.send(count > 0 ? this.#una : this.probe, FLAG.Ack, count);
  }
}
