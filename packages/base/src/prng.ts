/**
 * Seeded pseudo-random numbers: xoshiro128** (Blackman and Vigna, 2018), seeded by splitmix32.
 * The only source of randomness in pure code and in tests. Not for secrets.
 */

/** The complete state of a `Prng`: four 32-bit words, not all zero. */
export type PrngState = readonly [number, number, number, number];

const UINT32_RANGE = 0x1_0000_0000;

/** A reproducible stream of numbers; two generators with equal state give equal streams. */
export class Prng {
  readonly #words: Uint32Array;

  /** `seed` is any 32-bit integer. */
  constructor(seed: number) {
    this.#words = new Uint32Array(4);
    let x = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e3779b9) >>> 0;
      let z = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      this.#words[i] = (z ^ (z >>> 16)) >>> 0;
    }
  }

  /** Continues the stream that `state` was saved from. */
  static restore(state: PrngState): Prng {
    const prng = new Prng(0);
    prng.#words.set(state);
    return prng;
  }

  save(): PrngState {
    const [a = 0, b = 0, c = 0, d = 0] = this.#words;
    return [a, b, c, d];
  }

  /** The next integer in 0 .. 2^32-1. */
  u32(): number {
    const w = this.#words;
    const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = w;
    const product = Math.imul(w1, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const x2 = w2 ^ w0;
    const x3 = w3 ^ w1;
    w[0] = w0 ^ x3;
    w[1] = w1 ^ x2;
    w[2] = x2 ^ (w1 << 9);
    w[3] = (x3 << 11) | (x3 >>> 21);
    return result;
  }

  /** The next 64-bit integer, unsigned. */
  u64(): bigint {
    const high = BigInt(this.u32());
    return (high << 32n) | BigInt(this.u32());
  }

  /** An integer in 0 .. bound-1; `bound` is 1 .. 2^32. */
  below(bound: number): number {
    return Math.floor((this.u32() / UINT32_RANGE) * bound);
  }

  /** True once in `n` calls on average. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** One element of a non-empty array. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Fills `bytes` with random bytes and returns it. */
  fill(bytes: Uint8Array): Uint8Array {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32() & 0xff;
    return bytes;
  }
}
