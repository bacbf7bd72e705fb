/**
 * Where a replay went another way: it is done again beside another execution of the same machine,
 * which tells the step and what differs after it. What is recorded has digests only now and then.
 */
import { position } from "@dejavm/machine";
import { type Divergence, type Parting, partingSteps, type Subject } from "@dejavm/trace";
import type { StoredReplay } from "./stored-replay.ts";

/** Two replays of which one departs from its trace. */
export interface PartingOptions {
  /** That departed. */
  readonly replay: StoredReplay;
  readonly divergence: Divergence;
  /** Where both begin. */
  readonly from: bigint;
  /** What is compared with: makes the other one, from its start. */
  readonly expected: () => StoredReplay;
}

/** How far the search is. */
export interface PartingProgress {
  readonly phase: "part";
  /** Positions that are out of the question, of those in which it must be. */
  readonly done: number;
  readonly total: number;
}

/**
 * Finds the step; undefined: the other one comes to the same state, so that it is what is recorded
 * that differs. May be left off at any step.
 */
export function* findReplayParting(
  options: PartingOptions,
): Generator<PartingProgress, Parting | undefined> {
  const { replay, divergence, from, expected } = options;
  const low = position(divergence.matched?.position ?? from);
  const high = position(divergence.place.position);
  const opened: StoredReplay[] = [];
  const keep = (made: StoredReplay): Subject => {
    opened.push(made);
    return { machine: made.machine, runTo: (until) => made.runTo(until) };
  };
  const total = Number(high - low);
  try {
    yield { phase: "part", done: 0, total };
    const pair = [keep(expected()), keep(replay.again())];
    for (const subject of pair) subject.runTo(high);
    const [want, have] = pair.map(({ machine }) => machine.digest());
    if (low === high || want === have) return undefined;
    const steps = partingSteps({
      low,
      high,
      expected: () => keep(expected()),
      actual: () => keep(replay.again()),
    });
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      const left = Number(step.value.high - step.value.low);
      yield { phase: "part", done: total - left, total };
    }
  } finally {
    for (const each of opened) each.close();
  }
}
