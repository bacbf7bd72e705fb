/** When the target is to compare digests with the machine here. Pure: times are arguments. */
import type { Situation } from "./controller.ts";

/** Time between two digests that are asked for while none has been compared, and afterwards. */
const FIRST_MS = 400;
const NEXT_MS = 2000;

/**
 * The first digest follows the last page closely; where it is passed before that page has come, the
 * target skips it, and one more is due as soon as all are there.
 */
export class DigestSchedule {
  #askedAt: number | undefined;
  /** Whether pages were on their way when the last one was asked for. */
  #wasEarly = false;

  /** Asked once all pages are sent. True: it is asked for now. */
  isDue(situation: Situation): boolean {
    const { now, isComplete, digestsMatched, rttMs = 0 } = situation;
    const wasSkipped = isComplete && this.#wasEarly && digestsMatched === 0;
    const waitMs = digestsMatched === 0 ? FIRST_MS : NEXT_MS;
    const interval = wasSkipped ? rttMs : waitMs;
    if (this.#askedAt !== undefined && now - this.#askedAt < interval) return false;
    this.#askedAt = now;
    this.#wasEarly = !isComplete;
    return true;
  }
}
