/**
 * The two interchange formats of F and D (IEEE 754-2019, binary32 and binary64) as the emitter
 * sees them, and the boxing of singles in 64-bit registers.
 */
import {
  and,
  bitsOfF32,
  bitsOfF64,
  demote,
  type Expr,
  eq,
  extendU,
  type F64,
  type FloatType,
  f32,
  f32OfBits,
  f32OfS,
  f32OfU,
  f64,
  f64OfBits,
  f64OfS,
  f64OfU,
  fAbs,
  fGe,
  fLt,
  gtU,
  type I32,
  type I64,
  type IntType,
  i32,
  i64,
  ifElse,
  or,
  promote,
  select,
  shl,
  shrU,
  wrap,
} from "../../wasm/expr.ts";

/**
 * One format: `B` is the WebAssembly type that carries its bits, `V` the one that computes with
 * it.
 */
export interface Format<B extends IntType, V extends FloatType> {
  readonly name: "d" | "s";
  readonly bits: B;
  readonly width: 32 | 64;
  /** Bits of the fraction field, so precision - 1. */
  readonly fractionBits: number;
  readonly bias: number;
  /** Field values, in place. */
  readonly signBit: bigint;
  readonly infinity: bigint;
  readonly quietBit: bigint;
  readonly canonicalNan: bigint;
  /** Constants of the two carrier types. */
  readonly integer: (value: bigint) => Expr<B>;
  readonly real: (value: number) => Expr<V>;
  readonly toValue: (bits: Expr<B>) => Expr<V>;
  readonly toBits: (value: Expr<V>) => Expr<B>;
  /** The low bits of an i64. */
  readonly fromWide: (bits: I64) => Expr<B>;
  /** From double bits whose value the format holds; NaN becomes canonical. Evaluates them twice. */
  readonly fromExactDouble: (bits: I64) => Expr<B>;
  /** The value as double bits, exact; signalling NaNs stay so. Evaluates the operand twice. */
  readonly toDouble: (bits: Expr<B>) => I64;
  /** The value as a double; a NaN gives some NaN. */
  readonly toDoubleValue: (bits: Expr<B>) => F64;
  /** From an integer, rounding to nearest. */
  readonly fromSigned: (x: Expr<IntType>) => Expr<V>;
  readonly fromUnsigned: (x: Expr<IntType>) => Expr<V>;
}

/** binary64: bits as i64. */
export const DOUBLE: Format<"i64", "f64"> = {
  name: "d",
  bits: "i64",
  width: 64,
  fractionBits: 52,
  bias: 1023,
  signBit: 1n << 63n,
  infinity: 0x7ffn << 52n,
  quietBit: 1n << 51n,
  canonicalNan: 0x7ff8n << 48n,
  integer: i64,
  real: f64,
  toValue: f64OfBits,
  toBits: bitsOfF64,
  fromWide: (bits) => bits,
  fromExactDouble: (bits) => bits,
  toDouble: (bits) => bits,
  toDoubleValue: f64OfBits,
  fromSigned: f64OfS,
  fromUnsigned: f64OfU,
};

const CANONICAL_SINGLE_NAN = i32(0x7fc0_0000);

/** Keeps the quiet bit, which is all that matters of a NaN. */
function widenedNan(bits: I32): I64 {
  return or(i64(DOUBLE.infinity), shl(extendU(and(bits, i32(0x7f_ffff))), i64(29)));
}

/** binary32: unboxed bits as i32. */
export const SINGLE: Format<"i32", "f32"> = {
  name: "s",
  bits: "i32",
  width: 32,
  fractionBits: 23,
  bias: 127,
  signBit: 1n << 31n,
  infinity: 0xffn << 23n,
  quietBit: 1n << 22n,
  canonicalNan: 0x7fc0n << 16n,
  integer: (value) => i32(Number(value)),
  real: f32,
  toValue: f32OfBits,
  toBits: bitsOfF32,
  fromWide: wrap,
  fromExactDouble: (bits) =>
    ifElse(isNan(DOUBLE, bits), CANONICAL_SINGLE_NAN, bitsOfF32(demote(f64OfBits(bits)))),
  toDouble: (bits) =>
    ifElse(isNan(SINGLE, bits), widenedNan(bits), bitsOfF64(promote(f32OfBits(bits)))),
  toDoubleValue: (bits) => promote(f32OfBits(bits)),
  fromSigned: f32OfS,
  fromUnsigned: f32OfU,
};

/** The bits without the sign, shifted left by one: 0 is zero, `infinityDoubled` is infinity. */
export function doubled<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
  bits: Expr<B>,
): Expr<B> {
  return shl(bits, format.integer(1n));
}

/** What `doubled` gives for infinities. */
export function infinityDoubled<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
): Expr<B> {
  return format.integer(format.infinity << 1n);
}

/** True for quiet and signalling NaNs. */
export function isNan<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
  bits: Expr<B>,
): I32 {
  return gtU(doubled(format, bits), infinityDoubled(format));
}

/** True for NaNs with a clear quiet bit. */
export function isSignalingNan<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
  bits: Expr<B>,
): I32 {
  const quiet = format.integer(format.quietBit);
  return and(isNan(format, bits), eq(and(bits, quiet), format.integer(0n)));
}

/**
 * The exponent field lies in 2 .. max-1: a rounded result of that size neither overflowed nor, as
 * the smallest normal number might have, came from a tiny one.
 */
export function exponentIsSafe<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
  value: Expr<V>,
): I32 {
  const smallest = format.real(2 ** (2 - format.bias));
  return and(fGe(fAbs(value), smallest), fLt(fAbs(value), format.real(Number.POSITIVE_INFINITY)));
}

/** The single in an f register; a register that is not a boxed single reads as canonical NaN. */
export function unboxF32(bits: I64): I32 {
  const boxed = eq(shrU(bits, i64(32)), i64(0xffff_ffff));
  return select(boxed, wrap(bits), CANONICAL_SINGLE_NAN);
}

/** A single as it stands in an f register: the upper half all ones. */
export function boxF32(bits: I32): I64 {
  return or(extendU(bits), i64(0xffff_ffffn << 32n));
}
