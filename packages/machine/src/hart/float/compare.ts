/**
 * Operations without rounding: comparisons, minimum and maximum, sign injection, classification.
 * The usual case is inline; a NaN operand goes to a function.
 */
import {
  add,
  and,
  type Expr,
  eq,
  extendU,
  type FloatType,
  fLe,
  fLt,
  fMax,
  fMin,
  geU,
  type I32,
  type I64,
  type IntType,
  i32,
  ltS,
  ne,
  or,
  select,
  shl,
  sub,
  xor,
} from "../../wasm/expr.ts";
import { call, type Fn, type ModuleBuilder } from "../../wasm/module.ts";
import { doubled, type Format, infinityDoubled, isNan, isSignalingNan } from "./format.ts";
import type { AccrueRef, FormatFunctions } from "./functions.ts";
import { FLAG } from "./state.ts";

/** Defines the functions that the operations below call. */
export function defineCompare<B extends IntType, V extends FloatType>(
  m: ModuleBuilder,
  format: Format<B, V>,
  functions: FormatFunctions<B>,
  accrue: AccrueRef,
): void {
  m.define(functions.signal, (f, a, b) => {
    f.if(or(isSignalingNan(format, a), isSignalingNan(format, b)), () => {
      f.call(accrue, i32(FLAG.NV));
    });
  });
  m.define(functions.notNan, (f, a, b) => {
    f.call(functions.signal, a, b);
    f.if(isNan(format, a), () => f.set(a, b));
    f.if(isNan(format, a), () => f.return(format.integer(format.canonicalNan)));
    f.return(a);
  });
  defineClassify(m, format, functions);
}

/** The mask of fclass (RISC-V unprivileged specification, table "Format of result of FCLASS"). */
function defineClassify<B extends IntType, V extends FloatType>(
  m: ModuleBuilder,
  format: Format<B, V>,
  functions: FormatFunctions<B>,
): void {
  m.define(functions.classify, (f, a) => {
    const quiet = i32(1 << 9);
    const signaling = i32(1 << 8);
    f.if(isNan(format, a), () => {
      f.return(select(isSignalingNan(format, a), signaling, quiet));
    });
    const magnitude = f.let(doubled(format, a));
    const zero = format.integer(0n);
    const smallestNormal = format.integer(1n << BigInt(format.fractionBits + 1));
    // 0 zero, 1 subnormal, 2 normal, 3 infinite; mirrored around the two zeros by the sign.
    const rank = f.let(
      add(
        add(ne(magnitude, zero), geU(magnitude, smallestNormal)),
        eq(magnitude, infinityDoubled(format)),
      ),
    );
    const negative = ltS(a, zero);
    const bit = select(negative, sub(i32(3), rank), add(i32(4), rank));
    f.return(shl(i32(1), bit));
  });
}

/** Comparing operations of one format on raw bits; integer results are register values. */
export interface CompareOps<B extends IntType> {
  min(f: Fn, a: Expr<B>, b: Expr<B>): Expr<B>;
  max(f: Fn, a: Expr<B>, b: Expr<B>): Expr<B>;
  /** Quiet: NV only for signalling NaNs. */
  eq(f: Fn, a: Expr<B>, b: Expr<B>): I64;
  /** Signalling: NV for every NaN. */
  lt(f: Fn, a: Expr<B>, b: Expr<B>): I64;
  le(f: Fn, a: Expr<B>, b: Expr<B>): I64;
  /** `a` with the sign of `b`, its complement, or both signs' exclusive or. */
  sgnj(f: Fn, a: Expr<B>, b: Expr<B>): Expr<B>;
  sgnjn(f: Fn, a: Expr<B>, b: Expr<B>): Expr<B>;
  sgnjx(f: Fn, a: Expr<B>, b: Expr<B>): Expr<B>;
  class(f: Fn, a: Expr<B>): I64;
}

/** The comparing operations of `format`. */
export function compareOps<B extends IntType, V extends FloatType>(
  format: Format<B, V>,
  functions: FormatFunctions<B>,
  accrue: AccrueRef,
): CompareOps<B> {
  const sign = format.integer(format.signBit);
  const magnitudeMask = format.integer(format.signBit - 1n);

  /** Binds the operands as bits and as values. */
  function bind(f: Fn, a: Expr<B>, b: Expr<B>) {
    const x = f.let(a);
    const y = f.let(b);
    return { x, y, vx: f.let(format.toValue(x)), vy: f.let(format.toValue(y)) };
  }
  function extreme(pick: (a: Expr<V>, b: Expr<V>) => Expr<V>) {
    return (f: Fn, a: Expr<B>, b: Expr<B>): Expr<B> => {
      const { x, y, vx, vy } = bind(f, a, b);
      const value = f.let(pick(vx, vy));
      const out = f.let(format.toBits(value));
      const notNan = () => f.set(out, call(functions.notNan, x, y));
      f.if(ne(value, value), notNan, undefined, "unlikely");
      return out;
    };
  }
  function comparison(
    compare: (a: Expr<V>, b: Expr<V>) => I32,
    onNan: (f: Fn, x: Expr<B>, y: Expr<B>) => void,
  ) {
    return (f: Fn, a: Expr<B>, b: Expr<B>): I64 => {
      const { x, y, vx, vy } = bind(f, a, b);
      const unordered = or(ne(vx, vx), ne(vy, vy));
      f.if(unordered, () => onNan(f, x, y), undefined, "unlikely");
      return extendU(f.let(compare(vx, vy)));
    };
  }
  const signalAny = (f: Fn) => f.call(accrue, i32(FLAG.NV));
  const signalSignaling = (f: Fn, x: Expr<B>, y: Expr<B>) => f.call(functions.signal, x, y);

  return {
    min: extreme(fMin),
    max: extreme(fMax),
    eq: comparison(eq, signalSignaling),
    lt: comparison(fLt, signalAny),
    le: comparison(fLe, signalAny),
    sgnj: (f, a, b) => f.let(or(and(a, magnitudeMask), and(b, sign))),
    sgnjn: (f, a, b) => f.let(or(and(a, magnitudeMask), and(xor(b, sign), sign))),
    sgnjx: (f, a, b) => f.let(xor(a, and(b, sign))),
    class: (f, a) => extendU(f.let(call(functions.classify, a))),
  };
}
