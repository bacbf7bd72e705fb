/**
 * Little-endian byte reader and writer. The reader checks bounds before it touches anything and
 * reports through the error that its maker chose, so every decoder fails in its own words.
 */

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Appends little-endian values to a buffer that grows as needed. */
export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#bytes = new Uint8Array(initialBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    const at = this.#reserve(1);
    this.#view.setUint8(at, value);
    return this;
  }

  u16(value: number): this {
    const at = this.#reserve(2);
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(value: number): this {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
    return this;
  }

  /** 7 bits a byte, lowest first, the top bit set on all but the last; `value` is 0 .. 2^64-1. */
  uvarint(value: bigint | number): this {
    let rest = value;
    if (typeof rest === "bigint") {
      for (; rest > MAX_SAFE; rest >>= 7n) this.u8(Number(rest & 0x7fn) | 0x80);
      rest = Number(rest);
    }
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.u8((rest % 0x80) | 0x80);
    return this.u8(rest);
  }

  f64(value: number): this {
    const at = this.#reserve(8);
    this.#view.setFloat64(at, value, true);
    return this;
  }

  bytes(source: Uint8Array): this {
    const at = this.#reserve(source.length);
    this.#bytes.set(source, at);
    return this;
  }

  /** What was written, as a view that is valid until the next write. */
  get view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets what was written; the room stays. */
  clear(): this {
    this.#length = 0;
    return this;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** The same for a writer that is not used any more: no copy where the room was exact. */
  end(): Uint8Array {
    return this.#length === this.#bytes.length ? this.#bytes : this.finish();
  }

  #reserve(count: number): number {
    const at = this.#length;
    const need = at + count;
    if (need > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(need, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#length = need;
    return at;
  }
}

/** Makes the error for a read past the end; gets what was wanted and where. */
export type TruncationError = (detail: string) => Error;

/** Reads little-endian values; every read past the end throws what `onTruncated` makes. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #onTruncated: TruncationError;
  #offset = 0;

  constructor(bytes: Uint8Array, onTruncated: TruncationError) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#onTruncated = onTruncated;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /**
   * What `uvarint` wrote. An encoding that is longer than needed, or above 2^64-1, is an error:
   * one value has one encoding.
   */
  uvarint(): bigint {
    const start = this.#offset;
    let low = 0;
    for (let i = 0; i < 7; i++) {
      const byte = this.u8();
      low += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return BigInt(this.#minimal(byte, i, low, start));
    }
    let value = BigInt(low);
    for (let i = 7; ; i++) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (i === 9 && byte > 1) throw this.#onTruncated(`varint at offset ${start} is too big`);
      if (byte < 0x80) return this.#minimal(byte, i, value, start);
    }
  }

  #minimal<T>(last: number, index: number, value: T, start: number): T {
    if (last !== 0 || index === 0) return value;
    throw this.#onTruncated(`varint at offset ${start} is longer than needed`);
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  /** A view, not a copy, of the next `count` bytes. */
  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.subarray(at, at + count);
  }

  #take(count: number): number {
    const at = this.#offset;
    if (count < 0 || count > this.remaining) {
      throw this.#onTruncated(`need ${count} bytes at offset ${at}, have ${this.remaining}`);
    }
    this.#offset = at + count;
    return at;
  }
}

/**
 * Gives the memory of `buffer` back at once, instead of when it is found to be garbage: V8 marks a
 * whole heap, however large, each time that some 64 MiB of such buffers have gathered. Views of it
 * are empty from then on.
 */
export function release(buffer: ArrayBuffer): void {
  buffer.transfer(0);
}
