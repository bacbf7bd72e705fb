/**
 * Tests whether a result that the hardware rounded to nearest is exact. They hold for results in
 * range: neither overflow nor underflow is near, no operand is NaN or infinite.
 */
import {
  add,
  and,
  type Expr,
  extendU,
  type FloatType,
  f32OfBits,
  fAdd,
  fMul,
  fSub,
  type I32,
  type IntType,
  i32,
  mul,
  ne,
  nez,
  promote,
  shl,
  sub,
  xor,
} from "../../wasm/expr.ts";
import type { Fn, Local } from "../../wasm/module.ts";
import { DOUBLE } from "./format.ts";
import { exponentField, integerSignificand } from "./unpacked.ts";

/** Operands and results are raw bits. */
export interface ExactnessTests<B extends IntType> {
  /** Whether the tests below may be asked about an operand. */
  covers(operand: Expr<B>): I32;
  productInexact(a: Expr<B>, b: Expr<B>, result: Expr<B>): I32;
  quotientInexact(a: Expr<B>, b: Expr<B>, result: Expr<B>): I32;
  rootInexact(a: Expr<B>, result: Expr<B>): I32;
}

/**
 * The rounding error of `sum` = a + b, itself exact (Knuth's TwoSum) unless an intermediate
 * overflows, which |sum| below half the overflow threshold excludes.
 */
export function sumError<V extends FloatType>(
  f: Fn,
  a: Expr<V>,
  b: Expr<V>,
  sum: Local<V>,
): Expr<V> {
  const bVirtual = f.let(fSub(sum, a));
  const aVirtual = fSub(sum, bVirtual);
  return fAdd(fSub(a, aVirtual), fSub(b, bVirtual));
}

const BIAS = i32(DOUBLE.bias);

/**
 * Doubles: exact integer arithmetic on 53-bit significands modulo 2^64. The difference between
 * the two sides is below 2^54, or only the low 53 bits are asked for, so nothing is lost.
 */
export const DOUBLE_TESTS: ExactnessTests<"i64"> = {
  covers: (operand) => nez(exponentField(operand)),
  productInexact: (a, b, result) => {
    // 52 or 53 low bits of the product fell away.
    const sum = sub(add(exponentField(a), exponentField(b)), BIAS);
    const dropped = add(i32(52), sub(exponentField(result), sum));
    const product = mul(integerSignificand(a), integerSignificand(b));
    return nez(shl(product, extendU(sub(i32(64), dropped))));
  },
  quotientInexact: (a, b, result) => {
    const difference = add(sub(exponentField(a), exponentField(b)), BIAS);
    const scale = add(i32(52), sub(difference, exponentField(result)));
    const product = mul(integerSignificand(result), integerSignificand(b));
    return ne(shl(integerSignificand(a), extendU(scale)), product);
  },
  rootInexact: (a, result) => {
    // An even field is an odd exponent: the bias is odd.
    const odd = xor(and(exponentField(a), i32(1)), i32(1));
    const square = mul(integerSignificand(result), integerSignificand(result));
    return ne(shl(integerSignificand(a), extendU(add(i32(52), odd))), square);
  },
};

const widened = (bits: I32) => promote(f32OfBits(bits));

/** Singles: products of two 24-bit significands are exact in double. */
export const SINGLE_TESTS: ExactnessTests<"i32"> = {
  covers: () => i32(1),
  productInexact: (a, b, result) => ne(fMul(widened(a), widened(b)), widened(result)),
  quotientInexact: (a, b, result) => ne(fMul(widened(result), widened(b)), widened(a)),
  rootInexact: (a, result) => ne(fMul(widened(result), widened(result)), widened(a)),
};
