/**
 * A queue of bytes in one array that grows by doubling as needed and shrinks when it runs empty:
 * what waits for the guest's acknowledgement, readable anywhere for retransmission.
 */
import { assert } from "@dejavm/base";

/** First size; a connection that moves little stays with it. */
const FIRST_BYTES = 4096;

/** See the head of this file. */
export class ByteRing {
  /** Empty until the first write; else a power of two. */
  #bytes = new Uint8Array(0);
  #start = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Appends all of `source`; the owner keeps to its limit. */
  write(source: Uint8Array): void {
    if (source.length === 0) return;
    this.#reserve(this.#length + source.length);
    const at = (this.#start + this.#length) & (this.#bytes.length - 1);
    const first = Math.min(source.length, this.#bytes.length - at);
    this.#bytes.set(source.subarray(0, first), at);
    this.#bytes.set(source.subarray(first), 0);
    this.#length += source.length;
  }

  /** Copies `count` bytes from `offset` on into `target` at `at`. */
  copy(offset: number, count: number, target: Uint8Array, at: number): void {
    assert(offset >= 0 && offset + count <= this.#length, "reads what the ring has");
    const from = (this.#start + offset) & (this.#bytes.length - 1);
    const first = Math.min(count, this.#bytes.length - from);
    target.set(this.#bytes.subarray(from, from + first), at);
    if (first < count) target.set(this.#bytes.subarray(0, count - first), at + first);
  }

  /** Forgets the first `count` bytes. */
  drop(count: number): void {
    assert(count <= this.#length, "drops what the ring has");
    this.#length -= count;
    this.#start = (this.#start + count) & (this.#bytes.length - 1);
    if (this.#length > 0) return;
    this.#start = 0;
    if (this.#bytes.length > FIRST_BYTES) this.#bytes = new Uint8Array(0);
  }

  #reserve(need: number): void {
    if (need <= this.#bytes.length) return;
    let size = Math.max(this.#bytes.length, FIRST_BYTES);
    while (size < need) size *= 2;
    const grown = new Uint8Array(size);
    if (this.#length > 0) this.copy(0, this.#length, grown, 0);
    this.#bytes = grown;
    this.#start = 0;
  }
}
