/**
 * The decisions of a migration, and nothing else: what to do next about a target that lags behind.
 * Pure: a situation and what was decided before go in, one decision comes out, with its reason in
 * words. The session carries it out; other strategies can be written beside this one.
 *
 * Words: s is the source's speed and rho the target's while it replays, in positions per
 * millisecond. Lag is measured in the time that the target needs to replay what it is behind.
 */

/** What to do where nothing converges. */
export type IfNotConverging = "slow" | "copy" | "cancel";

/** What the user asked for. */
export interface ControllerOptions {
  /** Longest pause that is acceptable. */
  readonly maxDowntimeMs: number;
  /** Least share of the CPU that the guest keeps, above 0 to 1. */
  readonly minShare: number;
  readonly ifNotConverging: IfNotConverging;
}

/** What is known when a decision is due. Times are milliseconds. */
export interface Situation {
  readonly now: number;
  /** Positions per ms that the source makes at the present share; 0: unknown or idle. */
  readonly sourceSpeed: number;
  /** Positions per ms that the target makes while nothing keeps it waiting; 0: unknown. */
  readonly replaySpeed: number;
  /** Positions between the source now and the target as last heard. */
  readonly lagPositions: number;
  /** Positions between the newest frontier at the target and the target, as last heard. */
  readonly targetLagPositions: number;
  /** Positions that the source has made since the newest checkpoint: the lag once it is there. */
  readonly positionsSinceCheckpoint: number;
  /** Share of the CPU that the guest has now. */
  readonly share: number;
  /** Undefined: unknown yet. */
  readonly rttMs: number | undefined;
  /** Bulk bytes per ms; 0: unknown. */
  readonly bytesPerMs: number;
  /** Bulk bytes of begun checkpoints that the target does not have yet. */
  readonly pendingBytes: number;
  /** Bytes on the wire that an increment begun now would take. */
  readonly incrementBytes: number;
  /** Time that both hosts would be busy with it, whatever the path; 0: unknown. */
  readonly incrementHostMs: number;
  /** Whether every begun checkpoint is complete and durable at the target. */
  readonly isComplete: boolean;
  readonly isDurable: boolean;
  /** Whether replay waits for what has not come, or for the source: its speed is not its own. */
  readonly isReplayStarved: boolean;
  readonly digestsMatched: number;
}

/** What to do. `why` is for the report: figures and the rule that they met. */
export type Decision =
  | { readonly kind: "wait"; readonly why: string }
  /** Begin the next increment. */
  | { readonly kind: "increment"; readonly why: string }
  | { readonly kind: "throttle"; readonly share: number; readonly why: string }
  /** Hand over: the target is close behind. */
  | { readonly kind: "cutover"; readonly why: string }
  /** Freeze, send the pages that changed, hand over. */
  | { readonly kind: "end-by-copy"; readonly why: string }
  | { readonly kind: "cancel"; readonly why: string };

/** Lag at which the target counts as caught up, where the downtime limit allows it. */
const CLOSE_MS = 10;
/** An increment is worth its bytes if it leaves at most this share of the lag, and of the time. */
const WORTHWHILE = 0.7;
/** Increments in a row that find as much lag as those before: what leaves it is not their bytes. */
const MAX_FRUITLESS = 5;
/** A lag below this is chased: an increment costs a round trip anyway. */
const CHASE_BELOW_MS = 40;
/** How long a share is tried before the next step. */
const STEP_MS = 300;
/** One step of throttling, as a factor. */
const STEP_FACTOR = 0.88;
/** The lag must shrink at least so fast: all of it within this time. */
const PATIENCE_MS = 4000;
/** Lag, and source's share of the target's speed, above which pages under way are reason enough. */
const EARLY_LAG_MS = 300;
const EARLY_RATIO = 0.6;
/** A target that seems so much slower than the source has hardly begun: its code is cold. */
const COLD_RATIO = 4;
/** How long the floor is tried before the end is sought otherwise. */
const FLOOR_PATIENCE_MS = 5000;
/** Below the user's floor with `slow`: no slower than this. */
const SLOWEST_SHARE = 0.05;

/** Before a rate was measured: so little was sent that any link would do. */
const USUAL_BYTES_PER_MS = 1000;

/** What the controller remembers between decisions. */
interface Trend {
  readonly at: number;
  readonly lagMs: number;
}

/** See the head of this file. */
export class Controller {
  readonly #options: ControllerOptions;
  #trend: Trend | undefined;
  #atFloorSince: number | undefined;
  #steppedAt: number | undefined;
  /** The least lag at which an increment was begun, and how many have not gone below it since. */
  #leastLagMs = Number.POSITIVE_INFINITY;
  #fruitless = 0;

  constructor(options: ControllerOptions) {
    this.#options = options;
  }

  /** The pause to expect if the cutover began now. */
  predictDowntimeMs(s: Situation): number {
    return (s.rttMs ?? 0) / 2 + lagMs(s, s.targetLagPositions) + CLOSE_MS / 2;
  }

  /** Asked every few ten milliseconds while both machines run. */
  decide(s: Situation): Decision {
    if (!s.isComplete) return this.#meanwhile(s);
    if (this.#isClose(s)) {
      if (!s.isDurable) return { kind: "wait", why: "the target is writing its base" };
      if (s.digestsMatched === 0) return { kind: "wait", why: "no digest was compared yet" };
      const pause = Math.round(this.predictDowntimeMs(s));
      return { kind: "cutover", why: `the target is close: ${pause} ms pause expected` };
    }
    if (s.replaySpeed === 0) return { kind: "wait", why: "the target has not replayed yet" };
    return this.#bringCloser(s);
  }

  /**
   * While pages are under way the lag grows that will be left when they are there. The next
   * increment takes it away in one go, unless that is so large that it would leave as much: then it
   * will be chased, and where replay is not much faster than the source that takes long. The guest
   * is slowed down from now on, as it would be later.
   */
  #meanwhile(s: Situation): Decision {
    const wait = { kind: "wait", why: "a checkpoint is under way" } as const;
    const lag = lagMs(s, s.positionsSinceCheckpoint);
    if (s.isReplayStarved || s.replaySpeed === 0 || s.sourceSpeed === 0) return wait;
    if (lag < EARLY_LAG_MS) return wait;
    const ratio = s.sourceSpeed / s.replaySpeed;
    if (copyMsOf(s) * ratio < lag * WORTHWHILE) return wait;
    if (ratio > COLD_RATIO) return wait;
    const isTried = this.#steppedAt !== undefined && s.now - this.#steppedAt < STEP_MS;
    if (ratio <= EARLY_RATIO || isTried) return wait;
    const wanted = s.share * Math.max(STEP_FACTOR, EARLY_RATIO / ratio);
    const share = Math.max(wanted, this.#options.minShare);
    if (share >= s.share) return wait;
    this.#steppedAt = s.now;
    const figures = `lag ${ms(lag)}, replay at ${(1 / ratio).toFixed(2)} x the source`;
    return { kind: "throttle", share, why: `pages are under way, and the lag grows: ${figures}` };
  }

  #isClose(s: Situation): boolean {
    // Half the round trip is beyond anyone's power; the rest of the limit may be lag.
    const allowed = Math.max(CLOSE_MS, (this.#options.maxDowntimeMs - (s.rttMs ?? 0) / 2) / 2);
    const threshold = Math.min(allowed, 2 * CLOSE_MS);
    return lagMs(s, s.targetLagPositions) <= threshold;
  }

  #bringCloser(s: Situation): Decision {
    const lag = lagMs(s, s.lagPositions);
    const ratio = s.sourceSpeed / s.replaySpeed;
    const incrementMs = copyMsOf(s);
    // While the increment travels, the source goes on: that is the lag afterwards.
    const lagAfterMs = incrementMs * ratio;
    const figures =
      `lag ${ms(lag)}, replay at ${(1 / Math.max(ratio, 0.01)).toFixed(2)} x the source ` +
      `catches up in ${ms(catchUpMs(lag, ratio))}, an increment takes ${ms(incrementMs)}`;
    // A chase may slow the source down to the floor; so may the one after an increment.
    const atFloor = ratio * Math.min(1, this.#options.minShare / s.share);
    const chaseMs = catchUpMs(lag, atFloor);
    const isSooner =
      atFloor >= 1 || incrementMs + catchUpMs(lagAfterMs, atFloor) < chaseMs * WORTHWHILE;
    if (lag > CHASE_BELOW_MS && isSooner && lagAfterMs < lag * WORTHWHILE) {
      if (this.#isFruitful(lag)) {
        this.#trend = undefined;
        return { kind: "increment", why: figures };
      }
      if (incrementMs <= this.#options.maxDowntimeMs) return this.#endOtherwise(s, figures);
    }
    return this.#chase(s, lag, ratio, figures);
  }

  /** Whether increments still bring the target closer: what they leave is more than predicted. */
  #isFruitful(lag: number): boolean {
    if (lag < this.#leastLagMs * WORTHWHILE) {
      this.#leastLagMs = lag;
      this.#fruitless = 0;
    }
    return this.#fruitless++ < MAX_FRUITLESS;
  }

  #chase(s: Situation, lag: number, ratio: number, figures: string): Decision {
    const trend = this.#trend;
    if (trend === undefined) {
      this.#trend = { at: s.now, lagMs: lag };
      return { kind: "wait", why: `chase: ${figures}` };
    }
    const elapsed = s.now - trend.at;
    if (elapsed < STEP_MS) return { kind: "wait", why: `chase: ${figures}` };
    this.#trend = { at: s.now, lagMs: lag };
    const wanted = (trend.lagMs * elapsed) / PATIENCE_MS;
    if (trend.lagMs - lag >= wanted) {
      this.#atFloorSince = undefined;
      return { kind: "wait", why: `the lag shrinks: ${figures}` };
    }
    return this.#slowDown(s, ratio, figures);
  }

  #slowDown(s: Situation, ratio: number, figures: string): Decision {
    const { minShare } = this.#options;
    // Where the speeds are known, the share that would do it; never more than two steps at once.
    const wanted = ratio > 0.9 ? Math.max(STEP_FACTOR ** 2, 0.85 / ratio) : STEP_FACTOR;
    const share = Math.max(s.share * Math.min(wanted, STEP_FACTOR), minShare);
    if (share < s.share) {
      this.#atFloorSince = undefined;
      return { kind: "throttle", share, why: `the lag does not shrink: ${figures}` };
    }
    this.#atFloorSince ??= s.now;
    if (s.now - this.#atFloorSince < FLOOR_PATIENCE_MS) {
      return { kind: "wait", why: `at the floor of ${minShare}: ${figures}` };
    }
    return this.#endOtherwise(s, figures);
  }

  #endOtherwise(s: Situation, figures: string): Decision {
    const { maxDowntimeMs, ifNotConverging } = this.#options;
    const copyMs = copyMsOf(s);
    if (copyMs <= maxDowntimeMs) {
      return { kind: "end-by-copy", why: `copying the rest pauses ${ms(copyMs)}: ${figures}` };
    }
    switch (ifNotConverging) {
      case "copy":
        return { kind: "end-by-copy", why: `nothing converges, copy was asked for: ${figures}` };
      case "cancel":
        return { kind: "cancel", why: `nothing converges, cancel was asked for: ${figures}` };
      case "slow": {
        const share = Math.max(SLOWEST_SHARE, s.share * STEP_FACTOR);
        if (share < s.share) {
          this.#atFloorSince = s.now - FLOOR_PATIENCE_MS + STEP_MS;
          return { kind: "throttle", share, why: `nothing converges, below the floor: ${figures}` };
        }
        return { kind: "end-by-copy", why: `the slowest pace is not slow enough: ${figures}` };
      }
    }
  }
}

/** Time that the target needs for so many positions. */
function lagMs(s: Situation, positions: number): number {
  if (positions <= 0) return 0;
  return s.replaySpeed === 0 ? Number.POSITIVE_INFINITY : positions / s.replaySpeed;
}

/** Time until a lag is gone while the source goes on at `ratio` of the target's speed. */
function catchUpMs(lag: number, ratio: number): number {
  return ratio < 1 ? lag / (1 - ratio) : Number.POSITIVE_INFINITY;
}

/** Time that the pages of an increment need on link and hosts, and the target's answer. */
function copyMsOf(s: Situation): number {
  const bytesPerMs = s.bytesPerMs === 0 ? USUAL_BYTES_PER_MS : s.bytesPerMs;
  return Math.max(s.incrementBytes / bytesPerMs, s.incrementHostMs) + (s.rttMs ?? 0);
}

function ms(value: number): string {
  return Number.isFinite(value) ? `${Math.round(value)} ms` : "for ever";
}
