/**
 * A deterministic random bit generator on the ChaCha20 block function (RFC 8439, section 2.3),
 * with fast key erasure (D. J. Bernstein, "Fast-key-erasure random-number generators", 2017): each
 * call runs ChaCha20 with the current key from block 0 on; the first half of block 0 replaces the
 * key, the blocks from 1 on are output. The key is the whole state, and earlier output cannot be
 * computed from it.
 */
import { assert } from "@dejavm/base";

/** A seed, and a generator's whole state. */
export const SEED_BYTES = 32;
const BLOCK_BYTES = 64;
const ROUND_PAIRS = 10;
/** Nonces keep the two uses of the block function apart. */
const NONCE_GENERATE: Nonce = [0, 0, 0];
const NONCE_RESEED: Nonce = [1, 0, 0];

type Nonce = readonly [number, number, number];

/** Seeded random bytes for the guest. */
export class ChaChaGenerator {
  readonly #key = new Uint32Array(SEED_BYTES / 4);

  /** `seed` is 32 bytes. */
  constructor(seed: Uint8Array) {
    assert(seed.length === SEED_BYTES, "a seed is 32 bytes");
    this.#load(seed);
  }

  /** The next `length` bytes. */
  generate(length: number): Uint8Array {
    const blocks = Math.ceil(length / BLOCK_BYTES);
    const bytes = new Uint8Array(blocks * BLOCK_BYTES);
    const block = new Uint8Array(BLOCK_BYTES);
    for (let i = 0; i < blocks; i++) {
      chacha20Block(this.#key, i + 1, NONCE_GENERATE, block);
      bytes.set(block, i * BLOCK_BYTES);
    }
    chacha20Block(this.#key, 0, NONCE_GENERATE, block);
    this.#load(block);
    return bytes.subarray(0, length);
  }

  /** Mixes 32 bytes in: as unpredictable afterwards as the better of key and seed. */
  reseed(seed: Uint8Array): void {
    assert(seed.length === SEED_BYTES, "a seed is 32 bytes");
    const mixed = this.save();
    for (let i = 0; i < SEED_BYTES; i++) mixed[i] ^= seed[i];
    this.#load(mixed);
    const block = new Uint8Array(BLOCK_BYTES);
    chacha20Block(this.#key, 0, NONCE_RESEED, block);
    this.#load(block);
  }

  /** The 32 bytes from which a new generator goes on as this one would. */
  save(): Uint8Array {
    const bytes = new Uint8Array(SEED_BYTES);
    const view = new DataView(bytes.buffer);
    for (const [i, word] of this.#key.entries()) view.setUint32(i * 4, word, true);
    return bytes;
  }

  #load(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, SEED_BYTES);
    for (let i = 0; i < this.#key.length; i++) this.#key[i] = view.getUint32(i * 4, true);
  }
}

const STATE_WORDS = 16;
const COUNTER_WORD = 12;
const working = new Uint32Array(STATE_WORDS);
const initial = new Uint32Array(STATE_WORDS);

/** Computes one block of 64 bytes into `out`; `key` is 8 little-endian words. */
export function chacha20Block(
  key: Uint32Array,
  counter: number,
  nonce: Nonce,
  out: Uint8Array,
): void {
  // "expand 32-byte k" in little-endian ASCII.
  initial.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
  initial.set(key, 4);
  initial[COUNTER_WORD] = counter;
  initial.set(nonce, COUNTER_WORD + 1);
  working.set(initial);
  for (let i = 0; i < ROUND_PAIRS; i++) {
    for (let c = 0; c < 4; c++) quarterRound(c, c + 4, c + 8, c + 12);
    for (let d = 0; d < 4; d++) {
      quarterRound(d, 4 + ((d + 1) & 3), 8 + ((d + 2) & 3), 12 + ((d + 3) & 3));
    }
  }
  const view = new DataView(out.buffer, out.byteOffset, BLOCK_BYTES);
  for (let i = 0; i < STATE_WORDS; i++) {
    view.setUint32(i * 4, (working[i] + initial[i]) >>> 0, true);
  }
}

function quarterRound(a: number, b: number, c: number, d: number): void {
  const w = working;
  w[a] += w[b];
  w[d] = rotateLeft(w[d] ^ w[a], 16);
  w[c] += w[d];
  w[b] = rotateLeft(w[b] ^ w[c], 12);
  w[a] += w[b];
  w[d] = rotateLeft(w[d] ^ w[a], 8);
  w[c] += w[d];
  w[b] = rotateLeft(w[b] ^ w[c], 7);
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
