/**
 * A path between two sites: a link each way, the connections on it, and the script of what happens
 * to it. Sans-IO: the driver says what sockets did and when, and does what `poll` gives out.
 */
import { assert, Prng } from "@dejavm/base";
import { type Delivery, Link, type LinkStatistics, type Payload } from "./link.ts";
import {
  type ConditionChanges,
  DIRECTIONS,
  type Direction,
  type LinkConditions,
  type WanAction,
  type WanProfile,
  type WanStep,
} from "./profile.ts";

/** The two ends of a connection: `client` made it. */
export type End = "client" | "server";

/** What a new connection meets: the other site, a reset, or nothing at all. */
export type Reception = "dial" | "reset" | "swallow";

/** What the driver is to do, in this order. */
export type WanEvent =
  /** Hand this to the end that the direction leads to. */
  | ({ readonly kind: "deliver"; readonly direction: Direction } & Delivery)
  /** Reset the connection at that end, whatever was on the way. */
  | { readonly kind: "reset"; readonly flow: number; readonly end: End };

/** What has passed and waits. */
export interface WanStatistics {
  readonly connections: number;
  readonly open: number;
  readonly up: LinkStatistics;
  readonly down: LinkStatistics;
}

/** A connection; `kept` is the end that does not know yet that the other is gone. */
interface Connection {
  kept: End | undefined;
}

/** See the head of this file. */
export class WanPath {
  readonly #links: Readonly<Record<Direction, Link>>;
  readonly #conditions: Record<Direction, LinkConditions>;
  readonly #connections = new Map<number, Connection>();
  readonly #delivered: Record<Direction, number> = { up: 0, down: 0 };
  #timed: readonly WanStep[];
  #counted: readonly WanStep[];
  #events: WanEvent[] = [];
  #startMs: number | undefined;
  #connectionCount = 0;
  #cutUntilMs = 0;
  #swallowUntilMs = 0;

  /** `seed` decides jitter and which segments stall. */
  constructor(profile: WanProfile, seed: number) {
    this.#conditions = { up: profile.up, down: profile.down };
    this.#links = {
      up: new Link(profile.up, new Prng(seed)),
      down: new Link(profile.down, new Prng(seed ^ 0x5bd1e995)),
    };
    this.#timed = profile.script
      .filter(({ trigger }) => trigger.kind === "time")
      .toSorted((a, b) => timeOf(a) - timeOf(b));
    this.#counted = profile.script.filter(({ trigger }) => trigger.kind === "bytes");
  }

  get statistics(): WanStatistics {
    return {
      connections: this.#connectionCount,
      open: this.#connections.size,
      up: this.#links.up.statistics,
      down: this.#links.down.statistics,
    };
  }

  /** Somebody connects. `flow` is a number never used before. */
  connect(flow: number, nowMs: number): Reception {
    assert(!this.#connections.has(flow), "a flow is connected once");
    this.#startMs ??= nowMs;
    this.#runScript(nowMs);
    if (nowMs < this.#cutUntilMs) return "reset";
    this.#connectionCount++;
    const swallowed = nowMs < this.#swallowUntilMs;
    this.#connections.set(flow, { kept: swallowed ? "client" : undefined });
    if (swallowed) return "swallow";
    // The first byte may follow the third step of the handshake; the server hears that step first.
    const upMs = this.#conditions.up.delayMs;
    const downMs = this.#conditions.down.delayMs;
    this.#links.up.open(flow, nowMs + upMs + downMs);
    this.#links.down.open(flow, nowMs + upMs + downMs + upMs);
    return "dial";
  }

  /** An end wrote something, closed its sending side, or broke off. */
  offer(flow: number, direction: Direction, what: Payload, nowMs: number): void {
    this.#runScript(nowMs);
    if (this.#connections.get(flow)?.kept !== undefined) return;
    this.#links[direction].offer(flow, what, nowMs);
  }

  /** True while the end that sends in this direction may be read. */
  hungry(flow: number, direction: Direction): boolean {
    return this.#links[direction].hungry(flow);
  }

  /** The receiver took so many bytes of what was delivered. */
  taken(flow: number, direction: Direction, bytes: number, nowMs: number): void {
    this.#runScript(nowMs);
    this.#links[direction].taken(flow, bytes, nowMs);
  }

  /** Both ends are done with the connection. */
  close(flow: number): void {
    this.#connections.delete(flow);
    for (const direction of DIRECTIONS) this.#links[direction].close(flow);
  }

  /** Does to the path what a step of a script would. */
  perform(action: WanAction, nowMs: number): void {
    switch (action.kind) {
      case "set":
        for (const direction of DIRECTIONS) this.#change(direction, action[direction], nowMs);
        break;
      case "stall":
        for (const direction of action.directions) {
          this.#links[direction].stall(nowMs, nowMs + action.forMs);
        }
        break;
      case "cut":
        this.#cutUntilMs = Math.max(this.#cutUntilMs, nowMs + action.forMs);
        for (const [flow, { kept }] of this.#connections) {
          if (kept !== "server") this.#events.push({ kind: "reset", flow, end: "client" });
          if (kept !== "client") this.#events.push({ kind: "reset", flow, end: "server" });
          this.close(flow);
        }
        break;
      case "half-open":
        this.#swallowUntilMs = Math.max(this.#swallowUntilMs, nowMs + action.forMs);
        for (const [flow, connection] of this.#connections) {
          if (connection.kept !== undefined) continue;
          connection.kept = action.kept;
          const end = action.kept === "client" ? "server" : "client";
          this.#events.push({ kind: "reset", flow, end });
          for (const direction of DIRECTIONS) this.#links[direction].close(flow);
        }
        break;
    }
  }

  /** What has become due, in order of time for each connection and direction. */
  poll(nowMs: number): readonly WanEvent[] {
    this.#runScript(nowMs);
    this.#collect(nowMs);
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** When `poll` has something next; undefined: only when somebody does something. */
  nextMs(): number | undefined {
    const times = DIRECTIONS.map((direction) => this.#links[direction].nextMs());
    const [step] = this.#timed;
    if (step !== undefined && this.#startMs !== undefined) times.push(this.#startMs + timeOf(step));
    const next = Math.min(...times.map((time) => time ?? Infinity));
    return next === Infinity ? undefined : next;
  }

  /** What happened before a step comes out before it. */
  #runScript(nowMs: number): void {
    if (this.#startMs === undefined) return;
    for (;;) {
      const [step, ...later] = this.#timed;
      const atMs = step === undefined ? Infinity : this.#startMs + timeOf(step);
      if (step === undefined || atMs > nowMs) return;
      this.#timed = later;
      this.#collect(atMs);
      this.perform(step.action, atMs);
    }
  }

  #collect(nowMs: number): void {
    for (const direction of DIRECTIONS) {
      for (const { flow, what } of this.#links[direction].poll(nowMs)) {
        this.#deliver(flow, direction, what, nowMs);
      }
    }
  }

  /** Delivers up to the byte that a step waits for, performs the step, and goes on. */
  #deliver(flow: number, direction: Direction, what: Payload, nowMs: number): void {
    // A step on an earlier byte of this poll may have ended the connection.
    if (this.#connections.get(flow)?.kept !== undefined || !this.#connections.has(flow)) return;
    const step = this.#nextCounted(direction);
    const left = step === undefined ? Infinity : countOf(step) - this.#delivered[direction];
    if (typeof what === "string" || step === undefined || what.length < left) {
      if (typeof what !== "string") this.#delivered[direction] += what.length;
      this.#events.push({ kind: "deliver", direction, flow, what });
      return;
    }
    this.#counted = this.#counted.filter((other) => other !== step);
    this.#delivered[direction] += left;
    if (left > 0) {
      this.#events.push({ kind: "deliver", direction, flow, what: what.subarray(0, left) });
    }
    this.perform(step.action, nowMs);
    if (left < what.length) this.#deliver(flow, direction, what.subarray(left), nowMs);
  }

  #nextCounted(direction: Direction): WanStep | undefined {
    let first: WanStep | undefined;
    for (const step of this.#counted) {
      if (step.trigger.kind !== "bytes" || step.trigger.direction !== direction) continue;
      if (first === undefined || countOf(step) < countOf(first)) first = step;
    }
    return first;
  }

  #change(direction: Direction, changes: ConditionChanges, nowMs: number): void {
    this.#conditions[direction] = { ...this.#conditions[direction], ...changes };
    this.#links[direction].setConditions(this.#conditions[direction], nowMs);
  }
}

function timeOf({ trigger }: WanStep): number {
  return trigger.kind === "time" ? trigger.atMs : Infinity;
}

function countOf({ trigger }: WanStep): number {
  return trigger.kind === "bytes" ? trigger.bytes : Infinity;
}
