/**
 * One TCP connection between the guest and a socket of the host (RFC 9293, 5681, 6298, 7323). The
 * two are coupled: what the host has not taken keeps the guest's window shut, what the guest has
 * not acknowledged keeps the host's socket unread.
 *
 * `handleSegment` and the `host...` methods take things in; `flush` then sends what can be sent and
 * sets `deadline`; `handleDeadline` does what is due. Order of the sequence space that we send:
 *
 *     iss | una ....... nxt ....... max ....... | una + ring.length = FIN
 *          acknowledged  to be sent  ever sent
 */
import { assert, unreachable } from "@dejavm/base";
import type { Timed } from "../deadlines.ts";
import type { Link } from "../ipv4.ts";
import type { Metrics } from "../metrics.ts";
import type { GatewayOutput } from "../socket-events.ts";
import { Congestion } from "./congestion.ts";
import { Receiver } from "./receiver.ts";
import { ByteRing } from "./ring.ts";
import { RetransmissionTimeout } from "./rto.ts";
import { type Segment, segmentFrame, segmentLength } from "./segment.ts";
import { seqAdd, seqDiff } from "./sequence.ts";
import { nextState, receives, synchronised, type TcpState, type TcpStep } from "./state.ts";
import { DEFAULT_MSS, FLAG, MAX_WINDOW } from "./wire.ts";

/** Bytes for the guest above which the host's socket is not read, and below which it is again. */
export const SEND_BUFFER_BYTES = 448 * 1024;
const SEND_RESUME_BYTES = 256 * 1024;
/** Bytes that a connection may always have for the guest, however full all buffers are. */
const SCARCE_SEND_BYTES = 16 * 1024;
/** A SYN or SYN-ACK without answer is given up after so many repetitions: about a minute. */
const MAX_SYN_RETRIES = 5;
/** Data without acknowledgement is given up after so many repetitions: several minutes. */
const MAX_RETRIES = 12;
/** An idle guest is asked whether it is still there after 2 hours (RFC 1122), then so often. */
const KEEP_ALIVE_MS = 7_200_000;
const KEEP_ALIVE_INTERVAL_MS = 75_000;
const MAX_KEEP_ALIVES = 9;
/** Twice the longest life of a segment on one cable. */
const TIME_WAIT_MS = 10_000;
const NEVER = Number.POSITIVE_INFINITY;

/** What connections share. */
export interface TcpEnvironment {
  readonly link: Link;
  readonly metrics: Metrics;
  /** Largest segment that we take from the guest, from the cable's MTU. */
  readonly mss: number;
  readonly emit: (output: GatewayOutput) => void;
  /** Called once, when the connection has come to its end. */
  readonly onClosed: (connection: TcpConnection) => void;
  /** Called when the guest is half-open no longer. */
  readonly onOpen: (connection: TcpConnection) => void;
  /** Bytes in the buffers of all connections have changed by so much. */
  readonly onBuffered: (bytes: number) => void;
  /** Whether the buffers of all connections together are full. */
  readonly scarce: () => boolean;
}

/** The ends of a connection, as numbers. */
export interface TcpEnds {
  readonly guestAddress: number;
  readonly guestPort: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
}

/** See the head of this file. */
export class TcpConnection implements Timed {
  readonly ends: TcpEnds;
  /** The host's socket. */
  readonly socket: number;
  /** Kept by `Deadlines`. */
  wakeAt = NEVER;
  heapIndex = -1;
  /** Kept by the layer: whether `flush` is due. */
  dirty = false;
  readonly #env: TcpEnvironment;
  #state: TcpState;

  // To the guest.
  readonly #iss: number;
  readonly #ring = new ByteRing();
  readonly #rto = new RetransmissionTimeout();
  #congestion: Congestion;
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
  #synDue = false;
  #hostEnded = false;
  #reading = true;

  // From the guest.
  readonly #receiver: Receiver;
  #irs = 0;

  // Deadlines.
  #retransmitAt = NEVER;
  #keepAliveAt = NEVER;
  #keepAlives = 0;
  #endAt = NEVER;

  /** Opened by the guest's SYN, or, without one, by a peer of a forward. */
  constructor(
    env: TcpEnvironment,
    {
      ends,
      socket,
      iss,
    }: { readonly ends: TcpEnds; readonly socket: number; readonly iss: number },
    syn?: Segment,
  ) {
    this.#env = env;
    this.ends = ends;
    this.socket = socket;
    this.#iss = iss;
    this.#una = iss;
    this.#nxt = iss;
    this.#max = iss;
    this.#recover = iss;
    this.#congestion = new Congestion(DEFAULT_MSS);
    this.#receiver = new Receiver({
      mss: env.mss,
      deliver: (bytes) => {
        env.metrics.counters.tcpBytesFromGuest += bytes.length;
        env.emit({ kind: "tcp-send", socket, bytes });
      },
      onBuffered: env.onBuffered,
      onDropped: () => env.metrics.drop("segment"),
      scarce: env.scarce,
    });
    if (syn === undefined) {
      this.#state = "syn-sent";
      this.#synDue = true;
    } else {
      this.#state = "connecting";
      this.#learn(syn);
    }
  }

  get state(): TcpState {
    return this.#state;
  }

  get deadline(): number {
    return Math.min(this.#retransmitAt, this.#receiver.ackAt, this.#keepAliveAt, this.#endAt);
  }

  /** Bytes that wait on either way. */
  get bufferedBytes(): number {
    return this.#ring.length + this.#receiver.bufferedBytes;
  }

  /** Whether a new connection may take this one's place (RFC 9293, section 3.10.7.4). */
  makesWayFor(syn: Segment): boolean {
    return this.#state === "time-wait" && seqDiff(syn.sequence, this.#receiver.next) > 0;
  }

  /** The host has connected. */
  hostConnected(): void {
    if (this.#state !== "connecting") return;
    this.#step("dialled");
    this.#synDue = true;
  }

  /** The host could not connect; the guest's SYN is refused. */
  hostFailed(): void {
    this.#env.metrics.counters.tcpFailed++;
    this.#sendReset();
    this.#close();
  }

  hostData(bytes: Uint8Array): void {
    this.#ring.write(bytes);
    this.#env.onBuffered(bytes.length);
    this.#steerReading();
  }

  /** The host has taken so many of the guest's bytes. */
  hostTook(bytes: number): void {
    const { ackDue } = this.#receiver;
    this.#receiver.hostTook(bytes);
    if (!receives(this.#state)) this.#receiver.ackDue = ackDue;
  }

  hostEnded(): void {
    this.#hostEnded = true;
  }

  /** The host's side is broken: the guest is told by RST. */
  hostLost(): void {
    this.#sendReset();
    this.#close();
  }

  /** Forgotten before its time: only for one that waits for nothing else. */
  expire(): void {
    this.#close();
  }

  /** Ends both sides at once. */
  abort(): void {
    this.#sendReset();
    this.#giveUp();
  }

  /** A segment of the guest for this connection. */
  handleSegment(segment: Segment, now: number): void {
    this.#keepAlives = 0;
    switch (this.#state) {
      case "connecting":
        // The guest repeats its SYN while the host dials.
        if ((segment.flags & FLAG.Rst) !== 0) this.#giveUp();
        return;
      case "syn-sent":
        this.#handleAnswer(segment, now);
        return;
      case "closed":
        return;
      case "syn-received":
      case "established":
      case "fin-wait-1":
      case "fin-wait-2":
      case "close-wait":
      case "closing":
      case "last-ack":
      case "time-wait":
        this.#handleSynchronised(segment, now);
        return;
      default:
        unreachable(this.#state);
    }
  }

  /** Does what is due; `flush` follows. */
  handleDeadline(now: number): void {
    if (this.#receiver.ackAt <= now) {
      this.#receiver.ackAt = NEVER;
      this.#receiver.ackDue = true;
    }
    if (this.#endAt <= now) {
      this.#endAt = NEVER;
      this.#close();
      return;
    }
    if (this.#retransmitAt <= now) {
      this.#retransmitAt = NEVER;
      this.#timedOut();
    }
    if (this.#keepAliveAt <= now) this.#probeIdle(now);
  }

  /** The cable is back: what was on its way is lost, and nobody waits for the timer. */
  replugged(): void {
    if (this.#state === "syn-sent" || this.#state === "syn-received") this.#synDue = true;
    this.#retries = 0;
    this.#rto.progress();
    this.#timed = undefined;
    this.#nxt = this.#synchronisedStart();
    this.#receiver.ackDue = synchronised(this.#state);
    this.#retransmitAt = NEVER;
  }

  /** Sends all that may be sent now. */
  flush(now: number): void {
    switch (this.#state) {
      case "connecting":
      case "closed":
        return;
      case "syn-sent":
      case "syn-received":
        this.#flushSyn(now);
        return;
      case "established":
      case "fin-wait-1":
      case "fin-wait-2":
      case "close-wait":
      case "closing":
      case "last-ack":
      case "time-wait":
        this.#flushData(now);
        if (this.#receiver.ackDue) this.#send(this.#nxt, FLAG.Ack, 0);
        this.#keepAliveAt = this.#idleDeadline(now);
        return;
      default:
        unreachable(this.#state);
    }
  }

  // What comes from the guest

  #learn(syn: Segment): void {
    this.#irs = syn.sequence;
    this.#receiver.begin(syn);
    this.#mss = Math.max(64, Math.min(syn.mss ?? DEFAULT_MSS, this.#env.mss));
    this.#congestion = new Congestion(this.#mss);
    this.#windowScale = syn.windowScale ?? 0;
    this.#window = syn.window;
    this.#windowFrom = syn.sequence;
  }

  /** Answers to our SYN (RFC 9293, section 3.10.7.3). */
  #handleAnswer(segment: Segment, now: number): void {
    const { flags, acknowledgement } = segment;
    const acknowledges = (flags & FLAG.Ack) !== 0 && acknowledgement === seqAdd(this.#iss, 1);
    if ((flags & FLAG.Rst) !== 0) {
      if (acknowledges) {
        this.#env.metrics.counters.tcpFailed++;
        this.#giveUp();
      }
      return;
    }
    if (!acknowledges || (flags & FLAG.Syn) === 0) {
      this.#env.metrics.drop("segment");
      return;
    }
    this.#learn(segment);
    this.#una = acknowledgement;
    this.#opened(now);
    this.#receiver.ackDue = true;
  }

  #opened(now: number): void {
    this.#nxt = this.#una;
    this.#max = this.#una;
    this.#retries = 0;
    this.#retransmitAt = NEVER;
    if (this.#timed !== undefined) this.#rto.measured(now - this.#timed.at);
    this.#timed = undefined;
    this.#step("syn-acked");
    this.#env.onOpen(this);
  }

  #handleSynchronised(segment: Segment, now: number): void {
    const { flags } = segment;
    if (!this.#receiver.accepts(segment)) {
      if ((flags & FLAG.Rst) !== 0) return;
      this.#env.metrics.drop("segment");
      // The guest has not seen our SYN-ACK, or our acknowledgement: it gets it again.
      if (this.#state === "syn-received" && (flags & FLAG.Syn) !== 0) this.#synDue = true;
      else this.#receiver.ackDue = true;
      // A zero window is no reason not to hear an acknowledgement.
      const bare = segmentLength(segment) === 0;
      if (!bare && (flags & (FLAG.Ack | FLAG.Syn)) === FLAG.Ack) this.#handleAck(segment, now);
      return;
    }
    if ((flags & (FLAG.Rst | FLAG.Syn)) !== 0) {
      this.#handleResetOrSyn(segment);
      return;
    }
    if ((flags & FLAG.Ack) === 0) {
      this.#env.metrics.drop("segment");
      return;
    }
    if (!this.#handleAck(segment, now)) return;
    if (segmentLength(segment) > 0) this.#handleData(segment, now);
  }

  /** Only the very next number resets; all else is asked about (RFC 5961). */
  #handleResetOrSyn(segment: Segment): void {
    const reset = (segment.flags & FLAG.Rst) !== 0;
    if (reset && segment.sequence === this.#receiver.next) this.#giveUp();
    else this.#receiver.ackDue = true;
  }

  /** False where the segment must not be looked at any further. */
  #handleAck(segment: Segment, now: number): boolean {
    const { acknowledgement } = segment;
    const ahead = seqDiff(acknowledgement, this.#max);
    if (this.#state === "syn-received") {
      if (ahead !== 0) {
        this.#env.metrics.drop("segment");
        return false;
      }
      this.#una = acknowledgement;
      this.#opened(now);
    } else if (ahead > 0) {
      this.#env.metrics.drop("segment");
      this.#receiver.ackDue = true;
      return false;
    } else if (seqDiff(acknowledgement, this.#una) > 0) {
      this.#acknowledged(acknowledgement, now);
    } else if (acknowledgement === this.#una) {
      this.#repeated(segment);
    }
    if (this.#state !== "closed") this.#learnWindow(segment);
    return this.#state !== "closed";
  }

  #acknowledged(acknowledgement: number, now: number): void {
    const bytes = seqDiff(acknowledgement, this.#una);
    const data = Math.min(bytes, this.#ring.length);
    this.#ring.drop(data);
    this.#env.onBuffered(-data);
    this.#una = acknowledgement;
    if (seqDiff(this.#nxt, this.#una) < 0) this.#nxt = this.#una;
    if (this.#timed !== undefined && seqDiff(acknowledgement, this.#timed.end) >= 0) {
      this.#rto.measured(now - this.#timed.at);
      this.#timed = undefined;
    }
    this.#retries = 0;
    this.#rto.progress();
    this.#retransmitAt = NEVER;
    const whole = seqDiff(acknowledgement, this.#recover) >= 0;
    const partial = this.#congestion.recovering && !whole;
    this.#congestion.acknowledged(bytes, whole);
    if (partial) this.#retransmitFirst();
    if (bytes > data) this.#finAcknowledged(now);
    this.#steerReading();
  }

  #finAcknowledged(now: number): void {
    this.#step("fin-acked");
    if (this.#state === "time-wait") this.#endAt = now + TIME_WAIT_MS;
    if (this.#state === "closed") this.#closed();
  }

  /** The same acknowledgement once more: a sign that a later segment has come. */
  #repeated(segment: Segment): void {
    const inFlight = seqDiff(this.#max, this.#una);
    const sameWindow = segment.window << this.#windowScale === this.#window;
    if (inFlight === 0 || !sameWindow || segmentLength(segment) > 0) return;
    if (!this.#congestion.recovering && seqDiff(this.#una, this.#recover) <= 0) return;
    if (!this.#congestion.duplicate(inFlight)) return;
    this.#recover = this.#max;
    this.#env.metrics.counters.tcpFastRetransmits++;
    this.#retransmitFirst();
  }

  #learnWindow(segment: Segment): void {
    // Only newer segments tell: reordered ones would shut a window that is open.
    if (seqDiff(segment.sequence, this.#windowFrom) < 0) return;
    if (seqDiff(segment.acknowledgement, this.#una) < 0) return;
    this.#windowFrom = segment.sequence;
    const window = segment.window << this.#windowScale;
    if (window > 0 && this.#window === 0) this.#retransmitAt = NEVER;
    this.#window = window;
    // A guest that says that its window is shut is there, however long it stays shut.
    if (window === 0) this.#retries = 0;
  }

  #handleData(segment: Segment, now: number): void {
    if (!receives(this.#state)) {
      // Only a repeated FIN is left; it is acknowledged once more.
      this.#receiver.ackDue = true;
      if (this.#state === "time-wait") this.#endAt = now + TIME_WAIT_MS;
      return;
    }
    if (this.#receiver.take(segment, now)) this.#finReceived(now);
  }

  #finReceived(now: number): void {
    this.#step("fin-received");
    this.#env.emit({ kind: "tcp-end", socket: this.socket });
    if (this.#state === "time-wait") this.#endAt = now + TIME_WAIT_MS;
  }

  // What goes to the guest

  #flushSyn(now: number): void {
    if (!this.#synDue) return;
    this.#synDue = false;
    const again = this.#max !== this.#iss;
    const flags = this.#state === "syn-sent" ? FLAG.Syn : FLAG.Syn | FLAG.Ack;
    this.#max = seqAdd(this.#iss, 1);
    this.#nxt = this.#max;
    if (again) this.#env.metrics.counters.tcpRetransmits++;
    this.#timed = again ? undefined : { end: this.#max, at: now };
    this.#send(this.#iss, flags, 0);
    this.#retransmitAt = now + this.#rto.ms;
  }

  #flushData(now: number): void {
    const limit = Math.min(this.#window, this.#congestion.window);
    for (;;) {
      const inFlight = seqDiff(this.#nxt, this.#una);
      const left = this.#ring.length - inFlight;
      const finLeft = left >= 0 && this.#finUnacknowledged();
      if (left <= 0 && !finLeft) break;
      const count = Math.min(this.#mss, left, limit - inFlight);
      if (count < 0 || (count === 0 && left > 0) || (left === 0 && limit <= inFlight)) break;
      // Part of a segment waits for room for the whole (RFC 1122, section 4.2.3.4).
      if (count < this.#mss && count < left && inFlight > 0) break;
      const fin = finLeft && count === left && count < limit - inFlight;
      this.#sendNext(count, fin, now);
    }
    const waiting = this.#nxt !== this.#una || this.#ring.length > 0 || this.#finPending();
    if (waiting && this.#retransmitAt === NEVER) this.#retransmitAt = now + this.#rto.ms;
  }

  #finPending(): boolean {
    return this.#hostEnded && (this.#state === "established" || this.#state === "close-wait");
  }

  #finUnacknowledged(): boolean {
    const sent = ["fin-wait-1", "closing", "last-ack"].includes(this.#state);
    return sent || this.#finPending();
  }

  #sendNext(count: number, fin: boolean, now: number): void {
    const { counters } = this.#env.metrics;
    const from = this.#nxt;
    const fresh = from === this.#max;
    const last = count === this.#ring.length - seqDiff(from, this.#una);
    const flags = FLAG.Ack | (last && count > 0 ? FLAG.Psh : 0) | (fin ? FLAG.Fin : 0);
    this.#nxt = seqAdd(from, count + (fin ? 1 : 0));
    this.#send(from, flags, count);
    if (fresh) {
      counters.tcpBytesToGuest += count;
      this.#timed ??= { end: this.#nxt, at: now };
    } else {
      counters.tcpRetransmits++;
    }
    if (seqDiff(this.#nxt, this.#max) > 0) this.#max = this.#nxt;
    if (fin && this.#finPending()) this.#step("fin-sent");
  }

  /** One segment from the oldest byte on, whatever the windows say. */
  #retransmitFirst(): void {
    const sent = seqDiff(this.#max, this.#una);
    const count = Math.min(this.#mss, this.#ring.length, sent);
    const fin = count < sent && count === this.#ring.length;
    this.#env.metrics.counters.tcpRetransmits++;
    this.#timed = undefined;
    this.#send(this.#una, FLAG.Ack | (fin ? FLAG.Fin : 0), count);
  }

  #timedOut(): void {
    const { counters } = this.#env.metrics;
    const syn = this.#state === "syn-sent" || this.#state === "syn-received";
    this.#retries++;
    this.#rto.backOff();
    counters.tcpTimeouts++;
    if (this.#retries > (syn ? MAX_SYN_RETRIES : MAX_RETRIES)) {
      if (syn) counters.tcpFailed++;
      this.abort();
      return;
    }
    if (syn) {
      this.#synDue = true;
      return;
    }
    if (this.#window === 0) {
      this.#probeWindow();
      return;
    }
    this.#congestion.timedOut(seqDiff(this.#max, this.#una));
    this.#recover = this.#max;
    this.#timed = undefined;
    this.#nxt = this.#una;
  }

  /** One byte into a shut window: the answer tells whether it is still shut. */
  #probeWindow(): void {
    const count = Math.min(1, this.#ring.length);
    const next = seqAdd(this.#una, count);
    if (seqDiff(next, this.#max) > 0) {
      this.#max = next;
      this.#env.metrics.counters.tcpBytesToGuest += count;
    }
    this.#nxt = this.#una;
    this.#timed = undefined;
    // Without data the FIN is the probe; the guest answers to an old number as well.
    this.#send(count > 0 ? this.#una : seqAdd(this.#una, -1), FLAG.Ack, count);
  }

  #probeIdle(now: number): void {
    if (this.#keepAlives >= MAX_KEEP_ALIVES) {
      this.abort();
      return;
    }
    this.#keepAlives++;
    this.#send(seqAdd(this.#una, -1), FLAG.Ack, 0);
    this.#keepAliveAt = now + KEEP_ALIVE_INTERVAL_MS;
  }

  #idleDeadline(now: number): number {
    const idle = this.#retransmitAt === NEVER && this.#endAt === NEVER;
    if (!idle) return NEVER;
    if (this.#keepAlives > 0) return Math.max(this.#keepAliveAt, now);
    return now + KEEP_ALIVE_MS;
  }

  #send(sequence: number, flags: number, count: number): void {
    const { guestAddress, guestPort, remoteAddress, remotePort } = this.ends;
    const syn = (flags & FLAG.Syn) !== 0;
    const acknowledges = (flags & FLAG.Ack) !== 0;
    const window = acknowledges ? this.#receiver.offerWindow(syn) : MAX_WINDOW;
    const header = {
      source: remoteAddress,
      target: guestAddress,
      sourcePort: remotePort,
      targetPort: guestPort,
      sequence,
      acknowledgement: acknowledges ? this.#receiver.next : 0,
      flags,
      window,
      ...(syn ? { mss: this.#env.mss, windowScale: this.#receiver.windowScale } : {}),
    };
    const data =
      count > 0 ? { ring: this.#ring, offset: seqDiff(sequence, this.#una), count } : undefined;
    this.#env.emit({ kind: "frame", bytes: segmentFrame(this.#env.link, header, data) });
  }

  #sendReset(): void {
    const { guestAddress, guestPort, remoteAddress, remotePort } = this.ends;
    this.#env.metrics.counters.tcpResetsSent++;
    const refusal = this.#state === "connecting" || this.#state === "syn-received";
    const frame = segmentFrame(this.#env.link, {
      source: remoteAddress,
      target: guestAddress,
      sourcePort: remotePort,
      targetPort: guestPort,
      sequence: this.#state === "connecting" ? 0 : this.#max,
      acknowledgement: refusal ? seqAdd(this.#irs, 1) : this.#receiver.next,
      flags: FLAG.Rst | FLAG.Ack,
      window: 0,
    });
    this.#env.emit({ kind: "frame", bytes: frame });
  }

  // Both

  #synchronisedStart(): number {
    return synchronised(this.#state) ? this.#una : this.#nxt;
  }

  /** Reads from the host while there is room for what it sends. */
  #steerReading(): void {
    const most = this.#env.scarce() ? SCARCE_SEND_BYTES : SEND_BUFFER_BYTES;
    const least = Math.min(most, SEND_RESUME_BYTES);
    const on = this.#reading ? this.#ring.length < most : this.#ring.length < least;
    if (on === this.#reading) return;
    this.#reading = on;
    this.#env.emit({ kind: "tcp-read", socket: this.socket, on });
  }

  #step(step: TcpStep): void {
    const next = nextState(this.#state, step);
    assert(next !== undefined, `a connection in ${this.#state} cannot take ${step}`);
    this.#state = next;
  }

  /** The guest's side is over: so is the host's. */
  #giveUp(): void {
    this.#env.emit({ kind: "tcp-reset", socket: this.socket });
    this.#close();
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#step("ended");
    this.#closed();
  }

  #closed(): void {
    this.#env.onBuffered(-this.bufferedBytes);
    this.#retransmitAt = NEVER;
    this.#receiver.ackAt = NEVER;
    this.#keepAliveAt = NEVER;
    this.#endAt = NEVER;
    this.#env.onClosed(this);
  }
}
