/**
 * Decides how a live machine follows the clock on the wall: how far to run, when to sleep, when to
 * give it a clock event. Sans-IO: host time is an argument, in ticks of 100 ns of any monotonic
 * clock. design.md section 3, Time.
 *
 * The pacer holds a *plan*: the virtual time that the machine should show at each host time. It
 * is the ideal line (one tick per tick), approached from where the machine was when it last fell
 * off, at most 10 % faster or slower. A busy machine is steered by its rate (ticks per position);
 * an idle one may skip as far as the plan goes.
 */
import { type Position, position, type Ticks, ticks } from "@dejavm/machine";

const TICKS_PER_MS = 10_000;

/** Virtual time of one slice: how late an input can be to a busy machine. */
const SLICE_TICKS = 1 * TICKS_PER_MS;
/** Positions of one slice at most; keeps slices short while the rate is not known well. */
export const MAX_SLICE_POSITIONS = 1_000_000;
/** Positions of one slice at least; below this, starting and stopping costs more than running. */
const MIN_SLICE_POSITIONS = 2000;
/**
 * Distance from the plan at which a busy machine gets a clock event: half of what its clock may be
 * off. Each event is some bytes of trace for ever, and a host that is busy makes many.
 */
export const DRIFT_LIMIT_TICKS = 10 * TICKS_PER_MS;
/**
 * A busy machine that is further ahead of the wall than this waits for it: on a host whose speed
 * jumps about, each correction leaves a little, and slewing alone would let it grow.
 */
const AHEAD_LIMIT_TICKS = 20 * TICKS_PER_MS;
/** Further ahead than this the host's clock was behind, and slewing does it, however long. */
const WAIT_LIMIT_TICKS = 100 * TICKS_PER_MS;
/** Distance from the ideal above which time steps forward instead of being caught up. */
const STEP_LIMIT_TICKS = 1000 * TICKS_PER_MS;
/** Largest deviation of virtual time's speed from the wall's. */
const MAX_SLEW = 0.1;
/** A distance is made good over this time, or slower where MAX_SLEW says so. */
const RECOVERY_TICKS = 100 * TICKS_PER_MS;
/** Memory of the speed estimate. */
const SPEED_WINDOW_TICKS = 20 * TICKS_PER_MS;
/** Shorter runs tell nothing about speed. */
const MIN_SAMPLE_POSITIONS = 1000;
/** A run may look this much slower than the estimate; the rest is taken for a pause of the host. */
const MAX_SLOWDOWN = 4;
/** Speed assumed before anything is known: 250 million positions per second. */
const INITIAL_TICKS_PER_POSITION = 1 / 25;
/** Fastest host: 10 G positions per second. */
const MIN_TICKS_PER_POSITION = 1 / 1000;
/** Slowest host: 625,000 positions per second, the machine's own limit for rates. */
const MAX_TICKS_PER_POSITION = 16;

const RATE_ONE = 2 ** 32;
/**
 * A rate has so many significant bits. What is cut off is a drift of half a millisecond in a
 * second, below what any host's speed wavers; the zeros are what compresses in a clock event.
 */
const RATE_BITS = 10;
const MAX_RATE = BigInt(RATE_ONE * MAX_TICKS_PER_POSITION);
/** Beyond any machine's life: "skip as far as you like". */
const FOR_EVER = ticks((1n << 63n) - 1n);

/** What the driver sees when it asks what to do next. */
export interface Observation {
  /** Host monotonic time in ticks of 100 ns; may have a fraction. */
  readonly now: number;
  readonly position: Position;
  readonly ticks: Ticks;
  /** Set when the last `run` came back idle and nothing has been given to the machine since. */
  readonly idle: { readonly deadline: Ticks | undefined } | undefined;
}

/** What to do next; then ask again. */
export type PaceStep =
  /** Give the machine this clock event. */
  | { readonly kind: "clock"; readonly rate: bigint; readonly step: bigint }
  | { readonly kind: "run"; readonly until: Position; readonly skipIdleUntil: Ticks }
  /** Wait for this host time (undefined: for ever), or for an input. */
  | { readonly kind: "sleep"; readonly wakeAt: number | undefined };

/** How virtual time is made to pass. */
export interface Pacer {
  next(seen: Observation): PaceStep;
  /** Virtual time at which an input happens that arrives at `now` while the machine is idle. */
  inputTicks(seen: Observation): Ticks;
}

/** Virtual time follows the wall. */
export class LivePacer implements Pacer {
  readonly #originNow: number;
  readonly #originTicks: number;
  #plan: { readonly now: number; readonly ticks: number; readonly slew: number };
  #ticksPerPosition = INITIAL_TICKS_PER_POSITION;
  #measured = false;
  /** The slew that the machine's rate includes; undefined before the first clock event. */
  #rateSlew: number | undefined;
  /** The machine's rate, if it is ours. */
  #rate: bigint | undefined;
  /** Where the run now going on began. */
  #runStart: { readonly now: number; readonly position: Position } | undefined;

  /** The machine shows `ticks` at host time `now`, and that is right. */
  constructor(start: { readonly now: number; readonly ticks: Ticks }) {
    this.#originNow = start.now;
    this.#originTicks = Number(start.ticks);
    this.#plan = { now: start.now, ticks: this.#originTicks, slew: 0 };
  }

  next(seen: Observation): PaceStep {
    this.#measure(seen);
    const shown = Number(seen.ticks);
    // An idle machine is late by how far its deadline has passed, not by how long it slept.
    const due = seen.idle === undefined ? shown : Number(seen.idle.deadline ?? FOR_EVER);
    const late = this.#ideal(seen.now) - due;
    if (late > STEP_LIMIT_TICKS) return this.#stepForward(seen, shown);
    if (seen.idle === undefined && -late > AHEAD_LIMIT_TICKS && -late < WAIT_LIMIT_TICKS) {
      return { kind: "sleep", wakeAt: seen.now - late - AHEAD_LIMIT_TICKS / 2 };
    }
    const drift = due - this.#planned(seen.now);
    if (seen.idle !== undefined) {
      if (drift > 0) return { kind: "sleep", wakeAt: this.#reaches(seen.idle.deadline) };
      if (drift < -DRIFT_LIMIT_TICKS) this.#replan(seen.now, due);
    } else if (this.#rateSlew === undefined || Math.abs(drift) > DRIFT_LIMIT_TICKS) {
      this.#replan(seen.now, shown);
      return this.#steer(seen);
    } else if (this.#rateSlew !== 0 && this.#planned(seen.now) === this.#ideal(seen.now)) {
      this.#plan = { now: seen.now, ticks: this.#ideal(seen.now), slew: 0 };
      return this.#steer(seen);
    }
    return this.#slice(seen);
  }

  inputTicks(seen: Observation): Ticks {
    const planned = BigInt(Math.floor(this.#planned(seen.now)));
    const latest = seen.idle?.deadline ?? FOR_EVER;
    const bounded = planned > latest ? latest : planned;
    return bounded > seen.ticks ? ticks(bounded) : seen.ticks;
  }

  #slice(seen: Observation): PaceStep {
    const wanted = Math.floor(SLICE_TICKS / this.#ticksPerPosition);
    const count = Math.min(Math.max(wanted, MIN_SLICE_POSITIONS), MAX_SLICE_POSITIONS);
    this.#runStart = { now: seen.now, position: seen.position };
    return {
      kind: "run",
      until: position(seen.position + BigInt(count)),
      skipIdleUntil: this.inputTicks({ ...seen, idle: undefined }),
    };
  }

  #stepForward(seen: Observation, shown: number): PaceStep {
    const ideal = Math.floor(this.#ideal(seen.now));
    this.#plan = { now: seen.now, ticks: ideal, slew: 0 };
    return this.#clock(BigInt(ideal - shown));
  }

  #measure(seen: Observation): void {
    const start = this.#runStart;
    this.#runStart = undefined;
    if (start === undefined) return;
    const count = Number(seen.position - start.position);
    const elapsed = seen.now - start.now;
    if (count < MIN_SAMPLE_POSITIONS || elapsed <= 0) return;
    const sample = Math.min(elapsed / count, this.#ticksPerPosition * MAX_SLOWDOWN);
    // Virtual or host time, whichever passed faster: a sudden speed-up is noticed as soon.
    const span = Math.max(sample, this.#ticksPerPosition) * count;
    const weight = this.#measured ? 1 - Math.exp(-span / SPEED_WINDOW_TICKS) : 1;
    const mixed = this.#ticksPerPosition * (1 - weight) + sample * weight;
    this.#ticksPerPosition = clamp(mixed, MIN_TICKS_PER_POSITION, MAX_TICKS_PER_POSITION);
    this.#measured = true;
  }

  #ideal(now: number): number {
    return this.#originTicks + (now - this.#originNow);
  }

  #planned(now: number): number {
    const { slew } = this.#plan;
    const slewed = this.#plan.ticks + (now - this.#plan.now) * (1 + slew);
    const ideal = this.#ideal(now);
    return slew < 0 ? Math.max(slewed, ideal) : Math.min(slewed, ideal);
  }

  /** Host time at which the plan shows `deadline`. */
  #reaches(deadline: Ticks | undefined): number | undefined {
    if (deadline === undefined) return undefined;
    const { slew } = this.#plan;
    const slewed = this.#plan.now + (Number(deadline) - this.#plan.ticks) / (1 + slew);
    const ideal = this.#originNow + (Number(deadline) - this.#originTicks);
    return slew < 0 ? Math.min(slewed, ideal) : Math.max(slewed, ideal);
  }

  /** The plan goes on from here, and back to the ideal as fast as it may. */
  #replan(now: number, shown: number): void {
    const slew = clamp((this.#ideal(now) - shown) / RECOVERY_TICKS, -MAX_SLEW, MAX_SLEW);
    this.#plan = { now, ticks: shown, slew };
  }

  /** A rate for the plan, unless the machine has it already. */
  #steer(seen: Observation): PaceStep {
    const before = this.#rate;
    const step = this.#clock(0n);
    return this.#rate === before ? this.#slice(seen) : step;
  }

  #clock(step: bigint): PaceStep {
    this.#rateSlew = this.#plan.slew;
    const rate = roundedRate(this.#ticksPerPosition * (1 + this.#rateSlew) * RATE_ONE);
    this.#rate = rate > MAX_RATE ? MAX_RATE : rate;
    return { kind: "clock", rate: this.#rate, step };
  }
}

/**
 * Virtual time passes with positions alone, at the rate that the machine has, and waiting costs
 * nothing: the same inputs at the same positions give the same run on any host.
 */
export class FreePacer implements Pacer {
  next(seen: Observation): PaceStep {
    if (seen.idle !== undefined && seen.idle.deadline === undefined) {
      return { kind: "sleep", wakeAt: undefined };
    }
    return {
      kind: "run",
      until: position(seen.position + BigInt(MAX_SLICE_POSITIONS)),
      skipIdleUntil: FOR_EVER,
    };
  }

  inputTicks(seen: Observation): Ticks {
    return seen.ticks;
  }
}

/** The nearest number with RATE_BITS significant bits. */
function roundedRate(rate: number): bigint {
  const unit = 2 ** Math.max(0, Math.ceil(Math.log2(rate)) - RATE_BITS);
  return BigInt(Math.round(rate / unit) * unit);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
