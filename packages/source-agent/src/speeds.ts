/** Measured speeds of the two machines: positions per millisecond, noise smoothed. */

/** Weight of the past halves after so much time, in milliseconds. */
const HALF_LIFE_MS = 400;
/** Fewer positions say nothing about a speed. */
const MIN_POSITIONS = 2000;
/** Shorter spans neither. */
const MIN_SPAN_MS = 8;

/** A running mean over time in which something was done. */
export class Speed {
  #perMs = 0;
  #last: { readonly position: bigint; readonly busyMs: number } | undefined;

  /** 0: not known. */
  get perMs(): number {
    return this.#perMs;
  }

  /**
   * `busyMs`: time spent so far, in all. A position that falls begins anew, and so does a time: it
   * was too long while nobody told that a machine waits.
   */
  measure(position: bigint, busyMs: number): void {
    const last = this.#last;
    if (last === undefined || position < last.position || busyMs < last.busyMs) {
      this.#last = { position, busyMs };
      return;
    }
    const positions = Number(position - last.position);
    const span = busyMs - last.busyMs;
    if (span < MIN_SPAN_MS) return;
    this.#last = { position, busyMs };
    if (positions < MIN_POSITIONS && this.#perMs > 0) return;
    const weight = this.#perMs === 0 ? 1 : 1 - 0.5 ** (span / HALF_LIFE_MS);
    this.#perMs += (positions / span - this.#perMs) * weight;
  }

  /** The machine was put elsewhere. */
  restart(): void {
    this.#last = undefined;
  }
}
