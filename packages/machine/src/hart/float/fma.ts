/**
 * Fused multiply-add rounded to nearest, without a fused instruction. Single: product and sum in
 * double, which fails only where the sum looks like a tie. Double: product and sum as unevaluated
 * pairs, accepted if the result is the same for both ends of the error interval (Ziv's test).
 */
import {
  and,
  bitsOfF32,
  bitsOfF64,
  demote,
  type Expr,
  eq,
  eqz,
  f32OfBits,
  f64,
  f64OfBits,
  fAdd,
  fMul,
  fSub,
  type I32,
  type I64,
  type IntType,
  i32,
  i64,
  ltU,
  ne,
  nez,
  or,
  promote,
  shl,
  sub,
  wrap,
} from "../../wasm/expr.ts";
import { call, type Fn, type Local, type ModuleBuilder, not } from "../../wasm/module.ts";
import { sumError } from "./exact.ts";
import { exponentIsSafe, SINGLE } from "./format.ts";
import type { AccrueRef, FormatFunctions } from "./functions.ts";
import type { SoftFunctions } from "./soft.ts";
import {
  FLAG,
  type FloatState,
  loadMode,
  mayRoundToNearest,
  ROUND,
  resolveRounding,
} from "./state.ts";

/** Where and with what the two functions are defined. */
export interface FmaParts<B extends "i32" | "i64"> {
  readonly m: ModuleBuilder;
  readonly state: FloatState;
  readonly functions: FormatFunctions<B>;
  readonly soft: SoftFunctions<B>;
  readonly accrue: AccrueRef;
}

/** A product exactly: high + low. */
interface Pair {
  readonly high: Local<"f64">;
  readonly low: Local<"f64">;
}

/** Veltkamp's splitting into two halves of at most 26 bits; overflows above 2^996. */
function split(f: Fn, x: Local<"f64">): Pair {
  const scaled = f.let(fMul(x, f64(2 ** 27 + 1)));
  const high = f.let(fSub(scaled, fSub(scaled, x)));
  return { high, low: f.let(fSub(x, high)) };
}

/** Dekker's product. */
function exactProduct(f: Fn, a: Local<"f64">, b: Local<"f64">): Pair {
  const high = f.let(fMul(a, b));
  const x = split(f, a);
  const y = split(f, b);
  // ((high - xh*yh) - xl*yh) - xh*yl, each step exact.
  const error1 = fSub(high, fMul(x.high, y.high));
  const error2 = fSub(error1, fMul(x.low, y.high));
  const error3 = fSub(error2, fMul(x.high, y.low));
  return { high, low: f.let(fSub(fMul(x.low, y.low), error3)) };
}

/** 2^-`reach` <= |x| < 2^`reach`. */
function within(bits: I64, reach: number): I32 {
  const lowest = BigInt(1023 - reach) << 53n;
  return ltU(sub(shl(bits, i64(1)), i64(lowest)), i64(BigInt(2 * reach) << 53n));
}

/**
 * Within these bounds no intermediate overflows and none loses bits by underflow: the lowest bit
 * of the product is 2^-904 or more.
 */
const FACTOR_REACH = 400;
const ADDEND_REACH = 850;

/** Defines `functions.fma` for doubles. */
export function defineDoubleFma({ m, state, functions, soft, accrue }: FmaParts<"i64">): void {
  m.define(functions.fma, (f, rm, aBits, bBits, cBits) => {
    resolveRounding(f, state, rm);
    const inReach = and(
      and(within(aBits, FACTOR_REACH), within(bBits, FACTOR_REACH)),
      or(within(cBits, ADDEND_REACH), eqz(shl(cBits, i64(1)))),
    );
    f.if(and(eq(rm, i32(ROUND.RNE)), inReach), () => {
      const c = f.let(f64OfBits(cBits));
      const product = exactProduct(f, f.let(f64OfBits(aBits)), f.let(f64OfBits(bBits)));
      const sum = f.let(fAdd(product.high, c));
      const sumLow = f.let(sumError(f, product.high, c, sum));
      const rest = f.let(fAdd(sumLow, product.low));
      const result = f.let(fAdd(sum, rest));
      const slack = f.let(fMul(rest, f64(2 ** -52)));
      const certain = eq(fAdd(sum, fAdd(rest, slack)), fAdd(sum, fSub(rest, slack)));
      f.if(and(ne(result, f64(0)), certain), () => {
        f.if(nez(loadMode(state)), () => {
          const restInexact = f.let(ne(sumError(f, sumLow, product.low, rest), f64(0)));
          const resultInexact = ne(sumError(f, sum, rest, result), f64(0));
          f.if(or(restInexact, resultInexact), () => f.call(accrue, i32(FLAG.NX)));
        });
        f.return(bitsOfF64(result));
      });
    });
    f.return(call(soft.fma, rm, aBits, bBits, cBits));
  });
}

/** A single-precision a * b + c by way of double; `product` is exact. */
interface SingleFma {
  readonly product: Local<"f64">;
  readonly addend: Local<"f64">;
  readonly sum: Local<"f64">;
  readonly result: Local<"f32">;
  /**
   * `sum` lies half way between two singles, where rounding it again may go wrong; everywhere
   * else in range `result` is right.
   */
  readonly tie: I32;
}

/** Emits the computation from raw bits. */
function computeSingleFma(f: Fn, a: I32, b: I32, c: I32): SingleFma {
  const product = f.let(fMul(promote(f32OfBits(a)), promote(f32OfBits(b))));
  const addend = f.let(promote(f32OfBits(c)));
  const sum = f.let(fAdd(product, addend));
  const result = f.let(demote(sum));
  const belowSingle = and(wrap(bitsOfF64(sum)), i32(0x1fff_ffff));
  return { product, addend, sum, result, tie: eq(belowSingle, i32(0x1000_0000)) };
}

/** Defines `functions.fma` for singles. */
export function defineSingleFma({ m, state, functions, soft, accrue }: FmaParts<"i32">): void {
  m.define(functions.fma, (f, rm, a, b, c) => {
    resolveRounding(f, state, rm);
    f.if(eq(rm, i32(ROUND.RNE)), () => {
      const { product, addend, sum, result, tie } = computeSingleFma(f, a, b, c);
      f.if(and(exponentIsSafe(SINGLE, result), eqz(tie)), () => {
        const sumInexact = ne(sumError(f, product, addend, sum), f64(0));
        f.if(or(sumInexact, ne(promote(result), sum)), () => f.call(accrue, i32(FLAG.NX)));
        f.return(bitsOfF32(result));
      });
    });
    const wide = [a, b, c].map((bits) => f.let(SINGLE.toDouble(bits)));
    f.return(call(soft.fma, rm, ...wide));
  });
}

/** a * b + c on raw bits; `rm` as in `ArithOps`. */
export type InlineFma<B extends IntType> = (
  f: Fn,
  rm: I32,
  a: Expr<B>,
  b: Expr<B>,
  c: Expr<B>,
) => Expr<B>;

/** Too long to be inlined: always a call. */
export function inlineDoubleFma(functions: FormatFunctions<"i64">): InlineFma<"i64"> {
  return (f, rm, a, b, c) => f.let(call(functions.fma, rm, a, b, c));
}

/** Inline if rounding to nearest in range and no tie, else a call. */
export function inlineSingleFma(
  state: FloatState,
  functions: FormatFunctions<"i32">,
): InlineFma<"i32"> {
  return (f, rm, a, b, c) => {
    const [x, y, z] = [f.let(a), f.let(b), f.let(c)];
    const slow = call(functions.fma, rm, x, y, z);
    if (!mayRoundToNearest(rm)) return f.let(slow);
    const { result, tie } = computeSingleFma(f, x, y, z);
    const out = f.let(bitsOfF32(result));
    const unsafe = or(or(loadMode(state), tie), not(exponentIsSafe(SINGLE, result)));
    f.if(unsafe, () => f.set(out, slow), undefined, "unlikely");
    return out;
  };
}
