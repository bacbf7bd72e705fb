/**
 * One simulated life of a machine on two hosts: migrations there and back, faults from a seed, and
 * what must hold after every millisecond. Everything follows from the seed.
 */
import { Prng } from "@dejavm/base";
import type { MigrationReport } from "@dejavm/source-agent";
import type { ModelOutput } from "./model.ts";
import { SimHost, type SimWorld } from "./sim-host.ts";
import { SimNetwork } from "./sim-network.ts";

/** What came out. */
export interface SimulationResult {
  readonly seed: number;
  readonly outcomes: readonly string[];
  readonly moves: number;
  readonly faults: readonly string[];
  readonly virtualMs: number;
}

/** Faults stop after this; then things must heal. */
const TROUBLE_MS = 6000;
/** They must be healed by then. */
const HEALED_MS = 60_000;
/** Inputs come this often. */
const INPUT_MS = 23;

/** Something that must never happen did. */
class Violation extends Error {
  override readonly name = "Violation";
}

/** See the head of this file. */
export class Simulation {
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #network: SimNetwork;
  readonly #hosts: readonly [SimHost, SimHost];
  readonly #outcomes: string[] = [];
  readonly #faults: string[] = [];
  /** Inputs whose echo was seen outside. */
  readonly #acknowledged: number[] = [];
  /** Values that were seen, by place. */
  readonly #seen = new Map<string, number>();
  #lastSeen = 0;
  #nextInput = 1;
  #moves = 0;
  #now = 0;
  readonly #crashAt: { readonly name: string; readonly count: number } | undefined;
  #failPoints = 0;
  #restarts: { readonly at: number; readonly host: SimHost }[] = [];

  constructor(seed: number) {
    this.#seed = seed;
    this.#prng = new Prng(seed);
    const prng = this.#prng;
    this.#network = new SimNetwork(prng, prng.pick([2, 5, 20, 40]));
    const world: SimWorld = {
      network: this.#network,
      prng,
      outputs: (host, outputs) => this.#outputs(host, outputs),
      finished: (report) => this.#finished(report),
      failPoint: (host, name) => this.#failPoint(host, name),
    };
    const conditions = () => ({
      replaySpeed: prng.pick([5, 10, 18, 30, 60, 200]),
      ifNotConverging: prng.pick(["slow", "copy", "cancel"] as const),
      wrongAt: prng.oneIn(12) ? 2000 + prng.below(20_000) : undefined,
      writeMs: prng.pick([0, 0, 1, 8]),
      fullUntil: prng.oneIn(8) ? prng.below(3000) : 0,
      unpackMs: prng.pick([0, 2, 20]),
    });
    this.#hosts = [
      new SimHost("a", "b", world, conditions()),
      new SimHost("b", "a", world, conditions()),
    ];
    if (prng.oneIn(3)) this.#crashAt = { name: "", count: 1 + prng.below(8) };
  }

  /** Throws `Violation`. */
  run(): SimulationResult {
    const [a] = this.#hosts;
    a.powerOn();
    const trouble = this.#plan();
    for (this.#now = 1; this.#now < HEALED_MS; this.#now++) {
      for (const fault of trouble) if (fault.at === this.#now) fault.action();
      this.#restart();
      this.#step();
      if (this.#now > TROUBLE_MS && this.#now % 50 === 0 && this.#isHealed()) break;
    }
    this.#checkEnd();
    return {
      seed: this.#seed,
      outcomes: this.#outcomes,
      moves: this.#moves,
      faults: this.#faults,
      virtualMs: this.#now,
    };
  }

  #step(): void {
    const now = this.#now;
    this.#network.advance(now);
    for (const host of this.#hosts) host.advance(now);
    const live = this.#hosts.filter((host) => host.isLive);
    if (live.length > 1) throw new Violation(`two live machines at ${now} ms`);
    if (now % INPUT_MS === 0) live[0]?.vm?.input(this.#nextInput++);
    if (now % 300 === 0 && now < TROUBLE_MS) {
      for (const host of live) if (host.source === undefined) this.#maybeMigrate(host);
    }
  }

  #maybeMigrate(host: SimHost): void {
    if (this.#prng.oneIn(3)) host.migrate();
  }

  #plan(): { readonly at: number; readonly action: () => void }[] {
    const prng = this.#prng;
    const faults: { at: number; action: () => void }[] = [];
    const at = (ms: number, name: string, action: () => void) => {
      faults.push({
        at: ms,
        action: () => {
          this.#faults.push(`${ms} ${name}`);
          action();
        },
      });
    };
    for (let n = prng.below(6); n > 0; n--) {
      const start = 50 + prng.below(TROUBLE_MS - 100);
      const host = prng.pick(this.#hosts);
      const kind = prng.pick(["break", "cut", "hole", "crash", "cancel"] as const);
      const length = prng.pick([20, 200, 1500, 7500]);
      switch (kind) {
        case "break":
          at(start, "break", () => this.#network.breakAll());
          break;
        case "cut":
          at(start, `cut ${length}`, () => {
            this.#network.isCut = true;
            this.#network.breakAll();
          });
          at(start + length, "mend", () => {
            this.#network.isCut = false;
          });
          break;
        case "hole":
          at(start, `hole ${length}`, () => {
            this.#network.isCut = true;
          });
          at(start + length, "mend", () => {
            this.#network.isCut = false;
          });
          break;
        case "crash":
          at(start, `crash ${host.name}`, () => {
            if (host.isUp) this.#crash(host, length);
          });
          break;
        case "cancel":
          at(start, "cancel", () => host.cancel());
          break;
      }
    }
    return faults;
  }

  #crash(host: SimHost, downMs: number): void {
    host.crash();
    this.#restarts.push({ at: this.#now + downMs, host });
  }

  #failPoint(host: SimHost, name: string): void {
    this.#failPoints++;
    if (this.#crashAt?.count !== this.#failPoints) return;
    this.#faults.push(`${this.#now} crash ${host.name} ${name}`);
    this.#crash(host, this.#prng.pick([20, 500, 3000]));
  }

  #outputs(host: SimHost, outputs: readonly ModelOutput[]): void {
    if (host.vm?.mode !== "live" || !host.isUp) {
      throw new Violation(`output of a machine that is not live, at ${this.#now} ms`);
    }
    for (const { position, echo, value } of outputs) {
      const key = `${position} ${echo ?? ""}`;
      const seen = this.#seen.get(key);
      if (seen !== undefined)
        throw new Violation(`output at ${position} twice (${value}, ${seen})`);
      if (position < this.#lastSeen) throw new Violation(`output at ${position} out of order`);
      this.#seen.set(key, value);
      this.#lastSeen = position;
      if (echo !== undefined) this.#acknowledged.push(echo);
    }
  }

  #finished(report: MigrationReport): void {
    const { outcome } = report;
    if (outcome.kind === "moved") this.#moves++;
    const moved = `moved by ${report.endedBy}`;
    const stayed = outcome.kind === "stayed" ? `${outcome.phase} ${outcome.code}` : outcome.kind;
    this.#outcomes.push(outcome.kind === "moved" ? moved : stayed);
  }

  #restart(): void {
    const due = this.#restarts.filter(({ at }) => at <= this.#now);
    if (due.length === 0) return;
    this.#restarts = this.#restarts.filter(({ at }) => at > this.#now);
    for (const { host } of due) host.restart();
  }

  #isHealed(): boolean {
    const settled = this.#hosts.every((host) => host.isUp && host.source === undefined);
    return settled && this.#hosts.filter((host) => host.isLive).length === 1;
  }

  #checkEnd(): void {
    const live = this.#hosts.filter((host) => host.isLive);
    if (live.length !== 1) {
      const [a, b] = this.#hosts.map((host) => host.describe());
      const faults = this.#faults.join("; ");
      throw new Violation(`${live.length} live machines in the end: ${faults}\n${a}\n${b}`);
    }
    const inputs = new Set(live[0]?.vm?.state.inputs);
    const lost = this.#acknowledged.filter((input) => !inputs.has(input));
    if (lost.length > 0) throw new Violation(`acknowledged inputs lost: ${lost.join(" ")}`);
  }
}
