/**
 * The running digest of RAM: the sum, modulo 2^128 in two halves, of a hash of each page seeded
 * with its number. Independent of the order of discovery; pages of zeros add nothing. Only pages
 * written since the last digest are looked at again.
 */
import { PAGE_BYTES } from "../device/device.ts";
import type { HartCore } from "../hart/core.ts";
import type { Ram } from "./ram.ts";

/** See the head of this file. */
export class RamDigest {
  readonly #core: HartCore;
  readonly #ram: Ram;
  /** Low and high half of each page's part of the sum. */
  readonly #parts: BigUint64Array;
  /** Pages written since the last digest, each once, and 1 for each of them. */
  #written: number[] = [];
  readonly #isWritten: Uint8Array;
  #low = 0n;
  #high = 0n;

  /** Before anything is written to RAM. */
  constructor(core: HartCore, ram: Ram) {
    this.#core = core;
    this.#ram = ram;
    this.#parts = new BigUint64Array(ram.pageCount * 2);
    this.#isWritten = new Uint8Array(ram.pageCount);
    ram.onFirstWrite((page) => {
      if (this.#isWritten[page] === 1) return;
      this.#isWritten[page] = 1;
      this.#written.push(page);
    });
  }

  /** The digest of RAM as it is now, unsigned 128 bits. Absent pages count as they last were. */
  value(): bigint {
    const { map, exports } = this.#core;
    for (const page of this.#written) {
      exports.hash_page(map.ram + page * PAGE_BYTES, page);
      this.#replace(page, this.#core.get64("hashLow"), this.#core.get64("hashHigh"));
      this.#isWritten[page] = 0;
    }
    if (this.#written.length > 0) {
      this.#written = [];
      this.#ram.beginEpoch();
    }
    return (this.#high << 64n) | this.#low;
  }

  /** Each page's part of the sum, as of now: low and high half one after the other. A copy. */
  parts(): BigUint64Array {
    this.value();
    return this.#parts.slice();
  }

  /** Forgets everything: RAM was replaced, and no page has been written. */
  reset(): void {
    this.#parts.fill(0n);
    this.#low = 0n;
    this.#high = 0n;
    this.#written = [];
    this.#isWritten.fill(0);
  }

  #replace(page: number, low: bigint, high: bigint): void {
    const parts = this.#parts;
    this.#low = BigInt.asUintN(64, this.#low - parts[page * 2] + low);
    this.#high = BigInt.asUintN(64, this.#high - parts[page * 2 + 1] + high);
    parts[page * 2] = low;
    parts[page * 2 + 1] = high;
  }
}
