/**
 * One direction of a path: every connection's bytes through one router queue and one bottleneck,
 * then along the wire. Sans-IO: time is an argument, in milliseconds, and never runs backwards.
 *
 * ```
 *  offer --> waiting (one per flow) --> queue (one, FIFO) --> bottleneck --> wire --> poll
 *              read no further          queueBytes at most     rateMbit       delayMs + jitter
 * ```
 *
 * Nothing is dropped. A router that is full makes TCP senders wait; here the flow's next bytes
 * stay where they are until there is room, and flows get room in turn. So a sender that keeps the
 * queue full delays everybody on the path by the whole queue, as it would outside.
 */
import { assert, type Prng } from "@dejavm/base";
import { Fifo } from "./fifo.ts";
import { bytesPerMs, type LinkConditions, queueLimit } from "./profile.ts";

/** What left a link: bytes, the end of a stream, or its abort, in the order they were offered. */
export interface Delivery {
  readonly flow: number;
  readonly what: Payload;
}

/** What travels. `fin`: no more bytes; `reset`: the connection is gone. */
export type Payload = Uint8Array | "fin" | "reset";

/** Segments are as long as the bottleneck takes for about this. */
const SEGMENT_MS = 1;
const MIN_SEGMENT_BYTES = 1448;
const MAX_SEGMENT_BYTES = 64 * 1024;
/**
 * A sender is read so far ahead of its turns, as if its socket's buffer were that much longer: a
 * host that is late by a few milliseconds costs no rate.
 */
const READ_AHEAD_MS = 8;
/** Least window of a flow, as receivers offer it. */
const MIN_WINDOW_BYTES = 4 * 1024 * 1024;

interface Segment {
  readonly flow: Flow;
  readonly what: Payload;
}

interface Flying {
  readonly what: Payload;
  readonly dueMs: number;
}

interface Flow {
  readonly id: number;
  /** Nothing enters before this: the connection is being made. */
  readonly readyMs: number;
  readonly waiting: Fifo<Payload>;
  waitingBytes: number;
  /** On the wire, by time. */
  readonly flying: Fifo<Flying>;
  /** Admitted and not yet taken by the receiver. */
  insideBytes: number;
  lastDueMs: number;
  closed: boolean;
}

/** What a link has done and holds. */
export interface LinkStatistics {
  readonly deliveredBytes: number;
  readonly queuedBytes: number;
  readonly queuedBytesMax: number;
  readonly stalledSegments: number;
}

/** See the head of this file. */
export class Link {
  #conditions: LinkConditions;
  readonly #prng: Prng;
  readonly #flows = new Map<number, Flow>();
  /** In order of their turns; the first gets room next. */
  #turns: Flow[] = [];
  readonly #queue = new Fifo<Segment>();
  /** When the bottleneck has sent the head of the queue. */
  #headDoneMs = 0;
  #queuedBytes = 0;
  #queuedBytesMax = 0;
  #deliveredBytes = 0;
  #stalledSegments = 0;
  #stalledUntilMs = 0;
  #nowMs = 0;

  constructor(conditions: LinkConditions, prng: Prng) {
    this.#conditions = conditions;
    this.#prng = prng;
  }

  get statistics(): LinkStatistics {
    return {
      deliveredBytes: this.#deliveredBytes,
      queuedBytes: this.#queuedBytes,
      queuedBytesMax: this.#queuedBytesMax,
      stalledSegments: this.#stalledSegments,
    };
  }

  /** New conditions from `nowMs` on; what is on the wire is past them. */
  setConditions(conditions: LinkConditions, nowMs: number): void {
    this.#advance(nowMs);
    const fromMs = Math.max(nowMs, this.#stalledUntilMs);
    const leftMs = Math.max(0, this.#headDoneMs - fromMs);
    const slower = this.#conditions.rateMbit / conditions.rateMbit;
    if (leftMs > 0) this.#headDoneMs = fromMs + leftMs * slower;
    this.#conditions = conditions;
    this.#admit();
  }

  /** Nothing leaves the bottleneck until then. */
  stall(nowMs: number, untilMs: number): void {
    this.#advance(nowMs);
    const more = Math.max(0, untilMs - Math.max(nowMs, this.#stalledUntilMs));
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, untilMs);
    this.#headDoneMs = Math.max(nowMs, this.#headDoneMs) + more;
  }

  /** A connection, which carries nothing before `readyMs`. */
  open(flow: number, readyMs: number): void {
    assert(!this.#flows.has(flow), "a flow is opened once");
    const opened: Flow = {
      id: flow,
      readyMs,
      waiting: new Fifo(),
      waitingBytes: 0,
      flying: new Fifo(),
      insideBytes: 0,
      lastDueMs: 0,
      closed: false,
    };
    this.#flows.set(flow, opened);
    this.#turns.push(opened);
  }

  /** Forgets a connection and what it has on the way. */
  close(flow: number): void {
    const closing = this.#flows.get(flow);
    if (closing === undefined) return;
    closing.closed = true;
    this.#flows.delete(flow);
    this.#turns = this.#turns.filter((turn) => turn !== closing);
  }

  /** Takes what the sender wrote. The sender is not to be read further until `hungry`. */
  offer(flow: number, what: Payload, nowMs: number): void {
    const offering = this.#flows.get(flow);
    if (offering === undefined) return;
    this.#advance(nowMs);
    offering.waiting.push(what);
    offering.waitingBytes += sizeOf(what);
    this.#admit();
  }

  /** True while the sender may be read. */
  hungry(flow: number): boolean {
    const waitingBytes = this.#flows.get(flow)?.waitingBytes ?? 0;
    return waitingBytes <= READ_AHEAD_MS * bytesPerMs(this.#conditions.rateMbit);
  }

  /** The receiver has taken so many delivered bytes: its window opens. */
  taken(flow: number, bytes: number, nowMs: number): void {
    const taking = this.#flows.get(flow);
    if (taking === undefined) return;
    this.#advance(nowMs);
    taking.insideBytes -= bytes;
    this.#admit();
  }

  /** What has arrived by now. */
  poll(nowMs: number): Delivery[] {
    this.#advance(nowMs);
    const deliveries: Delivery[] = [];
    for (const { id, flying } of this.#flows.values()) {
      for (let head = flying.peek(); head !== undefined && head.dueMs <= nowMs; ) {
        deliveries.push({ flow: id, what: head.what });
        this.#deliveredBytes += sizeOf(head.what);
        flying.shift();
        head = flying.peek();
      }
    }
    return deliveries;
  }

  /** When something happens next without anybody's doing; undefined: nothing will. */
  nextMs(): number | undefined {
    let next = this.#nextInsideMs();
    for (const { flying } of this.#flows.values()) {
      next = Math.min(next, flying.peek()?.dueMs ?? Infinity);
    }
    return next === Infinity ? undefined : next;
  }

  /**
   * Lets the bottleneck work up to `nowMs`. Room is taken when it is made and connections start
   * when they are ready, not when somebody looks: rates and times do not depend on timers.
   */
  #advance(nowMs: number): void {
    for (let atMs = this.#nextInsideMs(); atMs <= nowMs; atMs = this.#nextInsideMs()) {
      this.#nowMs = Math.max(this.#nowMs, atMs);
      if (this.#queue.length > 0 && this.#headDoneMs <= atMs) this.#finishHead();
      this.#admit();
    }
    this.#nowMs = Math.max(this.#nowMs, nowMs);
  }

  /** When the bottleneck is done with a segment, or a connection that waits is ready. */
  #nextInsideMs(): number {
    let next = this.#queue.length === 0 ? Infinity : this.#headDoneMs;
    for (const { waiting, readyMs } of this.#turns) {
      if (waiting.length > 0 && readyMs > this.#nowMs) next = Math.min(next, readyMs);
    }
    return next;
  }

  #finishHead(): void {
    const doneMs = this.#headDoneMs;
    const segment = this.#queue.shift();
    assert(segment !== undefined, "the bottleneck works on a segment");
    this.#queuedBytes -= sizeOf(segment.what);
    this.#launch(segment, doneMs);
    this.#startHead(doneMs);
  }

  #launch({ flow, what }: Segment, doneMs: number): void {
    if (flow.closed) return;
    const { delayMs, jitterMs, stalledShare, stallMs } = this.#conditions;
    let dueMs = doneMs + delayMs;
    if (jitterMs > 0) dueMs += (this.#prng.below(1_000_000) / 1_000_000) * jitterMs;
    if (stalledShare > 0 && this.#prng.below(1_000_000) < stalledShare * 1_000_000) {
      dueMs += stallMs;
      this.#stalledSegments++;
    }
    flow.lastDueMs = Math.max(flow.lastDueMs, dueMs);
    flow.flying.push({ what, dueMs: flow.lastDueMs });
  }

  #startHead(fromMs: number): void {
    const head = this.#queue.peek();
    if (head === undefined) return;
    const startMs = Math.max(fromMs, this.#stalledUntilMs);
    this.#headDoneMs = startMs + sizeOf(head.what) / bytesPerMs(this.#conditions.rateMbit);
  }

  /** Moves waiting bytes into the queue, a segment of each flow in turn, while there is room. */
  #admit(): void {
    let passed = 0;
    while (passed < this.#turns.length) {
      const flow = this.#turns.shift();
      if (flow === undefined) return;
      const admitted = this.#admitOne(flow);
      if (admitted === "full") {
        this.#turns.unshift(flow);
        return;
      }
      this.#turns.push(flow);
      passed = admitted === "admitted" ? 0 : passed + 1;
    }
  }

  #admitOne(flow: Flow): "admitted" | "nothing" | "full" {
    const next = flow.waiting.peek();
    if (next === undefined || flow.readyMs > this.#nowMs) return "nothing";
    const limit = queueLimit(this.#conditions);
    const segmentBytes = this.#segmentBytes();
    const bytes = Math.min(sizeOf(next), segmentBytes);
    if (flow.insideBytes > 0 && flow.insideBytes + bytes > this.#windowBytes()) return "nothing";
    // A queue that is shorter than a segment still takes one.
    if (this.#queuedBytes > 0 && this.#queuedBytes + bytes > limit) return "full";
    this.#enqueue({ flow, what: takeFront(flow.waiting, segmentBytes) });
    return "admitted";
  }

  #enqueue(segment: Segment): void {
    const bytes = sizeOf(segment.what);
    this.#queue.push(segment);
    this.#queuedBytes += bytes;
    this.#queuedBytesMax = Math.max(this.#queuedBytesMax, this.#queuedBytes);
    segment.flow.waitingBytes -= bytes;
    segment.flow.insideBytes += bytes;
    if (this.#queue.length === 1) this.#startHead(this.#nowMs);
  }

  #segmentBytes(): number {
    const bytes = Math.round(SEGMENT_MS * bytesPerMs(this.#conditions.rateMbit));
    return Math.min(MAX_SEGMENT_BYTES, Math.max(MIN_SEGMENT_BYTES, bytes));
  }

  /** What a receiver that reads at once never feels: two round trips and the queue. */
  #windowBytes(): number {
    const { delayMs, jitterMs, stallMs, rateMbit } = this.#conditions;
    const pathMs = 2 * (2 * delayMs + jitterMs + stallMs);
    const path = pathMs * bytesPerMs(rateMbit) + queueLimit(this.#conditions);
    return Math.max(MIN_WINDOW_BYTES, path);
  }
}

function sizeOf(what: Payload): number {
  return typeof what === "string" ? 0 : what.length;
}

/** Takes up to `maxBytes` of the first item; the rest of it stays first. */
function takeFront(waiting: Fifo<Payload>, maxBytes: number): Payload {
  const first = waiting.shift();
  assert(first !== undefined, "something waits");
  if (typeof first === "string" || first.length <= maxBytes) return first;
  waiting.unshift(first.subarray(maxBytes));
  return first.subarray(0, maxBytes);
}
