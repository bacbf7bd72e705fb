/**
 * A guest's TCP for tests, written apart from ours: go-back-N with a fixed timer, a receive window
 * that may be small or shut, acknowledgements now or later. What is received in order is in
 * `received`; `failed` says that the other side has reset it.
 */
import type { Prng } from "@dejavm/base";
import type { Segment } from "../tcp/segment.ts";
import { FLAG } from "../tcp/wire.ts";
import { type GuestSegment, tcpFrame } from "./guest-frames.ts";

const FIRST_TIMEOUT_MS = 300;
const LAST_TIMEOUT_MS = 2400;

export interface ModelOptions {
  readonly guestPort: number;
  readonly remotePort: number;
  readonly remoteAddress: number;
  readonly prng: Prng;
  readonly mss: number;
  readonly windowScale: number | undefined;
  /** Bytes that fit into the receive buffer. */
  readonly bufferBytes: number;
  /** False: waits for the other side's SYN. */
  readonly active: boolean;
  readonly data: Uint8Array;
  readonly send: (frame: Uint8Array) => void;
}

export class ModelTcp {
  readonly received: number[] = [];
  readonly #options: ModelOptions;
  /** Position in the stream of our SYN: 0; of the first byte: 1. */
  readonly #iss: number;
  #acked = 0;
  #sent = 0;
  #peerWindow = 0;
  #peerScale = 0;
  #peerMss = 536;
  #irs: number | undefined;
  /** Positions of the other side's stream that have come. */
  #next = 0;
  /** Received and not taken by the application yet. */
  #untaken = 0;
  #advertised = 0;
  #synAcked = false;
  #finReceived = false;
  #failed = false;
  #ackDue = false;
  #timerAt = Number.POSITIVE_INFINITY;
  #timeout = FIRST_TIMEOUT_MS;
  readonly #early = new Map<number, { bytes: Uint8Array; fin: boolean }>();

  constructor(options: ModelOptions, now: number) {
    this.#options = options;
    this.#iss = options.prng.u32();
    if (options.active) this.#sendSyn(now);
  }

  get failed(): boolean {
    return this.#failed;
  }

  /** Everything has gone both ways, FINs and all. */
  get finished(): boolean {
    return this.#finReceived && this.#acked === this.#end;
  }

  get finReceived(): boolean {
    return this.#finReceived;
  }

  get state(): string {
    return `acked ${this.#acked}, sent ${this.#sent} of ${this.#end}, next ${this.#next}`;
  }

  get #end(): number {
    return this.#options.data.length + 2;
  }

  handle(segment: Segment, now: number): void {
    const { flags } = segment;
    if ((flags & FLAG.Rst) !== 0) {
      // Only one that fits: damaged numbers do not get through the checksum.
      this.#failed = true;
      return;
    }
    if ((flags & FLAG.Syn) !== 0) this.#takeSyn(segment, now);
    if (this.#irs === undefined) return;
    if ((flags & FLAG.Ack) !== 0) this.#takeAck(segment, now);
    if ((flags & FLAG.Syn) === 0) this.#takeData(segment);
    this.#push(now);
  }

  /** The application reads, timers run. */
  tick(now: number): void {
    if (this.#untaken > 0 && this.#options.prng.oneIn(3)) {
      const shut = this.#advertised === 0;
      this.#untaken -= 1 + this.#options.prng.below(this.#untaken);
      if (shut && this.#untaken === 0) this.#ackDue = true;
    }
    if (now >= this.#timerAt) {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#timeout = Math.min(this.#timeout * 2, LAST_TIMEOUT_MS);
      if (this.#synAcked || !this.#options.active) {
        this.#sent = this.#acked;
        if (this.#peerWindow === 0 && this.#acked > 0) this.#probe();
      } else this.#sendSyn(now);
    }
    this.#push(now);
    if (this.#ackDue && this.#options.prng.oneIn(2)) this.#emit(this.#sent, 0);
  }

  #takeSyn(segment: Segment, now: number): void {
    const again = this.#irs !== undefined;
    this.#irs = segment.sequence;
    if (!again) this.#next = 1;
    this.#peerMss = segment.mss ?? 536;
    const scaled = segment.windowScale !== undefined && this.#options.windowScale !== undefined;
    this.#peerScale = scaled ? (segment.windowScale ?? 0) : 0;
    this.#peerWindow = segment.window;
    if (!this.#options.active) this.#sendSyn(now);
    else this.#ackDue = true;
  }

  #takeAck(segment: Segment, now: number): void {
    const position = (segment.acknowledgement - this.#iss) >>> 0;
    if (position > this.#end) return;
    if ((segment.flags & FLAG.Syn) === 0) this.#peerWindow = segment.window << this.#peerScale;
    if (position <= this.#acked) return;
    this.#acked = position;
    this.#synAcked = true;
    this.#sent = Math.max(this.#sent, position);
    this.#timeout = FIRST_TIMEOUT_MS;
    this.#timerAt = position === this.#end ? Number.POSITIVE_INFINITY : now + this.#timeout;
  }

  #takeData(segment: Segment): void {
    const at = (segment.sequence - (this.#irs ?? 0)) | 0;
    const bytes = segment.bytes.slice(segment.start, segment.end);
    const fin = (segment.flags & FLAG.Fin) !== 0;
    if (bytes.length === 0 && !fin) {
      // A question whether we are there.
      if (at < this.#next) this.#ackDue = true;
      return;
    }
    this.#ackDue = true;
    if (at > this.#next && this.#early.size < 20) this.#early.set(at, { bytes, fin });
    if (at <= this.#next) this.#accept(at, bytes, fin);
    for (const [early, held] of Array.from(this.#early)) {
      if (early > this.#next) continue;
      this.#early.delete(early);
      this.#accept(early, held.bytes, held.fin);
    }
    // A gap is told at once, each time.
    if (at > this.#next) this.#emit(this.#sent, 0);
  }

  #accept(at: number, bytes: Uint8Array, fin: boolean): void {
    if (this.#finReceived) return;
    const room = this.#options.bufferBytes - this.#untaken;
    const fresh = bytes.subarray(this.#next - at).subarray(0, room);
    for (const byte of fresh) this.received.push(byte);
    this.#next += fresh.length;
    this.#untaken += fresh.length;
    if (fin && at + bytes.length === this.#next) {
      this.#finReceived = true;
      this.#next++;
    }
  }

  #push(now: number): void {
    if (!this.#synAcked) return;
    const limit = this.#acked + this.#peerWindow;
    const mss = Math.min(this.#peerMss, this.#options.mss);
    while (this.#sent < this.#end && this.#sent < limit) {
      const data = this.#options.data.length + 1 - this.#sent;
      const count = Math.min(mss, data, limit - this.#sent);
      this.#emit(this.#sent, count);
      this.#sent += count === data ? count + 1 : count;
    }
    if (this.#acked < this.#end && this.#timerAt === Number.POSITIVE_INFINITY) {
      this.#timerAt = now + this.#timeout;
    }
  }

  #probe(): void {
    if (this.#acked < this.#end - 1) this.#emit(this.#acked, 1);
    else this.#emit(this.#acked, 0);
  }

  #sendSyn(now: number): void {
    const acknowledges = this.#irs !== undefined;
    this.#send({
      sequence: this.#iss,
      flags: FLAG.Syn | (acknowledges ? FLAG.Ack : 0),
      ...(acknowledges ? { acknowledgement: ((this.#irs ?? 0) + 1) >>> 0 } : {}),
      mss: this.#options.mss,
      windowScale: this.#options.windowScale,
      window: Math.min(65_535, this.#options.bufferBytes),
    });
    this.#sent = Math.max(this.#sent, 1);
    this.#timerAt = now + this.#timeout;
  }

  #emit(at: number, count: number): void {
    const { data } = this.#options;
    const payload = data.subarray(at - 1, at - 1 + count);
    const fin = at - 1 + count === data.length && (count > 0 || at === data.length + 1);
    const shift = this.#options.windowScale ?? 0;
    const window = Math.min(65_535, (this.#options.bufferBytes - this.#untaken) >>> shift);
    this.#ackDue = false;
    this.#advertised = window;
    this.#send({
      sequence: (this.#iss + at) >>> 0,
      acknowledgement: ((this.#irs ?? 0) + this.#next) >>> 0,
      flags: FLAG.Ack | (fin && at < this.#end ? FLAG.Fin : 0),
      window,
      payload,
    });
  }

  #send(segment: Omit<GuestSegment, "guestPort" | "remotePort" | "remoteAddress">): void {
    const { guestPort, remotePort, remoteAddress, send } = this.#options;
    send(tcpFrame({ ...segment, guestPort, remotePort, remoteAddress }));
  }
}
