/**
 * The running digest of RAM: the sum, modulo 2^128 in two halves, of a hash of each page seeded
 * with its number. Independent of the order of discovery; pages of zeros add nothing. Only pages
 * written since the last digest are hashed again.
 */
import { PAGE_BYTES } from "../device/device.ts";
import type { HartCore } from "../hart/core.ts";
import type { Epoch, Ram } from "./ram.ts";

/** See the head of this file. */
export class RamDigest {
  readonly #core: HartCore;
  readonly #ram: Ram;
  /** Low and high half of each page's part of the sum. */
  readonly #parts: BigUint64Array;
  #low = 0n;
  #high = 0n;
  #since: Epoch = 1;
  /** Pages to hash that were written before `#since`, and how many of them are done. */
  #ahead: readonly number[] | Uint32Array = [];
  #done = 0;

  constructor(core: HartCore, ram: Ram) {
    this.#core = core;
    this.#ram = ram;
    this.#parts = new BigUint64Array(ram.pageCount * 2);
  }

  /** The digest of RAM as it is now, unsigned 128 bits. Absent pages count as they last were. */
  value(): bigint {
    this.#hashAhead(Number.POSITIVE_INFINITY);
    for (const page of this.#ram.takeSupplied()) this.#hash(page);
    for (const page of this.#ram.dirtySince(this.#since)) this.#hash(page);
    this.#since = this.#ram.beginEpoch();
    return (this.#high << 64n) | this.#low;
  }

  /**
   * Hashes at most `maxPages` of what the next digest needs. True: what is left is only what is
   * written from the first of these calls on. So a digest's pause can be spread.
   */
  prepare(maxPages: number): boolean {
    if (this.#done >= this.#ahead.length) {
      this.#ahead = [...this.#ram.takeSupplied(), ...this.#ram.dirtySince(this.#since)];
      this.#done = 0;
      this.#since = this.#ram.beginEpoch();
    }
    this.#hashAhead(maxPages);
    return this.#done >= this.#ahead.length;
  }

  #hashAhead(maxPages: number): void {
    const end = Math.min(this.#ahead.length, this.#done + maxPages);
    for (; this.#done < end; this.#done++) this.#hash(this.#ahead[this.#done]);
  }

  #hash(page: number): void {
    this.#core.exports.hash_page(this.#core.map.ram + page * PAGE_BYTES, page);
    this.#replace(page, this.#core.get64("hashLow"), this.#core.get64("hashHigh"));
  }

  /** Each page's part of the sum, as of now: low and high half one after the other. A copy. */
  parts(): BigUint64Array {
    this.value();
    return this.#parts.slice();
  }

  /** Forgets everything: RAM was replaced. */
  reset(): void {
    this.#parts.fill(0n);
    this.#low = 0n;
    this.#high = 0n;
    this.#since = 1;
    this.#ahead = [];
    this.#done = 0;
  }

  #replace(page: number, low: bigint, high: bigint): void {
    const parts = this.#parts;
    this.#low = BigInt.asUintN(64, this.#low - parts[page * 2] + low);
    this.#high = BigInt.asUintN(64, this.#high - parts[page * 2 + 1] + high);
    parts[page * 2] = low;
    parts[page * 2 + 1] = high;
  }
}
