/** Operands that reach the corners of floating-point arithmetic, from a seed. */
import type { Prng } from "@dejavm/base";
import type { RefFormat } from "./reference.ts";

function compose(format: RefFormat, sign: bigint, field: number, fraction: bigint): bigint {
  const mask = (1n << BigInt(format.fractionBits)) - 1n;
  const place = BigInt(Math.min(Math.max(field, 0), 2 * format.bias + 1));
  const high = (sign << BigInt(format.width - 1)) | (place << BigInt(format.fractionBits));
  return high | (fraction & mask);
}

/** Zeros, infinities, NaNs, the ends of the subnormal and normal ranges, small integers. */
export function specials(format: RefFormat): readonly bigint[] {
  const { fractionBits, bias } = format;
  const max = 2 * bias + 1;
  const ones = (1n << BigInt(fractionBits)) - 1n;
  const quiet = 1n << BigInt(fractionBits - 1);
  const positive: readonly (readonly [number, bigint])[] = [
    [0, 0n],
    [0, 1n],
    [0, ones],
    [1, 0n],
    [1, 1n],
    [2, 0n],
    [bias - 1, 0n],
    [bias - 1, ones],
    [bias, 0n],
    [bias, 1n],
    [bias, quiet],
    [bias + 1, 0n],
    [max - 1, ones],
    [max, 0n],
    [max, 1n],
    [max, quiet],
    [max, quiet | 1n],
    [max, ones],
  ];
  return [0n, 1n].flatMap((sign) => positive.map(([field, f]) => compose(format, sign, field, f)));
}

/** A fraction: random, few leading bits, few trailing bits, near a tie of a shorter format. */
function fraction(format: RefFormat, prng: Prng): bigint {
  const bits = format.fractionBits;
  const random = prng.u64() >> BigInt(64 - bits);
  switch (prng.below(6)) {
    case 0:
      return random >> BigInt(prng.below(bits));
    case 1:
      return (random >> BigInt(prng.below(bits))) << BigInt(prng.below(bits));
    case 2:
      return -BigInt(prng.below(4));
    case 3:
      return (random & ~0x1fff_ffffn) + 0x1000_0000n + BigInt(prng.below(3) - 1);
    default:
      return random;
  }
}

/** One operand. */
export function operand(format: RefFormat, prng: Prng): bigint {
  const { bias } = format;
  const sign = BigInt(prng.below(2));
  const fields = [
    () => 0,
    () => prng.below(format.fractionBits + 4),
    () => 2 * bias - prng.below(4),
    () => bias + prng.below(140) - 70,
    () => bias + prng.below(5) - 2,
    () => (bias >> 1) + prng.below(5),
    () => prng.below(2 * bias + 2),
  ];
  if (prng.oneIn(16)) return prng.pick(specials(format));
  return compose(format, sign, prng.pick(fields)(), fraction(format, prng));
}

/** Another operand, often related to `other`, so that sums cancel and quotients are near one. */
export function related(format: RefFormat, prng: Prng, other: bigint): bigint {
  const nudge = BigInt(prng.below(7) - 3);
  switch (prng.below(6)) {
    case 0:
      return BigInt.asUintN(format.width, (other ^ (1n << BigInt(format.width - 1))) + nudge);
    case 1: {
      const steps = BigInt(prng.below(2 * format.fractionBits + 6) - format.fractionBits - 3);
      return BigInt.asUintN(format.width, other + (steps << BigInt(format.fractionBits)));
    }
    default:
      return operand(format, prng);
  }
}

/** An integer register: small, near powers of two, random. */
export function integer(prng: Prng): bigint {
  const value = [
    () => BigInt(prng.below(17)) - 8n,
    () => (1n << BigInt(prng.below(64))) + BigInt(prng.below(5)) - 2n,
    () => -(1n << BigInt(prng.below(64))) + BigInt(prng.below(5)) - 2n,
    () => prng.u64() >> BigInt(prng.below(64)),
    () => ((prng.u64() | 1n) << 40n) + (1n << 39n) + BigInt(prng.below(3)) - 1n,
  ];
  return BigInt.asUintN(64, prng.pick(value)());
}
