/**
 * QEMU's stream framing of Ethernet frames: four bytes of length, big-endian, then the frame.
 * `-netdev stream` and `passt` speak it.
 */
import { put32 } from "./bytes.ts";
import { gatewayError } from "./errors.ts";
import { MAX_FRAME_BYTES } from "./gateway-core.ts";

const LENGTH_BYTES = 4;
const NOTHING = new Uint8Array(0);

/**
 * Takes a stream apart into frames. Frames that lie whole in what is pushed are views of it; `push`
 * throws E_NET_ADDRESS at an impossible length.
 */
export class FrameSplitter {
  /** The beginning of a frame, its length in front. */
  #pending = NOTHING;
  #pendingBytes = 0;

  push(bytes: Uint8Array): Uint8Array[] {
    const frames: Uint8Array[] = [];
    let rest = bytes;
    while (rest.length > 0) {
      rest = this.#pendingBytes > 0 ? this.#complete(rest, frames) : this.#cut(rest, frames);
    }
    return frames;
  }

  /** Takes whole frames from the front; gives what is left once some of it is kept. */
  #cut(bytes: Uint8Array, frames: Uint8Array[]): Uint8Array {
    let at = 0;
    while (bytes.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + frameLength(bytes, at);
      if (end > bytes.length) break;
      frames.push(bytes.subarray(at + LENGTH_BYTES, end));
      at = end;
    }
    const left = bytes.subarray(at);
    if (left.length > 0) {
      const known = left.length >= LENGTH_BYTES ? frameLength(left, 0) : 0;
      this.#pending = new Uint8Array(Math.max(LENGTH_BYTES + known, left.length));
      this.#pending.set(left);
      this.#pendingBytes = left.length;
    }
    return NOTHING;
  }

  /** Goes on with the frame that has begun. */
  #complete(bytes: Uint8Array, frames: Uint8Array[]): Uint8Array {
    const missing = this.#pending.length - this.#pendingBytes;
    const count = Math.min(missing, bytes.length);
    this.#pending.set(bytes.subarray(0, count), this.#pendingBytes);
    this.#pendingBytes += count;
    if (count < missing) return NOTHING;
    const length = frameLength(this.#pending, 0);
    if (this.#pending.length === LENGTH_BYTES && length > 0) {
      const grown = new Uint8Array(LENGTH_BYTES + length);
      grown.set(this.#pending);
      this.#pending = grown;
      return bytes.subarray(count);
    }
    frames.push(this.#pending.subarray(LENGTH_BYTES));
    this.#pending = NOTHING;
    this.#pendingBytes = 0;
    return bytes.subarray(count);
  }
}

/** The length that goes in front of a frame. */
export function lengthPrefix(frame: Uint8Array): Uint8Array {
  const prefix = new Uint8Array(LENGTH_BYTES);
  put32(prefix, 0, frame.length);
  return prefix;
}

function frameLength(bytes: Uint8Array, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, LENGTH_BYTES);
  const length = view.getUint32(0);
  if (length <= MAX_FRAME_BYTES) return length;
  throw gatewayError(
    "E_NET_ADDRESS",
    `the network stream has a frame of ${length} bytes`,
    "check that the other side speaks QEMU's stream framing",
  );
}
