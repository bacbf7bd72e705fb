/** The retransmission timeout (RFC 6298), in milliseconds. */

/** Before the first measurement. */
const FIRST_RTO_MS = 1000;
/** As Linux has it: the link is short, but a busy guest answers late. */
const MIN_RTO_MS = 200;
const MAX_RTO_MS = 60_000;

/** See the head of this file. */
export class RetransmissionTimeout {
  #smoothed = 0;
  #variance = 0;
  #base = FIRST_RTO_MS;
  #backoff = 1;

  /** How long to wait for an acknowledgement now. */
  get ms(): number {
    return Math.min(this.#base * this.#backoff, MAX_RTO_MS);
  }

  /** A segment that was sent once took this long. */
  measured(ms: number): void {
    if (this.#smoothed === 0) {
      this.#smoothed = ms;
      this.#variance = ms / 2;
    } else {
      this.#variance = 0.75 * this.#variance + 0.25 * Math.abs(this.#smoothed - ms);
      this.#smoothed = 0.875 * this.#smoothed + 0.125 * ms;
    }
    const rto = this.#smoothed + Math.max(1, 4 * this.#variance);
    this.#base = Math.min(Math.max(rto, MIN_RTO_MS), MAX_RTO_MS);
  }

  /** No acknowledgement came in time. */
  backOff(): void {
    this.#backoff = Math.min(this.#backoff * 2, 64);
  }

  /** Something new was acknowledged. */
  progress(): void {
    this.#backoff = 1;
  }
}
