/**
 * The half of a connection that takes what the guest sends: what comes next, the window that the
 * guest was told, what came before its turn, and when an acknowledgement is due (RFC 9293, section
 * 3.10.7.4; RFC 5681, section 4.2).
 *
 *     irs | ............ next ............. edge
 *          handed on, in order   window, with gaps in `Reassembly`
 */
import { AckDelay } from "./ack-delay.ts";
import { Reassembly } from "./reassembly.ts";
import { type Segment, segmentLength } from "./segment.ts";
import { seqAdd, seqDiff } from "./sequence.ts";
import { DEFAULT_MSS, FLAG, MAX_WINDOW } from "./wire.ts";

/** Bytes of the guest that the host has not taken: the window's full size. */
export const RECEIVE_BUFFER_BYTES = 512 * 1024;
/** Lets the window field reach RECEIVE_BUFFER_BYTES. */
const WINDOW_SCALE = 4;
/** Window where the buffers of all connections together are full: a slow trickle. */
const SCARCE_WINDOW_BYTES = 4096;
const NEVER = Number.POSITIVE_INFINITY;

/** What a receiver needs of its connection. */
export interface ReceiverOptions {
  /** Largest segment that we take. */
  readonly mss: number;
  /** Bytes for the host, in order; they will not change. */
  readonly deliver: (bytes: Uint8Array) => void;
  /** Bytes that wait have changed by so much. */
  readonly onBuffered: (bytes: number) => void;
  /** A segment was of no use. */
  readonly onDropped: () => void;
  /** Whether the buffers of all connections together are full. */
  readonly scarce: () => boolean;
}

/** See the head of this file. */
export class Receiver {
  /** An acknowledgement goes out with the next flush. */
  ackDue = false;
  /** When it becomes due. */
  ackAt = NEVER;
  readonly #options: ReceiverOptions;
  readonly #reassembly = new Reassembly();
  readonly #delay = new AckDelay();
  #next = 0;
  /** The right edge of the window that the guest was told. */
  #edge = 0;
  #scale: number | undefined = WINDOW_SCALE;
  #finAt: number | undefined;
  /** Handed on, and not taken by the host yet. */
  #unsent = 0;
  #unacknowledged = 0;
  /** The largest segment seen: two of them make an acknowledgement due at once. */
  #largest = DEFAULT_MSS;

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  /** The number that comes next: what we acknowledge. */
  get next(): number {
    return this.#next;
  }

  /** For our SYN; undefined: no option. */
  get windowScale(): number | undefined {
    return this.#scale;
  }

  get bufferedBytes(): number {
    return this.#unsent + this.#reassembly.byteCount;
  }

  /** The guest's SYN. Without the option in both SYNs neither side scales (RFC 7323, 2.2). */
  begin(syn: Segment): void {
    this.#next = seqAdd(syn.sequence, 1);
    this.#edge = this.#next;
    if (syn.windowScale === undefined) this.#scale = undefined;
  }

  /** RFC 9293, table 6: some of it lies in the window, or it is empty and at the edge. */
  accepts(segment: Segment): boolean {
    const length = segmentLength(segment);
    const fromNext = seqDiff(segment.sequence, this.#next);
    const window = seqDiff(this.#edge, this.#next);
    if (length === 0) return fromNext === 0 || (fromNext > 0 && fromNext < window);
    return fromNext < window && fromNext + length > 0;
  }

  /** An acceptable segment with data or FIN; true once the FIN has come with all before it. */
  take(segment: Segment, now: number): boolean {
    const skip = Math.max(0, seqDiff(this.#next, segment.sequence));
    const at = seqAdd(segment.sequence, skip);
    const length = segment.end - segment.start;
    const count = Math.min(length - skip, seqDiff(this.#edge, at));
    if ((segment.flags & FLAG.Fin) !== 0 && count === length - skip) {
      this.#finAt = seqAdd(segment.sequence, length);
    }
    this.#largest = Math.max(this.#largest, Math.min(length, this.#options.mss));
    if (count > 0) {
      const from = segment.start + skip;
      this.#takeData(at, segment.bytes.subarray(from, from + count), now);
    }
    if (this.#finAt === this.#next) {
      this.#next = seqAdd(this.#next, 1);
      this.ackDue = true;
      return true;
    }
    if (count < length - skip) this.ackDue = true;
    return false;
  }

  /** Does what is due. */
  handleDeadline(now: number): void {
    if (this.ackAt > now) return;
    this.ackAt = NEVER;
    this.ackDue = true;
    this.#delay.lapsed(now);
  }

  /** Data of the host goes to the guest. */
  answered(): void {
    this.#delay.answered();
  }

  /** The host has taken so many bytes; the guest is told once that makes a difference. */
  hostTook(bytes: number): void {
    this.#unsent -= bytes;
    this.#options.onBuffered(-bytes);
    const gained = seqDiff(seqAdd(this.#next, this.#free()), this.#edge);
    if (gained >= Math.min(2 * this.#largest, RECEIVE_BUFFER_BYTES / 2)) this.ackDue = true;
  }

  /** The window field of a segment that goes out now; what was promised once stays promised. */
  offerWindow(syn: boolean): number {
    this.ackDue = false;
    this.ackAt = NEVER;
    this.#unacknowledged = 0;
    const shift = syn ? 0 : (this.#scale ?? 0);
    const promised = Math.max(0, seqDiff(this.#edge, this.#next));
    const wanted = Math.min(this.#free(), MAX_WINDOW << shift);
    // Little steps are not worth a segment of the guest (RFC 1122, section 4.2.3.3).
    const step = Math.min(this.#largest, RECEIVE_BUFFER_BYTES / 2);
    const window = wanted >= promised + step ? wanted : promised;
    const field = window >>> shift;
    const edge = seqAdd(this.#next, field << shift);
    if (seqDiff(edge, this.#edge) > 0) this.#edge = edge;
    return field;
  }

  #free(): number {
    const most = this.#options.scarce() ? SCARCE_WINDOW_BYTES : RECEIVE_BUFFER_BYTES;
    return Math.max(0, most - this.bufferedBytes);
  }

  #takeData(at: number, bytes: Uint8Array, now: number): void {
    if (at !== this.#next) {
      // A gap: the guest learns at once where it is.
      this.ackDue = true;
      this.#keep(at, bytes);
      return;
    }
    const before = this.#reassembly.byteCount;
    this.#deliver(bytes);
    if (before === 0) {
      this.#unacknowledged += bytes.length;
      if (this.#unacknowledged >= 2 * this.#largest) this.ackDue = true;
      else this.ackAt = Math.min(this.ackAt, this.#delay.heard(now));
      return;
    }
    this.ackDue = true;
    let next = this.#reassembly.take(this.#next);
    for (; next !== undefined; next = this.#reassembly.take(this.#next)) this.#deliver(next);
    this.#options.onBuffered(this.#reassembly.byteCount - before);
  }

  #keep(at: number, bytes: Uint8Array): void {
    const before = this.#reassembly.byteCount;
    const fits = before + bytes.length <= RECEIVE_BUFFER_BYTES;
    if (!fits || !this.#reassembly.add(at, bytes)) this.#options.onDropped();
    this.#options.onBuffered(this.#reassembly.byteCount - before);
  }

  #deliver(bytes: Uint8Array): void {
    this.#next = seqAdd(this.#next, bytes.length);
    this.#unsent += bytes.length;
    this.#options.onBuffered(bytes.length);
    this.#options.deliver(bytes);
  }
}
