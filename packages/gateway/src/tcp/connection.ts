/**
 * One TCP connection between the guest and a socket of the host (RFC 9293, 5681, 6298, 7323). The
 * two are coupled: what the host has not taken keeps the guest's window shut, what the guest has
 * not acknowledged keeps the host's socket unread.
 *
 * `handleSegment` and the `host...` methods take things in; `flush` then sends what can be sent and
 * sets `deadline`; `handleDeadline` does what is due. `Sender` and `Receiver` are the two halves;
 * what couples them and the states is here.
 */
import { assert, unreachable } from "@dejavm/base";
import type { Timed } from "../deadlines.ts";
import type { Link } from "../ipv4.ts";
import type { Metrics } from "../metrics.ts";
import type { GatewayOutput } from "../socket-events.ts";
import { Receiver } from "./receiver.ts";
import { resetFor, type Segment, segmentFrame, segmentLength } from "./segment.ts";
import { type FinState, Sender } from "./sender.ts";
import { seqAdd, seqDiff } from "./sequence.ts";
import { nextState, receives, synchronised, type TcpState, type TcpStep } from "./state.ts";
import { FLAG, MAX_WINDOW } from "./wire.ts";

/**
 * Bytes for the guest above which the host's socket is not read, and below which it is again. With
 * what one turn may read on top they fill a mebibyte: what a host that is busy, and lets each hop
 * wait some milliseconds, needs for 50 MB/s.
 */
export const SEND_BUFFER_BYTES = 704 * 1024;
const SEND_RESUME_BYTES = 448 * 1024;
/** Bytes that a connection may always have for the guest, however full all buffers are. */
const SCARCE_SEND_BYTES = 16 * 1024;
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

  readonly #sender: Sender;
  readonly #receiver: Receiver;
  #irs = 0;
  #synDue = false;
  #hostEnded = false;
  #reading = true;

  // Deadlines.
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
    this.#sender = new Sender({
      iss,
      mss: env.mss,
      metrics: env.metrics,
      send: (sequence, flags, count) => this.#send(sequence, flags, count),
      onBuffered: env.onBuffered,
    });
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
    return Math.min(
      this.#sender.retransmitAt,
      this.#receiver.ackAt,
      this.#keepAliveAt,
      this.#endAt,
    );
  }

  /** Bytes that wait on either way. */
  get bufferedBytes(): number {
    return this.#sender.bufferedBytes + this.#receiver.bufferedBytes;
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
    this.#sender.write(bytes);
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
    this.#receiver.handleDeadline(now);
    if (this.#endAt <= now) {
      this.#endAt = NEVER;
      this.#close();
      return;
    }
    if (this.#sender.retransmitAt <= now) this.#timedOut();
    if (this.#keepAliveAt <= now) this.#probeIdle(now);
  }

  /** The cable is back: what was on its way is lost, and nobody waits for the timer. */
  replugged(): void {
    if (this.#state === "syn-sent" || this.#state === "syn-received") this.#synDue = true;
    this.#sender.replugged(synchronised(this.#state));
    this.#receiver.ackDue = synchronised(this.#state);
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
        if (this.#receiver.ackDue) this.#send(this.#sender.next, FLAG.Ack, 0);
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
    this.#sender.begin(syn);
  }

  /** Answers to our SYN (RFC 9293, section 3.10.7.3). */
  #handleAnswer(segment: Segment, now: number): void {
    const { flags, acknowledgement } = segment;
    const acknowledges = (flags & FLAG.Ack) !== 0 && this.#sender.isSynAck(acknowledgement);
    if ((flags & FLAG.Rst) !== 0) {
      if (acknowledges) {
        this.#env.metrics.counters.tcpFailed++;
        this.#giveUp();
      }
      return;
    }
    if (!acknowledges || (flags & FLAG.Syn) === 0) {
      this.#env.metrics.drop("segment");
      if (!acknowledges && (flags & FLAG.Ack) !== 0) this.#refuse(segment);
      return;
    }
    this.#learn(segment);
    this.#opened(acknowledgement, now);
    this.#receiver.ackDue = true;
  }

  #opened(acknowledgement: number, now: number): void {
    this.#sender.opened(acknowledgement, now);
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
    const kind = this.#sender.kindOf(acknowledgement);
    if (this.#state === "syn-received") {
      if (!this.#sender.isSynAck(acknowledgement)) {
        this.#env.metrics.drop("segment");
        this.#refuse(segment);
        return false;
      }
      this.#opened(acknowledgement, now);
    } else if (kind === "impossible") {
      this.#env.metrics.drop("segment");
      this.#receiver.ackDue = true;
      return false;
    } else if (kind === "new") {
      if (this.#sender.acknowledged(acknowledgement, now)) this.#finAcknowledged(now);
      this.#steerReading();
    } else if (kind === "repeated") {
      this.#sender.repeated(segment);
    }
    if (this.#state === "closed") return false;
    this.#sender.learnWindow(segment);
    return true;
  }

  #finAcknowledged(now: number): void {
    this.#step("fin-acked");
    if (this.#state === "time-wait") this.#endAt = now + TIME_WAIT_MS;
    if (this.#state === "closed") this.#closed();
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
    const flags = this.#state === "syn-sent" ? FLAG.Syn : FLAG.Syn | FLAG.Ack;
    this.#sender.sendSyn(flags, now);
  }

  #flushData(now: number): void {
    const { end } = this.#sender;
    if (this.#sender.flush(this.#fin(), now)) this.#step("fin-sent");
    if (this.#sender.end !== end) this.#receiver.answered();
  }

  #fin(): FinState {
    if (["fin-wait-1", "closing", "last-ack"].includes(this.#state)) return "sent";
    const open = this.#state === "established" || this.#state === "close-wait";
    return this.#hostEnded && open ? "due" : "none";
  }

  #timedOut(): void {
    const syn = this.#state === "syn-sent" || this.#state === "syn-received";
    if (syn ? this.#sender.synTimedOut() : this.#sender.timedOut()) {
      this.#synDue = syn;
      return;
    }
    if (syn) this.#env.metrics.counters.tcpFailed++;
    this.abort();
  }

  #probeIdle(now: number): void {
    if (this.#keepAlives >= MAX_KEEP_ALIVES) {
      this.abort();
      return;
    }
    this.#keepAlives++;
    this.#send(this.#sender.probe, FLAG.Ack, 0);
    this.#keepAliveAt = now + KEEP_ALIVE_INTERVAL_MS;
  }

  #idleDeadline(now: number): number {
    const idle = this.#sender.retransmitAt === NEVER && this.#endAt === NEVER;
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
    const data = this.#sender.data(sequence, count);
    this.#env.emit({ kind: "frame", bytes: segmentFrame(this.#env.link, header, data) });
  }

  /**
   * What acknowledges another SYN than ours is of a connection that the guest takes this one for:
   * it is told to forget that (RFC 9293, sections 3.10.7.3 and 3.10.7.4). Ours lives on.
   */
  #refuse(segment: Segment): void {
    const { guestAddress: source, remoteAddress: target } = this.ends;
    this.#env.metrics.counters.tcpResetsSent++;
    this.#env.emit({ kind: "frame", bytes: resetFor(this.#env.link, { source, target }, segment) });
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
      sequence: this.#state === "connecting" ? 0 : this.#sender.end,
      acknowledgement: refusal ? seqAdd(this.#irs, 1) : this.#receiver.next,
      flags: FLAG.Rst | FLAG.Ack,
      window: 0,
    });
    this.#env.emit({ kind: "frame", bytes: frame });
  }

  // Both

  /** Reads from the host while there is room for what it sends. */
  #steerReading(): void {
    const most = this.#env.scarce() ? SCARCE_SEND_BYTES : SEND_BUFFER_BYTES;
    const least = Math.min(most, SEND_RESUME_BYTES);
    const on = this.#sender.bufferedBytes < (this.#reading ? most : least);
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
    this.#sender.retransmitAt = NEVER;
    this.#receiver.ackAt = NEVER;
    this.#keepAliveAt = NEVER;
    this.#endAt = NEVER;
    this.#env.onClosed(this);
  }
}
