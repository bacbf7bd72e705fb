/**
 * When a recorded machine is checkpointed, so that bringing it back replays little. Pure: times are
 * arguments. What counts is the CPU time of the guest's thread, as idle time replays in none.
 */

/** Default for the longest replay, in ms of CPU time. */
export const DEFAULT_REPLAY_LIMIT_MS = 10_000;
/** A checkpoint begins at this share of the limit: reading it takes a while. */
const BEGIN_SHARE = 0.75;
/** After a failure the next try comes later than this ... */
const FIRST_RETRY_MS = 5000;
/** ... and ever later up to this. */
const MAX_RETRY_MS = 60_000;

/** See the head of this file. */
export class CheckpointSchedule {
  readonly #limitMs: number;
  #begunAtMs = 0;
  #retryMs = FIRST_RETRY_MS;
  #notBefore = 0;

  constructor(limitMs: number = DEFAULT_REPLAY_LIMIT_MS) {
    this.#limitMs = limitMs;
  }

  /** `cpuMs`: what the guest's thread has used. `now` in ms of any clock. */
  isDue(cpuMs: number, now: number): boolean {
    return now >= this.#notBefore && cpuMs - this.#begunAtMs >= this.#limitMs * BEGIN_SHARE;
  }

  /** A checkpoint is complete that was begun when the thread had used `cpuMs`. */
  completed(cpuMs: number): void {
    this.#begunAtMs = cpuMs;
    this.#retryMs = FIRST_RETRY_MS;
    this.#notBefore = 0;
  }

  /** One was given up. */
  failed(now: number): void {
    this.#notBefore = now + this.#retryMs;
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }
}
