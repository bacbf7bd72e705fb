/** Values that tend to find faults: boundaries, special floating-point numbers, near misses. */
import type { Prng } from "@dejavm/base";

const INTEGERS: readonly bigint[] = [
  0n,
  1n,
  2n,
  -1n,
  -2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  -0x8000_0000n,
  -0x8000_0001n,
  0x7fff_ffff_ffff_ffffn,
  -0x8000_0000_0000_0000n,
  0x5555_5555_5555_5555n,
  0x0f0f_0f0f_0f0f_0f0fn,
  0x0123_4567_89ab_cdefn,
  0x20_0000_0000_0001n,
];

/** A 64-bit value, unsigned: boundaries, short values, plain random bits. */
export function integerValue(prng: Prng): bigint {
  switch (prng.below(5)) {
    case 0:
      return BigInt.asUintN(64, prng.pick(INTEGERS));
    case 1:
      return BigInt.asUintN(64, prng.pick(INTEGERS) + BigInt(prng.below(5) - 2));
    case 2:
      return BigInt.asUintN(64, BigInt.asIntN(1 + prng.below(64), prng.u64()));
    case 3:
      return 1n << BigInt(prng.below(64));
    default:
      return prng.u64();
  }
}

interface FloatShape {
  readonly fractionBits: number;
  readonly exponentBits: number;
}
const SINGLE: FloatShape = { fractionBits: 23, exponentBits: 8 };
const DOUBLE: FloatShape = { fractionBits: 52, exponentBits: 11 };

function bits(prng: Prng, count: number): bigint {
  return BigInt.asUintN(count, prng.u64());
}

/** A fraction: empty, full, one bit, bits at the end only, or a tie for a shorter format. */
function fraction(prng: Prng, { fractionBits }: FloatShape): bigint {
  const all = (1n << BigInt(fractionBits)) - 1n;
  switch (prng.below(8)) {
    case 0:
      return 0n;
    case 1:
      return all;
    case 2:
      return 1n << BigInt(prng.below(fractionBits));
    case 3:
      return BigInt(prng.below(4));
    case 4:
      return all - BigInt(prng.below(4));
    case 5: {
      const kept = prng.below(fractionBits);
      const tie = 1n << BigInt(fractionBits - kept - 1);
      const top = bits(prng, kept) << BigInt(fractionBits - kept);
      return (top | (tie + BigInt(prng.below(3) - 1))) & all;
    }
    default:
      return bits(prng, fractionBits);
  }
}

function exponent(prng: Prng, { exponentBits, fractionBits }: FloatShape): bigint {
  const highest = (1 << exponentBits) - 1;
  const bias = highest >> 1;
  switch (prng.below(8)) {
    case 0:
      return BigInt(prng.below(3));
    case 1:
      return BigInt(highest - prng.below(3));
    case 2:
      return BigInt(prng.below(highest + 1));
    case 3:
      return BigInt(bias + prng.pick([15, 16, 31, 32, 33, 52, 53, 62, 63, 64, -1, -2, 23, 24]));
    case 4:
      return BigInt((bias >> 1) + prng.below(3) - 1 + prng.below(fractionBits));
    default:
      return BigInt(bias + prng.below(16) - 8);
  }
}

function floatBits(prng: Prng, shape: FloatShape): bigint {
  const { fractionBits, exponentBits } = shape;
  const sign = BigInt(prng.below(2)) << BigInt(fractionBits + exponentBits);
  const highest = (1n << BigInt(exponentBits)) - 1n;
  switch (prng.below(12)) {
    case 0:
      return sign;
    case 1:
      return sign | (highest << BigInt(fractionBits));
    case 2:
      return sign | (highest << BigInt(fractionBits)) | bits(prng, fractionBits);
    case 3: {
      const quiet = 1n << BigInt(fractionBits - 1);
      return sign | (highest << BigInt(fractionBits)) | quiet;
    }
    case 4:
      return sign | fraction(prng, shape);
    default:
      return sign | (exponent(prng, shape) << BigInt(fractionBits)) | fraction(prng, shape);
  }
}

/** The bits of a double. */
export function doubleValue(prng: Prng): bigint {
  return floatBits(prng, DOUBLE);
}

/** What a register holds for a single: boxed as it should be, or (one in eight) not. */
export function singleValue(prng: Prng): bigint {
  const low = floatBits(prng, SINGLE);
  const box = prng.oneIn(8) ? bits(prng, 32) : 0xffff_ffffn;
  return (box << 32n) | low;
}
