/** Segments that came before their turn, until the gap before them is filled. */
import { seqDiff } from "./sequence.ts";

/** Held apart at most; a guest with so many gaps sends again what is dropped. */
const MAX_PIECES = 256;

interface Piece {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** See the head of this file. Pieces may overlap; bytes that are equal in place are equal. */
export class Reassembly {
  /** Ascending by sequence number. */
  readonly #pieces: Piece[] = [];
  #byteCount = 0;

  get byteCount(): number {
    return this.#byteCount;
  }

  /** Keeps a view; false if there are too many pieces. */
  add(at: number, bytes: Uint8Array): boolean {
    let index = this.#pieces.length;
    while (index > 0 && seqDiff(at, this.#pieces[index - 1]?.at ?? 0) < 0) index--;
    const before = this.#pieces[index - 1];
    // Held already: a duplicate takes no room.
    if (before !== undefined && seqDiff(at, before.at) + bytes.length <= before.bytes.length) {
      return true;
    }
    if (this.#pieces.length >= MAX_PIECES) return false;
    this.#pieces.splice(index, 0, { at, bytes });
    this.#byteCount += bytes.length;
    return true;
  }

  /** What comes at `next`, if it is there; pieces that are wholly before it are dropped. */
  take(next: number): Uint8Array | undefined {
    for (;;) {
      const first = this.#pieces[0];
      if (first === undefined) return undefined;
      const skip = seqDiff(next, first.at);
      if (skip < 0) return undefined;
      this.#pieces.shift();
      this.#byteCount -= first.bytes.length;
      if (skip < first.bytes.length) return first.bytes.subarray(skip);
    }
  }
}
