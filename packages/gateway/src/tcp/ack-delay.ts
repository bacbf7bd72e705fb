/**
 * How long an acknowledgement waits for an answer to take it along. Where a guest serves
 * many clients each takes its time; a guest that itself waits for the acknowledgement (Nagle's
 * algorithm, RFC 9293, section 3.7.4) must not be kept. So the delay is short until an answer comes
 * late, and short for good once the guest was seen to wait.
 */

/** Long enough for a quick answer, too short to be noticed by a guest that waits. */
export const SHORT_ACK_DELAY_MS = 5;
/** What Linux waits at least; RFC 9293, section 3.8.6.3, allows 500 ms. */
export const LONG_ACK_DELAY_MS = 40;

/** See the head of this file. Times are milliseconds of one clock. */
export class AckDelay {
  #ms = SHORT_ACK_DELAY_MS;
  /** An acknowledgement went out without an answer. */
  #lapsedAt: number | undefined;
  #guestWaits = false;

  /** Data has come from the guest; gives when it is to be acknowledged. */
  heard(now: number): number {
    const sinceLapse = now - (this.#lapsedAt ?? Number.NEGATIVE_INFINITY);
    this.#lapsedAt = undefined;
    if (this.#ms === LONG_ACK_DELAY_MS && sinceLapse <= SHORT_ACK_DELAY_MS) {
      this.#guestWaits = true;
      this.#ms = SHORT_ACK_DELAY_MS;
    }
    return now + this.#ms;
  }

  /** The delay is over. */
  lapsed(now: number): void {
    this.#lapsedAt = now;
  }

  /** Data goes to the guest. */
  answered(): void {
    if (this.#lapsedAt !== undefined && !this.#guestWaits) this.#ms = LONG_ACK_DELAY_MS;
    this.#lapsedAt = undefined;
  }
}
