/** RAM for tests of what accesses memory by DMA: an array with pages that may be absent. */
import { assert } from "@dejavm/base";
import { type GuestMemory, PAGE_BYTES } from "../../device/device.ts";

/** `size` bytes from `base` on; pages in `absent` (page numbers) make `probe` report them. */
export class TestRam implements GuestMemory {
  readonly base: number;
  readonly bytes: Uint8Array;
  readonly absent = new Set<number>();
  readonly #view: DataView;

  constructor(base: number, size: number) {
    this.base = base;
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  probe(address: number, length: number, missing: Set<number>): boolean {
    if (length === 0) return true;
    if (address < this.base || address + length > this.base + this.bytes.length) return false;
    const last = Math.floor((address + length - 1) / PAGE_BYTES);
    for (let page = Math.floor(address / PAGE_BYTES); page <= last; page++) {
      if (this.absent.has(page)) missing.add(page);
    }
    return true;
  }

  view(address: number, length: number): Uint8Array {
    const at = this.#at(address, length);
    return this.bytes.subarray(at, at + length);
  }

  write(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#at(address, bytes.length));
  }

  readU16(address: number): number {
    return this.#view.getUint16(this.#at(address, 2), true);
  }

  readU32(address: number): number {
    return this.#view.getUint32(this.#at(address, 4), true);
  }

  readU64(address: number): bigint {
    return this.#view.getBigUint64(this.#at(address, 8), true);
  }

  writeU16(address: number, value: number): void {
    this.#view.setUint16(this.#at(address, 2), value, true);
  }

  writeU32(address: number, value: number): void {
    this.#view.setUint32(this.#at(address, 4), value, true);
  }

  writeU64(address: number, value: bigint): void {
    this.#view.setBigUint64(this.#at(address, 8), value, true);
  }

  #at(address: number, length: number): number {
    const missing = new Set<number>();
    assert(this.probe(address, length, missing), `access outside RAM at ${address}`);
    assert(missing.size === 0, `access to an absent page at ${address}`);
    return address - this.base;
  }
}
