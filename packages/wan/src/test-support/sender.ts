/** Senders and receivers on an invented clock: what sockets do to a link, without sockets. */
import type { Link, Payload } from "../link.ts";

/** Bytes that arrived, and when. */
export interface Arrival {
  readonly flow: number;
  readonly atMs: number;
  readonly what: Payload;
}

/** Offers in flows, each when the link will read it; receivers take at once unless deafened. */
export class Senders {
  readonly arrivals: Arrival[] = [];
  readonly #link: Link;
  readonly #toSend = new Map<number, Payload[]>();
  readonly #deaf = new Set<number>();
  #nowMs: number;

  constructor(link: Link, nowMs = 0) {
    this.#link = link;
    this.#nowMs = nowMs;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** This flow's receiver takes nothing from now on. */
  deafen(flow: number): void {
    this.#deaf.add(flow);
  }

  send(flow: number, ...payloads: readonly Payload[]): void {
    this.#toSend.set(flow, [...(this.#toSend.get(flow) ?? []), ...payloads]);
    this.#feed();
  }

  /** Payloads that were not read yet. */
  unread(flow: number): number {
    return this.#toSend.get(flow)?.length ?? 0;
  }

  /** Goes from event to event, at most to `untilMs`. */
  run(untilMs: number): void {
    for (;;) {
      const nextMs = this.#link.nextMs() ?? Infinity;
      if (nextMs > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, nextMs);
      this.#receive();
    }
    this.#nowMs = untilMs;
    this.#receive();
  }

  /** Wakes only every `periodMs`, as a coarse timer does. */
  runInSteps(untilMs: number, periodMs: number): void {
    while (this.#nowMs < untilMs) {
      this.#nowMs = Math.min(untilMs, this.#nowMs + periodMs);
      this.#receive();
    }
  }

  #receive(): void {
    for (const { flow, what } of this.#link.poll(this.#nowMs)) {
      this.arrivals.push({ flow, atMs: this.#nowMs, what });
      if (typeof what === "string" || this.#deaf.has(flow)) continue;
      this.#link.taken(flow, what.length, this.#nowMs);
    }
    this.#feed();
  }

  #feed(): void {
    for (const [flow, payloads] of this.#toSend) {
      while (this.#link.hungry(flow)) {
        const next = payloads.shift();
        if (next === undefined) break;
        this.#link.offer(flow, next, this.#nowMs);
      }
    }
  }
}

/** Bytes in `arrivals` of a flow. */
export function bytesOf(arrivals: readonly Arrival[], flow: number): number {
  let bytes = 0;
  for (const arrival of arrivals) {
    if (arrival.flow === flow && typeof arrival.what !== "string") bytes += arrival.what.length;
  }
  return bytes;
}

/** So many blocks of 64 KiB, all the same. */
export function blocks(count: number): Uint8Array[] {
  return Array<Uint8Array>(count).fill(new Uint8Array(64 * 1024));
}
