/** Work in steps that shows how far it is and can be broken off with Ctrl-C. */
import { setImmediate } from "node:timers/promises";
import type { StoreProgress } from "@dejavm/log-store";
import { textProgress } from "./progress.ts";

/** Between two looks at signals and the terminal. */
const TURN_MS = 50;

/** What `longWork` answers when a signal has broken it off. */
export const BROKEN_OFF: unique symbol = Symbol("broken off");

/**
 * Runs the steps to their end, or until SIGINT or SIGTERM: then they are left off, which undoes
 * what they say they undo, and the answer is BROKEN_OFF.
 */
export async function longWork<Step extends StoreProgress, Result>(
  steps: Generator<Step, Result>,
  text: (step: Step) => string = inWords,
): Promise<Result | typeof BROKEN_OFF> {
  const progress = textProgress(process.stderr);
  let stop = false;
  const onSignal = (): void => {
    stop = true;
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    for (let turn = performance.now(); ; ) {
      const step = steps.next();
      if (step.done === true) return step.value;
      if (performance.now() - turn < TURN_MS) continue;
      progress.show(step.value.phase, text(step.value));
      await setImmediate();
      if (stop) return BROKEN_OFF;
      turn = performance.now();
    }
  } finally {
    progress.done();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    steps.return(undefined as never);
  }
}

function inWords({ phase, done, total }: StoreProgress): string {
  return total > done ? `${phase}: ${done} of ${total}` : `${phase}: ${done}`;
}
