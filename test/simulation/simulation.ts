/**
 * One simulated life of a machine on two hosts: migrations there and back, faults from a seed, and
 * what must hold after every millisecond (invariants.ts). In a third of them one host turns hostile
 * (mischief.ts). Everything follows from the seed.
 */
import { Prng } from "@dejavm/base";
import type { MigrationReport } from "@dejavm/source-agent";
import { Invariants } from "./invariants.ts";
import { MISCHIEF, Mischief, type MischiefKind } from "./mischief.ts";
import { SimHost } from "./sim-host.ts";
import { SimNetwork } from "./sim-network.ts";
import type { Defect, SimConditions, SimWorld } from "./sim-types.ts";

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
/** A hostile peer is there for so long; one that only stalls must be given up meanwhile. */
const HARM_MS = 9000;
const STALL_MS = 45_000;
/** A person looks at what is in doubt so long after the hostile peer has gone for good. */
const SETTLE_MS = 3000;

/** What a simulation is made with beside its seed, which decides what is not given. */
export interface SimulationOptions {
  /** A rule that the hosts break, to see that it shows. */
  readonly defect?: Defect;
  readonly mischief?: MischiefKind | "none";
}

interface Fault {
  readonly at: number;
  readonly action: () => void;
}

/** See the head of this file. */
export class Simulation {
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #network: SimNetwork;
  readonly #hosts: readonly [SimHost, SimHost];
  readonly #invariants = new Invariants(
    (host) => this.#isHostile(host),
    (host) => this.#isHostile(host) && this.#hostile?.mischief.hasDenied === true,
  );
  readonly #outcomes: string[] = [];
  readonly #faults: string[] = [];
  readonly #hostile: { readonly name: string; readonly mischief: Mischief } | undefined;
  /** A host dies at that named place, and before that action. */
  readonly #crashAtPoint: number | undefined;
  readonly #crashAtStep: number | undefined;
  #points = 0;
  #steps = 0;
  #nextInput = 1;
  #moves = 0;
  #now = 0;
  #restarts: { readonly at: number; readonly host: SimHost }[] = [];

  constructor(seed: number, { defect, mischief }: SimulationOptions = {}) {
    this.#seed = seed;
    this.#prng = new Prng(seed);
    const prng = this.#prng;
    this.#network = new SimNetwork(prng, prng.pick([2, 5, 20, 40]));
    this.#network.repeats = prng.oneIn(2);
    const world = this.#world(defect);
    const isWrong = defect === "compares no digests";
    this.#hosts = [
      new SimHost("a", "b", world, this.#conditions(isWrong)),
      new SimHost("b", "a", world, this.#conditions(isWrong)),
    ];
    if (prng.oneIn(3)) this.#crashAtPoint = 1 + prng.below(8);
    if (prng.oneIn(4)) this.#crashAtStep = 1 + prng.below(4000);
    const kind = prng.oneIn(3) ? prng.pick(MISCHIEF) : "none";
    const wanted = mischief ?? kind;
    if (wanted === "none") return;
    this.#hostile = { name: prng.pick(["a", "b"]), mischief: new Mischief(wanted, prng) };
    this.#network.hostile = { host: this.#hostile.name, mischief: this.#hostile.mischief };
  }

  /** Throws `Violation`, and whatever an honest host throws. */
  run(): SimulationResult {
    const [a] = this.#hosts;
    a.powerOn();
    const trouble = [...this.#plan(), ...this.#harm()];
    for (this.#now = 1; this.#now < HEALED_MS; this.#now++) {
      for (const fault of trouble) if (fault.at === this.#now) fault.action();
      this.#restart();
      this.#step();
      if (this.#now > this.#troubleMs && this.#now % 50 === 0 && this.#isHealed()) break;
    }
    this.#invariants.end(this.#hosts, this.story);
    return {
      seed: this.#seed,
      outcomes: this.#outcomes,
      moves: this.#moves,
      faults: this.#faults,
      virtualMs: this.#now,
    };
  }

  /** The faults so far, for who looks at a failure. */
  get story(): string {
    return this.#faults.join("; ");
  }

  #world(defect: Defect | undefined): SimWorld {
    const invariants = this.#invariants;
    return {
      network: this.#network,
      prng: this.#prng,
      defect,
      outputs: (host, outputs) => invariants.outputs(host, outputs, this.#now),
      frozen: (host, state) => invariants.frozen(host, state),
      cameLive: (host, state) => invariants.cameLive(host, state, this.#isAnyHostile),
      passedOn: (host, input) => invariants.passedOn(host, input, this.#isAnyHostile),
      received: (host, outcome) => invariants.received(host, outcome),
      finished: (host, report) => this.#finished(host, report),
      failPoint: (host, name) => {
        if (++this.#points === this.#crashAtPoint) this.#crashNow(host, name);
      },
      step: (host) => {
        if (++this.#steps === this.#crashAtStep) this.#crashNow(host, "at a step");
      },
    };
  }

  #conditions(isWrong: boolean): SimConditions {
    const prng = this.#prng;
    return {
      replaySpeed: prng.pick([5, 10, 18, 30, 60, 200]),
      ifNotConverging: prng.pick(["slow", "copy", "cancel"] as const),
      wrongAt: prng.oneIn(6) || isWrong ? 2000 + prng.below(80_000) : undefined,
      writeMs: prng.pick([0, 0, 1, 8]),
      fullUntil: prng.oneIn(8) ? prng.below(3000) : 0,
      unpackMs: prng.pick([0, 2, 20]),
    };
  }

  #step(): void {
    const now = this.#now;
    this.#network.advance(now);
    for (const host of this.#hosts) this.#guarded(host, () => host.advance(now));
    this.#invariants.step(this.#hosts, now);
    const live = this.#hosts.filter((host) => host.isLive);
    if (now % INPUT_MS === 0) this.#input(this.#owner(live));
    if (now % 300 === 0 && now < this.#troubleMs) {
      for (const host of live) if (host.source === undefined) this.#maybeMigrate(host);
    }
  }

  #input(owner: SimHost | undefined): void {
    if (owner?.vm === undefined) return;
    const input = this.#nextInput++;
    this.#invariants.given(owner, input);
    owner.vm.input(input);
  }

  /** Whoever has the guest's cable: where it runs, or stands still at F. */
  #owner(live: readonly SimHost[]): SimHost | undefined {
    const honest = live.find((host) => !this.#isHostile(host));
    const frozen = this.#hosts.find((host) => host.isUp && host.vm?.mode === "frozen");
    return honest ?? live[0] ?? frozen;
  }

  #maybeMigrate(host: SimHost): void {
    if (this.#prng.oneIn(3)) this.#guarded(host, () => host.migrate());
  }

  #plan(): readonly Fault[] {
    const prng = this.#prng;
    const faults: Fault[] = [];
    const at = (ms: number, name: string, action: () => void): void => {
      faults.push({ at: ms, action: () => this.#fault(name, action) });
    };
    for (let n = prng.below(6); n > 0; n--) {
      const start = 50 + prng.below(TROUBLE_MS - 100);
      const host = prng.pick(this.#hosts);
      const kind = prng.pick(["break", "cut", "cut-at-byte", "hole", "crash", "cancel"] as const);
      const length = prng.pick([20, 200, 1500, 7500]);
      const mend = (): void => {
        this.#network.isCut = false;
      };
      switch (kind) {
        case "break":
          at(start, "break", () => this.#network.breakAll());
          break;
        case "cut-at-byte": {
          const bytes = prng.below(20_000);
          at(start, `cut after ${bytes} bytes`, () => this.#network.cutAfter(bytes));
          break;
        }
        case "cut":
          at(start, `cut ${length}`, () => {
            this.#network.isCut = true;
            this.#network.breakAll();
          });
          at(start + length, "mend", mend);
          break;
        case "hole":
          at(start, `hole ${length}`, () => {
            this.#network.isCut = true;
          });
          at(start + length, "mend", mend);
          break;
        case "crash":
          at(start, `crash ${host.name}`, () => this.#crash(host, length));
          break;
        case "cancel":
          at(start, "cancel", () => host.cancel());
          break;
      }
    }
    return faults;
  }

  /** What the hostile peer does, when, and what is done about it in the end. */
  #harm(): readonly Fault[] {
    const host = this.#hosts.find(({ name }) => name === this.#hostile?.name);
    if (host === undefined || this.#hostile === undefined) return [];
    const { mischief } = this.#hostile;
    const prng = this.#prng;
    const start = 50 + prng.below(TROUBLE_MS);
    let owned = -1;
    const begin = (): void =>
      this.#fault(`${host.name} turns hostile: ${mischief.kind}`, () => {
        const { state, epoch } = host.store.ownership.at(-1) ?? { state: "moved", epoch: -1 };
        if (state === "live") owned = epoch;
        mischief.isOn = true;
        this.#network.onBroken = () => this.#leave(host);
      });
    const faults: Fault[] = [{ at: start, action: begin }];
    for (let ms = start; mischief.kind === "offers" && ms < HARM_MS; ms += 200) {
      const epoch = prng.below(8);
      faults.push({ at: ms, action: () => this.#guarded(host, () => host.claim(epoch)) });
    }
    const gone = this.#troubleMs;
    faults.push({ at: gone, action: () => this.#fault("it is gone", () => this.#leave(host)) });
    const settle = (): void => {
      // What it got while it was honest it has; nothing that it did since counts.
      const honest = this.#hosts.find((other) => other !== host);
      const offered = honest?.store.ownership.at(-1)?.epoch;
      honest?.settle(offered === owned ? "there" : "here");
    };
    for (let ms = gone + SETTLE_MS; ms < HEALED_MS; ms += SETTLE_MS) {
      faults.push({ at: ms, action: settle });
    }
    return faults;
  }

  /** When nothing new happens any more. */
  get #troubleMs(): number {
    if (this.#hostile === undefined) return TROUBLE_MS;
    return this.#hostile.mischief.kind === "stall" ? STALL_MS : HARM_MS;
  }

  #isHostile(host: SimHost): boolean {
    return host.name === this.#hostile?.name && this.#hostile.mischief.isOn;
  }

  get #isAnyHostile(): boolean {
    return this.#hosts.some((host) => this.#isHostile(host));
  }

  /** What goes wrong within a hostile host is nobody's business: it is gone then. */
  #guarded(host: SimHost, action: () => void): void {
    if (!this.#isHostile(host)) return action();
    try {
      action();
    } catch {
      this.#leave(host);
    }
  }

  #leave(host: SimHost): void {
    if (host.isUp) host.crash();
    this.#restarts = this.#restarts.filter((restart) => restart.host !== host);
  }

  #fault(name: string, action: () => void): void {
    this.#faults.push(`${this.#now} ${name}`);
    action();
  }

  #crashNow(host: SimHost, name: string): void {
    this.#fault(`crash ${host.name} ${name}`, () => {
      this.#crash(host, this.#prng.pick([20, 500, 3000]));
    });
  }

  #crash(host: SimHost, downMs: number): void {
    if (!host.isUp) return;
    host.crash();
    this.#restarts.push({ at: this.#now + downMs, host });
  }

  #finished(host: SimHost, report: MigrationReport): void {
    this.#invariants.sent(host, report);
    if (this.#isHostile(host)) return;
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
    for (const { host } of due) this.#guarded(host, () => host.restart());
  }

  #isHealed(): boolean {
    const honest = this.#hosts.filter((host) => !this.#isHostile(host));
    if (honest.length < this.#hosts.length) return honest.every((host) => host.isAtRest);
    const settled = honest.every((host) => host.isUp && host.source === undefined);
    return settled && honest.filter((host) => host.isLive).length === 1;
  }
}
