/**
 * Two links and the path between them on an invented clock: delay, a rate with one queue for all
 * connections, cuts. Deterministic.
 */

import { decodeFrame, type Message } from "../frame.ts";
import { PROTOCOL_VERSIONS } from "../limits.ts";
import { Link } from "../link.ts";
import { DEFAULT_LINK_TIMES, type LinkOptions, type Peer } from "../link-types.ts";

/** How the path behaves. */
export interface PathOptions {
  readonly oneWayMs: number;
  /** Bytes per millisecond in each direction. */
  readonly bytesPerMs: number;
}

interface Flight {
  readonly at: number;
  readonly to: "a" | "b";
  readonly connection: number;
  readonly bytes: Uint8Array;
}

/** What one side has seen. */
export interface Side {
  link: Link;
  readonly delivered: { readonly message: Message; readonly at: number }[];
  readonly events: string[];
  peer: Peer | undefined;
}

/** Side `a` dials. */
export class LinkPair {
  now = 0;
  readonly a: Side;
  readonly b: Side;
  /** While true nothing arrives and nobody can connect. */
  cut = false;
  /** Messages that went over the path, both ways. */
  readonly carried: {
    readonly from: "a" | "b";
    readonly bytes: Uint8Array;
    readonly at: number;
  }[] = [];
  readonly #path: PathOptions;
  #flights: Flight[] = [];
  readonly #busyUntil = { a: 0, b: 0 };
  readonly #open = new Set<number>();
  #nextConnection = 1;

  constructor(path: PathOptions, options: Partial<LinkOptions> = {}) {
    this.#path = path;
    const make = (role: "dialer" | "listener"): Side => ({
      link: new Link({
        role,
        link: "link-1",
        agent: role,
        capabilities: ["x", role],
        versions: PROTOCOL_VERSIONS,
        bulkChannels: 1,
        maxBytesPerMs: Number.POSITIVE_INFINITY,
        times: DEFAULT_LINK_TIMES,
        now: 0,
        ...options,
      }),
      delivered: [],
      events: [],
      peer: undefined,
    });
    this.a = make("dialer");
    this.b = make("listener");
  }

  /** Lets time pass until `until`, doing everything that comes up. */
  run(until: number): void {
    for (;;) {
      this.#drain();
      const next = this.#nextTime();
      if (next === undefined || next > until) break;
      this.now = Math.max(this.now, next);
      this.#arrive();
      for (const side of [this.a, this.b]) {
        const due = side.link.wakeAt;
        if (due !== undefined && due <= this.now) side.link.handle({ kind: "time" }, this.now);
      }
    }
    this.now = until;
  }

  /** Every connection breaks; what is under way is lost. */
  breakConnections(): void {
    this.#flights = [];
    for (const connection of this.#open) {
      this.a.link.handle({ kind: "disconnected", connection }, this.now);
      this.b.link.handle({ kind: "disconnected", connection }, this.now);
    }
    this.#open.clear();
  }

  /** Bytes that wait for the path from `a` to `b`, as delay in milliseconds. */
  get queueMs(): number {
    return Math.max(0, this.#busyUntil.a - this.now);
  }

  #nextTime(): number | undefined {
    const times = [
      this.cut ? undefined : this.#flights[0]?.at,
      this.a.link.wakeAt,
      this.b.link.wakeAt,
    ].filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  #arrive(): void {
    // What a cut holds up arrives afterwards, as TCP repeats it, if its connection still is.
    while (!this.cut && this.#flights[0] !== undefined && this.#flights[0].at <= this.now) {
      const flight = this.#flights.shift();
      if (flight === undefined || !this.#open.has(flight.connection)) continue;
      const { connection, bytes } = flight;
      const side = flight.to === "a" ? this.a : this.b;
      const first = bytes[0] === 1 && flight.to === "b" ? decodeFrame(bytes) : undefined;
      if (first?.kind === "hello") {
        side.link.handle({ kind: "attach", connection, hello: first }, this.now);
      } else side.link.handle({ kind: "received", connection, bytes }, this.now);
      this.#drain();
    }
  }

  #drain(): void {
    for (const name of ["a", "b"] as const) {
      const side = this[name];
      for (let action = side.link.poll(); action !== undefined; action = side.link.poll()) {
        switch (action.kind) {
          case "dial":
            this.#dial(side, action.channel);
            break;
          case "write":
            this.#write(name, action.connection, action.bytes);
            break;
          case "close":
            this.#close(name, action.connection, action.code);
            break;
          case "deliver":
            side.delivered.push({ message: action.message, at: this.now });
            break;
          case "up":
            side.peer = action.peer;
            side.events.push("up");
            break;
          case "down":
            side.events.push("down");
            break;
          case "lost":
            side.events.push(`lost ${action.error.code}`);
            break;
        }
      }
    }
  }

  #dial(side: Side, channel: number): void {
    if (this.cut) return side.link.handle({ kind: "dial-failed", channel }, this.now);
    const connection = this.#nextConnection++;
    this.#open.add(connection);
    side.link.handle({ kind: "connected", channel, connection }, this.now);
  }

  #write(from: "a" | "b", connection: number, bytes: Uint8Array): void {
    if (!this.#open.has(connection)) return;
    this.carried.push({ from, bytes, at: this.now });
    const start = Math.max(this.now, this.#busyUntil[from]);
    this.#busyUntil[from] = start + bytes.length / this.#path.bytesPerMs;
    const at = this.#busyUntil[from] + this.#path.oneWayMs;
    const flight: Flight = { at, to: from === "a" ? "b" : "a", connection, bytes };
    const after = this.#flights.findLastIndex((other) => other.at <= at);
    this.#flights.splice(after + 1, 0, flight);
  }

  #close(from: "a" | "b", connection: number, code: number): void {
    if (!this.#open.delete(connection)) return;
    const other = from === "a" ? this.b : this.a;
    other.link.handle({ kind: "disconnected", connection, code }, this.now);
  }
}
