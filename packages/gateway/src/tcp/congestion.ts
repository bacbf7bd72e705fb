/**
 * How much may be on its way to the guest: slow start, congestion avoidance and NewReno's fast
 * recovery (RFC 5681, RFC 6582). The link to a guest beside us loses only what the guest's own
 * receive queue cannot take; a guest that is reached through a tunnel is further away.
 */

/** First window in segments (RFC 6928). */
const FIRST_WINDOW_SEGMENTS = 10;
const DUPLICATES_FOR_LOSS = 3;

/** See the head of this file. Windows in bytes. */
export class Congestion {
  readonly #mss: number;
  #window: number;
  #threshold = Number.MAX_SAFE_INTEGER;
  #duplicates = 0;
  #recovering = false;

  constructor(mss: number) {
    this.#mss = mss;
    this.#window = FIRST_WINDOW_SEGMENTS * mss;
  }

  get window(): number {
    return this.#window;
  }

  get recovering(): boolean {
    return this.#recovering;
  }

  /** Another acknowledgement of the same place; true when it means a loss: retransmit one. */
  duplicate(inFlight: number): boolean {
    this.#duplicates++;
    if (this.#recovering) {
      this.#window += this.#mss;
      return false;
    }
    if (this.#duplicates !== DUPLICATES_FOR_LOSS) return false;
    this.#recovering = true;
    this.#threshold = Math.max(inFlight / 2, 2 * this.#mss);
    this.#window = this.#threshold + DUPLICATES_FOR_LOSS * this.#mss;
    return true;
  }

  /** New data was acknowledged; `whole`: everything that was on its way at the loss. */
  acknowledged(bytes: number, whole: boolean): void {
    this.#duplicates = 0;
    if (this.#recovering) {
      if (whole) {
        this.#recovering = false;
        this.#window = this.#threshold;
      } else {
        this.#window = Math.max(this.#window - bytes + this.#mss, this.#mss);
      }
      return;
    }
    if (this.#window < this.#threshold) this.#window += bytes;
    else this.#window += Math.max(1, (this.#mss * this.#mss) / this.#window);
    this.#window = Math.min(this.#window, MAX_WINDOW_BYTES);
  }

  timedOut(inFlight: number): void {
    this.#threshold = Math.max(inFlight / 2, 2 * this.#mss);
    this.#window = this.#mss;
    this.#duplicates = 0;
    this.#recovering = false;
  }
}

/** More than any receive window that a guest offers here. */
const MAX_WINDOW_BYTES = 16 * 1024 * 1024;
