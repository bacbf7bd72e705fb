/** Conditional branches that tell cases apart: few cases, or hosts that predict nothing else. */
import type { I32 } from "../wasm/expr.ts";
import type { Fn } from "../wasm/module.ts";

/** What a tree is built over: cases 0 .. `weights.length` - 1 in ascending order of their keys. */
export interface Cases {
  /** How often each is the one, in any unit: the more often, the fewer branches lead to it. */
  readonly weights: readonly number[];
  /** Whether the case at hand is one before `middle`. */
  readonly isBefore: (middle: number) => I32;
  /** Emits what is done for cases `from` .. `to` - 1; false: they are to be told apart first. */
  readonly leaf: (from: number, to: number, weight: number) => boolean;
}

/** Emits the branches, nothing for no cases. A single case is always left to `leaf`. */
export function emitBranchTree(f: Fn, { weights, isBefore, leaf }: Cases): void {
  const sums = [0];
  for (const weight of weights) sums.push((sums.at(-1) ?? 0) + weight);
  const weigh = (from: number, to: number): number => (sums[to] ?? 0) - (sums[from] ?? 0);
  const among = (from: number, to: number): void => {
    if (leaf(from, to, weigh(from, to)) || to - from <= 1) return;
    const middle = middleOf(from, to, weigh);
    f.if(
      isBefore(middle),
      () => among(from, middle),
      () => among(middle, to),
    );
  };
  if (weights.length > 0) among(0, weights.length);
}

/** Where both sides weigh as equal as can be. */
function middleOf(from: number, to: number, weigh: (from: number, to: number) => number): number {
  let best = from + 1;
  let least = Number.POSITIVE_INFINITY;
  for (let at = from + 1; at < to; at++) {
    const difference = Math.abs(weigh(from, at) - weigh(at, to));
    if (difference < least) {
      least = difference;
      best = at;
    }
  }
  return best;
}
