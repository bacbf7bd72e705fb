/**
 * A descriptor chain as it was when it was read: the buffers of one request, first those that the
 * device reads, then those that it writes. All of them lie in guest RAM. Copies below work on the
 * concatenation of one side's buffers; offsets count from its start.
 */
import { assert } from "@dejavm/base";
import type { GuestMemory } from "../device.ts";

/** Buffers in guest memory, concatenated. Addresses and lengths run in parallel. */
class BufferList {
  readonly addresses: number[] = [];
  readonly lengths: number[] = [];
  /** Sum of `lengths`. */
  byteLength = 0;

  append(address: number, length: number): void {
    this.addresses.push(address);
    this.lengths.push(length);
    this.byteLength += length;
  }

  /** Whether no page of the range is absent. The whole range lies within the list. */
  present(memory: GuestMemory, offset: number, length: number): boolean {
    const absent = new Set<number>();
    this.#forRange(offset, length, (address, count) => {
      memory.probe(address, count, absent);
    });
    return absent.size === 0;
  }

  /** Views of the range; valid until guest memory is next written to. */
  views(memory: GuestMemory, offset: number, length: number): Uint8Array[] {
    const views: Uint8Array[] = [];
    this.#forRange(offset, length, (address, count) => {
      views.push(memory.view(address, count));
    });
    return views;
  }

  /** A copy of the range. */
  read(memory: GuestMemory, offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#forRange(offset, length, (address, count, done) => {
      bytes.set(memory.view(address, count), done);
    });
    return bytes;
  }

  /** Stores `bytes` from `offset` on. */
  write(memory: GuestMemory, offset: number, bytes: Uint8Array): void {
    this.#forRange(offset, bytes.length, (address, count, done) => {
      const whole = count === bytes.length;
      memory.write(address, whole ? bytes : bytes.subarray(done, done + count));
    });
  }

  #forRange(
    offset: number,
    length: number,
    visit: (address: number, count: number, done: number) => void,
  ): void {
    assert(offset >= 0 && offset + length <= this.byteLength, "range lies outside the buffers");
    let skip = offset;
    let done = 0;
    for (let i = 0; done < length; i++) {
      const here = this.lengths[i];
      if (skip >= here) {
        skip -= here;
        continue;
      }
      const count = Math.min(here - skip, length - done);
      visit(this.addresses[i] + skip, count, done);
      done += count;
      skip = 0;
    }
  }
}

/** One request of the driver. */
export class Chain {
  /** Index of the first descriptor: the request's name in the used ring. */
  readonly head: number;
  readonly readable = new BufferList();
  readonly writable = new BufferList();

  constructor(head: number) {
    this.head = head;
  }

  get byteLength(): number {
    return this.readable.byteLength + this.writable.byteLength;
  }
}
