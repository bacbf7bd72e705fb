/**
 * Addition, multiplication, division, square root and fused multiply-add.
 *
 * Inline: the WebAssembly operation, if the rounding is to nearest, the result is in range (no
 * overflow, underflow, NaN, division by zero possible) and `mode` is 0 (an inexact result would
 * change nothing). Otherwise a function, which for results in range and rounding to nearest only
 * has to find out whether the result is exact, and hands everything else to the software core.
 */
import {
  and,
  both,
  type Expr,
  eq,
  eqz,
  type FloatType,
  fAbs,
  fAdd,
  fDiv,
  fGe,
  fLt,
  fMul,
  fSqrt,
  fSub,
  type I32,
  type IntType,
  i32,
  i64,
  ne,
  or,
  xor,
} from "../../wasm/expr.ts";
import { call, type Fn, type Local, type ModuleBuilder, not } from "../../wasm/module.ts";
import { type ExactnessTests, sumError } from "./exact.ts";
import type { InlineFma } from "./fma.ts";
import { DOUBLE, doubled, exponentIsSafe, type Format } from "./format.ts";
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

/** Where and with what the functions of one format are defined. */
export interface ArithParts<B extends IntType, V extends FloatType> {
  readonly m: ModuleBuilder;
  readonly state: FloatState;
  readonly format: Format<B, V>;
  readonly functions: FormatFunctions<B>;
  readonly soft: SoftFunctions<B>;
  readonly tests: ExactnessTests<B>;
  readonly accrue: AccrueRef;
}

/** Sums never underflow, so only overflow is out of range; half of it, for `sumError`. */
function sumIsSafe<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
  sum: Expr<V>,
): I32 {
  return fLt(fAbs(sum), format.real(2 ** format.bias));
}

/** Positive, normal, finite. */
function radicandIsSafe<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
  radicand: Expr<V>,
): I32 {
  return and(
    fGe(radicand, format.real(2 ** (1 - format.bias))),
    fLt(radicand, format.real(Number.POSITIVE_INFINITY)),
  );
}

/** Defines add, mul, div and sqrt of one format. */
export function defineArith<B extends IntType, V extends FloatType>(parts: ArithParts<B, V>): void {
  defineAdd(parts);
  defineMul(parts);
  defineDiv(parts);
  defineSqrt(parts);
}

/** Ends the function with `bits` if they are known to be right, after accruing NX if due. */
function returnNearest<B extends IntType, V extends FloatType>(
  f: Fn,
  { accrue }: ArithParts<B, V>,
  bits: Local<B>,
  inexact: I32,
): void {
  f.if(inexact, () => f.call(accrue, i32(FLAG.NX)));
  f.return(bits);
}

function isZero<B extends IntType, V extends FloatType>(format: Format<B, V>, bits: Expr<B>): I32 {
  return eqz(doubled(format, bits));
}

function defineAdd<B extends IntType, V extends FloatType>(parts: ArithParts<B, V>): void {
  const { m, state, format, functions, soft } = parts;
  m.define(functions.add, (f, rm, a, b) => {
    resolveRounding(f, state, rm);
    f.if(eq(rm, i32(ROUND.RNE)), () => {
      const x = f.let(format.toValue(a));
      const y = f.let(format.toValue(b));
      const sum = f.let(fAdd(x, y));
      f.if(sumIsSafe(format, sum), () => {
        const inexact = ne(sumError(f, x, y, sum), format.real(0));
        returnNearest(f, parts, f.let(format.toBits(sum)), inexact);
      });
    });
    const one = i64(BigInt(DOUBLE.bias) << 52n);
    const wideA = f.let(format.toDouble(a));
    const wideB = f.let(format.toDouble(b));
    f.return(call(soft.fma, rm, wideA, one, wideB));
  });
}

function defineMul<B extends IntType, V extends FloatType>(parts: ArithParts<B, V>): void {
  const { m, state, format, functions, soft, tests } = parts;
  m.define(functions.mul, (f, rm, a, b) => {
    const value = f.let(fMul(format.toValue(a), format.toValue(b)));
    const bits = f.let(format.toBits(value));
    const zeroFactor = both(isZero(format, bits), or(isZero(format, a), isZero(format, b)));
    f.if(zeroFactor, () => f.return(bits));
    resolveRounding(f, state, rm);
    f.if(and(eq(rm, i32(ROUND.RNE)), exponentIsSafe(format, value)), () => {
      f.if(and(tests.covers(a), tests.covers(b)), () => {
        returnNearest(f, parts, bits, tests.productInexact(a, b, bits));
      });
    });
    const wideA = f.let(format.toDouble(a));
    const wideB = f.let(format.toDouble(b));
    // Adding a zero of the product's sign changes nothing.
    const zero = and(xor(wideA, wideB), i64(DOUBLE.signBit));
    f.return(call(soft.fma, rm, wideA, wideB, zero));
  });
}

function defineDiv<B extends IntType, V extends FloatType>(parts: ArithParts<B, V>): void {
  const { m, state, format, functions, soft, tests } = parts;
  m.define(functions.div, (f, rm, a, b) => {
    resolveRounding(f, state, rm);
    const value = f.let(fDiv(format.toValue(a), format.toValue(b)));
    const bits = f.let(format.toBits(value));
    f.if(and(eq(rm, i32(ROUND.RNE)), exponentIsSafe(format, value)), () => {
      f.if(and(tests.covers(a), tests.covers(b)), () => {
        returnNearest(f, parts, bits, tests.quotientInexact(a, b, bits));
      });
    });
    const wideA = f.let(format.toDouble(a));
    const wideB = f.let(format.toDouble(b));
    f.return(call(soft.div, rm, wideA, wideB));
  });
}

function defineSqrt<B extends IntType, V extends FloatType>(parts: ArithParts<B, V>): void {
  const { m, state, format, functions, soft, tests } = parts;
  m.define(functions.sqrt, (f, rm, a) => {
    resolveRounding(f, state, rm);
    const value = f.let(format.toValue(a));
    f.if(and(eq(rm, i32(ROUND.RNE)), radicandIsSafe(format, value)), () => {
      const bits = f.let(format.toBits(fSqrt(value)));
      returnNearest(f, parts, bits, tests.rootInexact(a, bits));
    });
    f.return(call(soft.sqrt, rm, f.let(format.toDouble(a))));
  });
}

/**
 * Rounded operations of one format on raw bits. A constant as rounding-mode field (0 .. 4, or 7
 * for what frm says) gets the inline path where there is one, any other expression only the call.
 */
export interface ArithOps<B extends IntType> {
  add(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>): Expr<B>;
  sub(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>): Expr<B>;
  mul(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>): Expr<B>;
  div(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>): Expr<B>;
  sqrt(f: Fn, rm: I32, a: Expr<B>): Expr<B>;
  /** a*b + c, a*b - c, -(a*b) + c, -(a*b) - c. */
  madd(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>, c: Expr<B>): Expr<B>;
  msub(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>, c: Expr<B>): Expr<B>;
  nmsub(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>, c: Expr<B>): Expr<B>;
  nmadd(f: Fn, rm: I32, a: Expr<B>, b: Expr<B>, c: Expr<B>): Expr<B>;
}

/** What distinguishes the inline code of one operation. */
interface Inline<B extends IntType, V extends FloatType> {
  readonly value: Expr<V>;
  readonly isSafe: (value: Expr<V>) => I32;
  readonly slow: Expr<B>;
}

/** The rounded operations of `format`; `fma` emits its fused multiply-add. */
export function arithOps<B extends IntType, V extends FloatType>(
  state: FloatState,
  format: Format<B, V>,
  functions: FormatFunctions<B>,
  fma: InlineFma<B>,
): ArithOps<B> {
  const sign = format.integer(format.signBit);
  const negate = (bits: Expr<B>) => xor(bits, sign);
  const { toValue } = format;

  function emit(f: Fn, rm: I32, { value, isSafe, slow }: Inline<B, V>): Expr<B> {
    if (!mayRoundToNearest(rm)) return f.let(slow);
    const fast = f.let(value);
    const out = f.let(format.toBits(fast));
    const unsafe = or(loadMode(state), not(isSafe(fast)));
    f.if(unsafe, () => f.set(out, slow), undefined, "unlikely");
    return out;
  }

  return {
    add: (f, rm, a, b) => {
      const [x, y] = [f.let(a), f.let(b)];
      return emit(f, rm, {
        value: fAdd(toValue(x), toValue(y)),
        isSafe: (sum) => sumIsSafe(format, sum),
        slow: call(functions.add, rm, x, y),
      });
    },
    sub: (f, rm, a, b) => {
      const [x, y] = [f.let(a), f.let(b)];
      return emit(f, rm, {
        value: fSub(toValue(x), toValue(y)),
        isSafe: (difference) => sumIsSafe(format, difference),
        slow: call(functions.add, rm, x, negate(y)),
      });
    },
    mul: (f, rm, a, b) => {
      const [x, y] = [f.let(a), f.let(b)];
      return emit(f, rm, {
        value: fMul(toValue(x), toValue(y)),
        isSafe: (product) => exponentIsSafe(format, product),
        slow: call(functions.mul, rm, x, y),
      });
    },
    div: (f, rm, a, b) => {
      const [x, y] = [f.let(a), f.let(b)];
      return emit(f, rm, {
        value: fDiv(toValue(x), toValue(y)),
        isSafe: (quotient) => exponentIsSafe(format, quotient),
        slow: call(functions.div, rm, x, y),
      });
    },
    sqrt: (f, rm, a) => {
      const x = f.let(a);
      return emit(f, rm, {
        value: fSqrt(toValue(x)),
        isSafe: () => radicandIsSafe(format, toValue(x)),
        slow: call(functions.sqrt, rm, x),
      });
    },
    madd: (f, rm, a, b, c) => fma(f, rm, a, b, c),
    msub: (f, rm, a, b, c) => fma(f, rm, a, b, negate(c)),
    nmsub: (f, rm, a, b, c) => fma(f, rm, negate(a), b, c),
    nmadd: (f, rm, a, b, c) => fma(f, rm, negate(a), b, negate(c)),
  };
}
