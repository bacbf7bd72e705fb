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

  constructor(core: HartCore, ram: Ram) {
    this.#core = core;
    this.#ram = ram;
    this.#parts = new BigUint64Array(ram.pageCount * 2);
  }

  /** The digest of RAM as it is now, unsigned 128 bits. Absent pages count as they last were. */
  value(): bigint {
    const { map, exports } = this.#core;
    for (const page of this.#ram.dirtySince(this.#since)) {
      exports.hash_page(map.ram + page * PAGE_BYTES, page);
      this.#replace(page, this.#core.get64("hashLow"), this.#core.get64("hashHigh"));
    }
    this.#since = this.#ram.beginEpoch();
    return (this.#high << 64n) | this.#low;
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
  }

  #replace(page: number, low: bigint, high: bigint): void {
    const parts = this.#parts;
    this.#low = BigInt.asUintN(64, this.#low - parts[page * 2] + low);
    this.#high = BigInt.asUintN(64, this.#high - parts[page * 2 + 1] + high);
    parts[page * 2] = low;
    parts[page * 2 + 1] = high;
  }
}
