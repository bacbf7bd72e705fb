/**
 * Conversions between integer registers and floats and between the two formats. Integer operands
 * and results are register values: the W forms read the low 32 bits and give them sign-extended.
 */
import {
  add,
  and,
  bitsOfF32,
  bitsOfF64,
  both,
  clz,
  demote,
  type Expr,
  eq,
  eqz,
  extend32S,
  extendS,
  extendU,
  type F64,
  type FloatType,
  f32OfBits,
  f64,
  f64OfBits,
  fAbs,
  fAdd,
  fCeil,
  fCopySign,
  fFloor,
  fGe,
  fLt,
  fNearest,
  fSub,
  fTrunc,
  type I32,
  type I64,
  type IntType,
  i32,
  i32TruncSatS,
  i32TruncSatU,
  i64,
  i64TruncSatS,
  i64TruncSatU,
  leU,
  ltS,
  ne,
  nez,
  or,
  promote,
  select,
  shl,
  sub,
  wrap,
} from "../../wasm/expr.ts";
import {
  call,
  type Fn,
  type FuncRef,
  type Local,
  type ModuleBuilder,
  not,
} from "../../wasm/module.ts";
import { DOUBLE, exponentIsSafe, type Format, SINGLE } from "./format.ts";
import type { FloatFunctions, FormatFunctions } from "./functions.ts";
import type { RoundFunction } from "./round.ts";
import type { SoftFunctions } from "./soft.ts";
import {
  FLAG,
  type FloatState,
  loadMode,
  mayRoundToNearest,
  ROUND,
  resolveRounding,
} from "./state.ts";
import { shiftRightJam } from "./unpacked.ts";

/** One integer type that floats convert to; `T` carries it. */
interface Target<T extends IntType> {
  /** Integers from `low` up to but not including `end` are representable. */
  readonly low: number;
  readonly end: number;
  /** What too small and too large operands give; NaN gives `largest`. */
  readonly smallest: Expr<T>;
  readonly largest: Expr<T>;
  /** From an integral double within bounds. */
  take(integral: F64): Expr<T>;
}

const W: Target<"i32"> = {
  low: -(2 ** 31),
  end: 2 ** 31,
  smallest: i32(-(2 ** 31)),
  largest: i32(2 ** 31 - 1),
  take: i32TruncSatS,
};
const WU: Target<"i32"> = {
  low: 0,
  end: 2 ** 32,
  smallest: i32(0),
  largest: i32(-1),
  take: i32TruncSatU,
};
const L: Target<"i64"> = {
  low: -(2 ** 63),
  end: 2 ** 63,
  smallest: i64(-(1n << 63n)),
  largest: i64((1n << 63n) - 1n),
  take: i64TruncSatS,
};
const LU: Target<"i64"> = {
  low: 0,
  end: 2 ** 64,
  smallest: i64(0),
  largest: i64(-1),
  take: i64TruncSatU,
};

/** Where and with what the conversions are defined. */
export interface ConvertParts {
  readonly m: ModuleBuilder;
  readonly state: FloatState;
  readonly functions: FloatFunctions;
  readonly softSingle: SoftFunctions<"i32">;
  readonly roundDouble: RoundFunction<"i64">;
  readonly roundSingle: RoundFunction<"i32">;
}

/** Defines the conversions of both formats. */
export function defineConvert(parts: ConvertParts): void {
  const { m, state, functions, roundDouble, roundSingle } = parts;
  defineToInteger(parts, W, functions.toW);
  defineToInteger(parts, WU, functions.toWu);
  defineToInteger(parts, L, functions.toL);
  defineToInteger(parts, LU, functions.toLu);
  defineFromInteger(m, state, DOUBLE, functions.d, roundDouble);
  defineFromInteger(m, state, SINGLE, functions.s, roundSingle);
  defineNarrow(parts);
  m.define(functions.widenNan, (f, a) => {
    f.call(functions.s.signal, a, a);
    f.return(i64(DOUBLE.canonicalNan));
  });
}

function isWithin(target: Target<IntType>, integral: F64): I32 {
  return and(fGe(integral, f64(target.low)), fLt(integral, f64(target.end)));
}

function defineToInteger<T extends IntType>(
  { m, state, functions: { accrue } }: ConvertParts,
  target: Target<T>,
  func: FuncRef<readonly ["i32", "i64"], T>,
): void {
  m.define(func, (f, rm, bits) => {
    resolveRounding(f, state, rm);
    const x = f.let(f64OfBits(bits));
    const integral = roundToIntegral(f, rm, x);
    f.if(
      isWithin(target, integral),
      () => {
        f.if(ne(integral, x), () => f.call(accrue, i32(FLAG.NX)));
        f.return(target.take(integral));
      },
      () => {
        f.call(accrue, i32(FLAG.NV));
        const tooSmall = fLt(x, f64(0));
        f.return(select(tooSmall, target.smallest, target.largest));
      },
    );
  });
}

/** The integral double next to `x` in the direction of `rm` (0 .. 4). */
function roundToIntegral(f: Fn, rm: I32, x: Local<"f64">): Local<"f64"> {
  const integral = f.let(fNearest(x));
  const when = (mode: number, value: F64) => f.if(eq(rm, i32(mode)), () => f.set(integral, value));
  when(ROUND.RTZ, fTrunc(x));
  when(ROUND.RDN, fFloor(x));
  when(ROUND.RUP, fCeil(x));
  const truncated = fTrunc(x);
  const halfOrMore = fGe(fAbs(fSub(x, truncated)), f64(0.5));
  const away = fAdd(truncated, fCopySign(f64(1), x));
  when(ROUND.RMM, select(halfOrMore, away, truncated));
  return integral;
}

function defineFromInteger<B extends IntType, V extends FloatType>(
  m: ModuleBuilder,
  state: FloatState,
  format: Format<B, V>,
  functions: FormatFunctions<B>,
  round: RoundFunction<B>,
): void {
  /** Rounds sign and magnitude. */
  function pack(f: Fn, rm: Local<"i32">, sign: I32, magnitude: Local<"i64">): void {
    resolveRounding(f, state, rm);
    f.if(eqz(magnitude), () => f.return(format.integer(0n)));
    const zeros = f.let(clz(magnitude));
    const significand = f.let(shl(magnitude, sub(zeros, i64(1))));
    f.if(eqz(zeros), () => f.set(significand, shiftRightJam(magnitude, i64(1))));
    const exponent = sub(i32(63), wrap(zeros));
    f.return(call(round, rm, sign, exponent, significand));
  }
  m.define(functions.fromL, (f, rm, x) => {
    const sign = f.let(ltS(x, i64(0)));
    f.if(sign, () => f.set(x, sub(i64(0), x)));
    pack(f, rm, sign, x);
  });
  m.define(functions.fromLu, (f, rm, x) => pack(f, rm, i32(0), x));
}

function defineNarrow({ m, state, functions, softSingle }: ConvertParts): void {
  m.define(functions.narrow, (f, rm, bits) => {
    resolveRounding(f, state, rm);
    const x = f.let(f64OfBits(bits));
    const narrow = f.let(demote(x));
    f.if(and(eq(rm, i32(ROUND.RNE)), exponentIsSafe(SINGLE, narrow)), () => {
      f.if(ne(promote(narrow), x), () => f.call(functions.accrue, i32(FLAG.NX)));
      f.return(bitsOfF32(narrow));
    });
    f.return(call(softSingle.convert, rm, bits));
  });
}

/** Conversions between one format and integer registers; `rm` as in `ArithOps`. */
export interface IntegerOps<B extends IntType> {
  toW(f: Fn, rm: I32, a: Expr<B>): I64;
  toWu(f: Fn, rm: I32, a: Expr<B>): I64;
  toL(f: Fn, rm: I32, a: Expr<B>): I64;
  toLu(f: Fn, rm: I32, a: Expr<B>): I64;
  fromW(f: Fn, rm: I32, x: I64): Expr<B>;
  fromWu(f: Fn, rm: I32, x: I64): Expr<B>;
  fromL(f: Fn, rm: I32, x: I64): Expr<B>;
  fromLu(f: Fn, rm: I32, x: I64): Expr<B>;
}

/** The rounding operator for a rounding mode that is known and has one. */
function roundingOperator(rm: I32): ((x: F64) => F64) | undefined {
  switch (rm.known) {
    // DYN: unless mode is 0 the result counts only if it equals the operand, in any mode.
    case ROUND.RNE:
    case ROUND.DYN:
      return fNearest;
    case ROUND.RTZ:
      return fTrunc;
    case ROUND.RDN:
      return fFloor;
    case ROUND.RUP:
      return fCeil;
    default:
      return undefined;
  }
}

/** A conversion from an integer to `B`, rounding to nearest. */
interface FromInteger<B extends IntType> {
  readonly nearest: Expr<B>;
  /** May be 0 for an integer that the format holds. */
  readonly isExact: I32;
  readonly slow: Expr<B>;
}

function fromInteger<B extends IntType>(
  f: Fn,
  state: FloatState,
  rm: I32,
  { nearest, isExact, slow }: FromInteger<B>,
): Expr<B> {
  const out = f.let(nearest);
  const inexact = not(isExact);
  const unsafe = mayRoundToNearest(rm) ? and(nez(loadMode(state)), inexact) : inexact;
  f.if(unsafe, () => f.set(out, slow), undefined, "unlikely");
  return out;
}

/** The integer conversions of `format`, whose own functions are `own`. */
export function integerOps<B extends IntType, V extends FloatType>(
  state: FloatState,
  format: Format<B, V>,
  functions: FloatFunctions,
  own: FormatFunctions<B>,
): IntegerOps<B> {
  function toInteger<T extends IntType>(
    target: Target<T>,
    func: FuncRef<readonly ["i32", "i64"], T>,
  ) {
    return (f: Fn, rm: I32, a: Expr<B>): Expr<T> => {
      const bits = f.let(a);
      const x = f.let(format.toDoubleValue(bits));
      const slow = call(func, rm, bitsOfF64(x));
      const operator = roundingOperator(rm);
      if (operator === undefined) return f.let(slow);
      // `take` truncates by itself, which is faster; bounds are then tested before truncation.
      const integral = operator === fTrunc ? x : f.let(operator(x));
      const out = f.let(target.take(integral));
      const inexact = both(loadMode(state), ne(operator(x), x));
      const unsafe = or(inexact, not(isWithin(target, integral)));
      f.if(unsafe, () => f.set(out, slow), undefined, "unlikely");
      return out;
    };
  }
  const largestExact = 2 ** (format.fractionBits + 1);
  function fromL(f: Fn, rm: I32, operand: I64): Expr<B> {
    const x = f.let(operand);
    return fromInteger(f, state, rm, {
      nearest: format.toBits(format.fromSigned(x)),
      isExact: leU(add(x, i64(largestExact)), i64(2 * largestExact)),
      slow: call(own.fromL, rm, x),
    });
  }
  function fromLu(f: Fn, rm: I32, operand: I64): Expr<B> {
    const x = f.let(operand);
    return fromInteger(f, state, rm, {
      nearest: format.toBits(format.fromUnsigned(x)),
      isExact: leU(x, i64(largestExact)),
      slow: call(own.fromLu, rm, x),
    });
  }
  const toW = toInteger(W, functions.toW);
  const toWu = toInteger(WU, functions.toWu);
  /** 32 bits always fit a double's significand. */
  const isExactW = format.fractionBits >= 32;
  return {
    toW: (f, rm, a) => extendS(toW(f, rm, a)),
    toWu: (f, rm, a) => extendS(toWu(f, rm, a)),
    toL: toInteger(L, functions.toL),
    toLu: toInteger(LU, functions.toLu),
    fromW: (f, rm, x) =>
      isExactW ? f.let(format.toBits(format.fromSigned(wrap(x)))) : fromL(f, rm, extend32S(x)),
    fromWu: (f, rm, x) =>
      isExactW
        ? f.let(format.toBits(format.fromUnsigned(wrap(x))))
        : fromL(f, rm, extendU(wrap(x))),
    fromL,
    fromLu,
  };
}

/** fcvt.s.d: bits of a double to bits of a single. */
export function narrow(
  f: Fn,
  state: FloatState,
  functions: FloatFunctions,
  { rm, a }: { readonly rm: I32; readonly a: I64 },
): I32 {
  const bits = f.let(a);
  const slow = call(functions.narrow, rm, bits);
  if (!mayRoundToNearest(rm)) return f.let(slow);
  const value = f.let(demote(f64OfBits(bits)));
  const out = f.let(bitsOfF32(value));
  const unsafe = or(loadMode(state), not(exponentIsSafe(SINGLE, value)));
  f.if(unsafe, () => f.set(out, slow), undefined, "unlikely");
  return out;
}

/** fcvt.d.s: always exact. */
export function widen(f: Fn, functions: FloatFunctions, a: I32): I64 {
  const bits = f.let(a);
  const value = f.let(promote(f32OfBits(bits)));
  const out = f.let(bitsOfF64(value));
  const quiet = () => f.set(out, call(functions.widenNan, bits));
  f.if(ne(value, value), quiet, undefined, "unlikely");
  return out;
}
