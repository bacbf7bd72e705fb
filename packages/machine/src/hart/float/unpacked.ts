/**
 * Finite non-zero doubles taken apart, and the wide shifts that the software core works with.
 */
import {
  add,
  and,
  clz,
  eqz,
  extendU,
  geU,
  gtU,
  type I32,
  type I64,
  i32,
  i64,
  mul,
  nez,
  or,
  select,
  shl,
  shrU,
  sub,
  wrap,
} from "../../wasm/expr.ts";
import type { Fn, Local } from "../../wasm/module.ts";
import { DOUBLE } from "./format.ts";

/** The fraction field of a double. */
export const FRACTION_MASK = (1n << 52n) - 1n;
const HIDDEN_BIT = 1n << 52n;
/** The exponent field of infinities and NaNs. */
const EXPONENT_MAX = 0x7ff;

/** (-1)^sign * significand * 2^(exponent - 62); the significand's leading bit is bit 62. */
export interface Unpacked {
  readonly sign: Local<"i32">;
  readonly exponent: Local<"i32">;
  readonly significand: Local<"i64">;
}

/** The biased exponent field. */
export function exponentField(bits: I64): I32 {
  return and(wrap(shrU(bits, i64(52))), i32(EXPONENT_MAX));
}

/** The significand of a normal number as an integer of 53 bits. */
export function integerSignificand(bits: I64): I64 {
  return or(and(bits, i64(FRACTION_MASK)), i64(HIDDEN_BIT));
}

/** Takes apart a double that is neither zero nor infinite nor NaN. */
export function unpack(f: Fn, bits: I64): Unpacked {
  const sign = f.let(wrap(shrU(bits, i64(63))));
  const exponent = f.let(sub(exponentField(bits), i32(DOUBLE.bias)));
  const significand = f.let(shl(integerSignificand(bits), i64(10)));
  f.if(
    eqz(exponentField(bits)),
    () => {
      const fraction = f.let(and(bits, i64(FRACTION_MASK)));
      const zeros = f.let(clz(fraction));
      f.set(significand, shl(fraction, sub(zeros, i64(1))));
      f.set(exponent, sub(i32(12 - DOUBLE.bias), wrap(zeros)));
    },
    undefined,
    "unlikely",
  );
  return { sign, exponent, significand };
}

/** True for zero, infinity and NaN. */
export function isSpecial(bits: I64): I32 {
  const shifted = shl(bits, i64(1));
  const infinity = DOUBLE.infinity << 1n;
  return geU(sub(shifted, i64(1)), i64(infinity - 1n));
}

/** True for infinity and NaN. */
export function isNonFinite(bits: I64): I32 {
  return geU(shl(bits, i64(1)), i64(DOUBLE.infinity << 1n));
}

/** `bits >> distance`, distance 1 .. 63, with what falls out ORed into bit 0. */
export function shiftRightJam(bits: I64, distance: I64): I64 {
  const lost = shl(bits, sub(i64(64), distance));
  return or(shrU(bits, distance), extendU(nez(lost)));
}

/** An unsigned 128-bit integer in two variables. */
export interface Wide {
  readonly high: Local<"i64">;
  readonly low: Local<"i64">;
}

/** The full product of two i64; WebAssembly has no high half. */
export function multiplyWide(f: Fn, a: Local<"i64">, b: Local<"i64">): Wide {
  const half = (x: I64) => and(x, i64(0xffff_ffff));
  const upper = (x: I64) => shrU(x, i64(32));
  const times = (x: I64, y: I64) => f.let(mul(x, y));
  const lowLow = times(half(a), half(b));
  const highLow = times(upper(a), half(b));
  const lowHigh = times(half(a), upper(b));
  const highHigh = times(upper(a), upper(b));
  const middle = f.let(add(highLow, upper(lowLow)));
  const carried = f.let(add(lowHigh, half(middle)));
  const high = f.let(add(highHigh, add(upper(middle), upper(carried))));
  return { high, low: f.let(mul(a, b)) };
}

/** Shifts right by 0 .. any distance; what falls out is ORed into bit 0. */
export function shiftRightJamWide(f: Fn, wide: Wide, distance: I32): void {
  const { high, low } = wide;
  const by = f.let(extendU(select(gtU(distance, i32(127)), i32(127), distance)));
  f.if(geU(by, i64(64)), () => {
    // high << (128 - by), done in two steps because a shift by 64 would do nothing.
    const lost = shl(shl(high, i64(1)), sub(i64(127), by));
    f.set(low, or(shrU(high, by), extendU(nez(or(lost, low)))));
    f.set(high, i64(0));
    f.set(by, i64(0));
  });
  f.if(nez(by), () => {
    f.set(low, or(shiftRightJam(low, by), shl(high, sub(i64(64), by))));
    f.set(high, shrU(high, by));
  });
}

/** Shifts left until the leading bit is bit 126; not for zero. Returns the distance as i32. */
export function normalizeWide(f: Fn, wide: Wide): Local<"i32"> {
  const { high, low } = wide;
  const distance = f.let(i32(0));
  f.if(eqz(high), () => {
    f.set(high, shrU(low, i64(1)));
    f.set(low, shl(low, i64(63)));
    f.set(distance, i32(63));
  });
  const by = f.let(sub(clz(high), i64(1)));
  f.if(nez(by), () => {
    f.set(high, or(shl(high, by), shrU(low, sub(i64(64), by))));
    f.set(low, shl(low, by));
    f.set(distance, add(distance, wrap(by)));
  });
  return distance;
}
