/**
 * Looks over MessagePack bytes before a decoder touches them: exact length, bounded depth and
 * count, no extensions (the decoder would run record definitions and make objects of them), map
 * keys that are short strings. Nothing is allocated.
 * https://github.com/msgpack/msgpack/blob/master/spec.md
 */
import { protocolError } from "./errors.ts";
import { MAX_CONTROL_DEPTH, MAX_CONTROL_ITEMS } from "./limits.ts";

/** Longest key of a map in bytes. */
const MAX_KEY_BYTES = 64;

/** Throws E_PROTOCOL_MALFORMED unless `bytes` are exactly one harmless value. */
export function scanMessagePack(bytes: Uint8Array): void {
  const scanner = new Scanner(bytes);
  scanner.value(0);
  scanner.end();
}

class Scanner {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;
  #items = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  end(): void {
    const left = this.#bytes.length - this.#offset;
    if (left !== 0) throw malformed(`${left} bytes after the value`);
  }

  value(depth: number): void {
    this.#count(1);
    const tag = this.#byte();
    if (tag <= 0x7f || tag >= 0xe0) return;
    if (tag <= 0x8f) return this.#map(tag & 0x0f, depth);
    if (tag <= 0x9f) return this.#array(tag & 0x0f, depth);
    if (tag <= 0xbf) return this.#skip(tag & 0x1f);
    switch (tag) {
      case 0xc0: // nil
      case 0xc2: // false
      case 0xc3: // true
        return;
      case 0xc4: // bin
      case 0xd9: // str
        return this.#skip(this.#length(1));
      case 0xc5:
      case 0xda:
        return this.#skip(this.#length(2));
      case 0xc6:
      case 0xdb:
        return this.#skip(this.#length(4));
      case 0xcc: // uint 8 .. 64
      case 0xd0: // int 8 .. 64
        return this.#skip(1);
      case 0xcd:
      case 0xd1:
        return this.#skip(2);
      case 0xca: // float
      case 0xce:
      case 0xd2:
        return this.#skip(4);
      case 0xcb: // double
      case 0xcf:
      case 0xd3:
        return this.#skip(8);
      case 0xdc:
        return this.#array(this.#length(2), depth);
      case 0xdd:
        return this.#array(this.#length(4), depth);
      case 0xde:
        return this.#map(this.#length(2), depth);
      case 0xdf:
        return this.#map(this.#length(4), depth);
      default:
        throw malformed(`tag 0x${tag.toString(16)} has no place in a message`);
    }
  }

  #array(count: number, depth: number): void {
    this.#enter(count, depth);
    for (let i = 0; i < count; i++) this.value(depth + 1);
  }

  #map(count: number, depth: number): void {
    this.#enter(count * 2, depth);
    for (let i = 0; i < count; i++) {
      this.#key();
      this.value(depth + 1);
    }
  }

  #key(): void {
    this.#count(1);
    const tag = this.#byte();
    const length = tag >= 0xa0 && tag <= 0xbf ? tag & 0x1f : tag === 0xd9 ? this.#length(1) : -1;
    if (length < 0 || length > MAX_KEY_BYTES) throw malformed("a key is no short string");
    this.#skip(length);
  }

  #enter(children: number, depth: number): void {
    if (depth >= MAX_CONTROL_DEPTH) throw malformed(`deeper than ${MAX_CONTROL_DEPTH}`);
    // Each child takes a byte at least: a false count ends here, not after a long loop.
    if (children > this.#bytes.length - this.#offset) throw malformed("a count exceeds the bytes");
  }

  #count(items: number): void {
    this.#items += items;
    if (this.#items > MAX_CONTROL_ITEMS) throw malformed(`more than ${MAX_CONTROL_ITEMS} values`);
  }

  #byte(): number {
    this.#need(1);
    return this.#view.getUint8(this.#offset++);
  }

  #length(size: 1 | 2 | 4): number {
    this.#need(size);
    const at = this.#offset;
    this.#offset += size;
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #skip(count: number): void {
    this.#need(count);
    this.#offset += count;
  }

  #need(count: number): void {
    const left = this.#bytes.length - this.#offset;
    if (count > left)
      throw malformed(`need ${count} bytes at offset ${this.#offset}, have ${left}`);
  }
}

function malformed(detail: string): Error {
  return protocolError("E_PROTOCOL_MALFORMED", `cannot read a control message: ${detail}`);
}
