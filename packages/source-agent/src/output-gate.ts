/**
 * Output commit: what left the guest waits here, in order, until the trace before it is kept. Pure.
 */

interface Held {
  /** Segment that must be kept first; undefined: none of its own. */
  readonly after: number | undefined;
  readonly release: () => void;
}

/** See the head of this file. */
export class OutputGate {
  readonly #held: Held[] = [];
  /** Segments up to this one are kept. */
  #kept = -1;
  #isShut = true;

  /** How many outputs wait. */
  get waiting(): number {
    return this.#held.length;
  }

  /** Lets `release` happen once segment `after` is kept and everything before it has left. */
  push(after: number | undefined, release: () => void): void {
    this.#held.push({ after, release });
    this.#drain();
  }

  /** Segments up to `sequence` are kept. */
  keep(sequence: number): void {
    this.#kept = Math.max(this.#kept, sequence);
    this.#drain();
  }

  /** From now on the trace alone decides; before that everything waits. */
  open(): void {
    this.#isShut = false;
    this.#drain();
  }

  /** Everything waits, whatever is kept. */
  shut(): void {
    this.#isShut = true;
  }

  /** Nothing is recorded any more: what waits leaves now. */
  giveUp(): void {
    this.#kept = Number.POSITIVE_INFINITY;
    this.open();
  }

  /** Recording begins again behind segment `sequence`. */
  resume(sequence: number): void {
    this.#kept = sequence;
  }

  #drain(): void {
    for (;;) {
      const first = this.#held[0];
      if (first === undefined || this.#isShut) return;
      if (first.after !== undefined && first.after > this.#kept) return;
      this.#held.shift();
      first.release();
    }
  }
}
