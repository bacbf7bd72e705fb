/** Finds out which way of dispatching suits this processor (machine: `Dispatch`). */
import { createJumpProbe, type Dispatch, type JumpProbe, PROBE_CALLS } from "@dejavm/machine";

/** Rounds of one measurement: some 50 microseconds. */
const ROUNDS = 100;
/** The least of so many measurements counts: what disturbs one does not disturb all. */
const MEASUREMENTS = 7;
/**
 * Nanoseconds that an indirect call takes more than a direct one. Where its target is predicted
 * these are one or two, to look at table and signature; where it is not, ten and more.
 */
const UNPREDICTED_NS = 5;

let found: Dispatch | undefined;

/** Measures once in each thread, for a few milliseconds. */
export function dispatchHere(): Dispatch {
  found ??= dispatchFor(createJumpProbe(), () => performance.now());
  return found;
}

/** By what the probe's loops take on this clock, in milliseconds. */
export function dispatchFor(probe: JumpProbe, now: () => number): Dispatch {
  const leastNs = (loop: (rounds: number) => number): number => {
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < MEASUREMENTS; i++) {
      const start = now();
      loop(ROUNDS);
      best = Math.min(best, now() - start);
    }
    return (best * 1e6) / (ROUNDS * PROBE_CALLS);
  };
  return leastNs(probe.indirect) - leastNs(probe.direct) > UNPREDICTED_NS ? "branches" : "table";
}
