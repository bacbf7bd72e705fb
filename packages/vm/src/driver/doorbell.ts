/**
 * A word that two threads share: it tells the machine's thread, without a turn of its event loop,
 * that a message with requests is on its way. Whoever posts counts in it; the other end compares
 * with what has come.
 */

/** See the head of this file. */
export class Doorbell {
  readonly buffer: SharedArrayBuffer;
  readonly #word: Int32Array;
  #taken: number;

  /** A new one, or the other end of one that nobody has rung yet. */
  constructor(buffer = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) {
    this.buffer = buffer;
    this.#word = new Int32Array(buffer);
    this.#taken = 0;
  }

  /** Before each message. */
  ring(): void {
    Atomics.add(this.#word, 0, 1);
  }

  /** For each message that has come. */
  answer(): void {
    this.#taken = (this.#taken + 1) | 0;
  }

  /** Whether there are messages that have not come. */
  get isRung(): boolean {
    return Atomics.load(this.#word, 0) !== this.#taken;
  }
}
