/**
 * Floating-point arithmetic of F and D with exact flags, as code for instruction bodies. All
 * operands and results are raw bits: doubles as i64, singles unboxed as i32. NaN results are canonical, tininess is detected after rounding.
 *
 * The caller sees to three things: rm 5 and 6, and frm above 4 under DYN, never get here; FS is
 * made Dirty (and `mode` recomputed) before an operation, unless `mode` is 0; and `recomputeMode`
 * follows every other write of fflags, frm or mstatus.
 */
import type { Expr, I32, I64, IntType } from "../../wasm/expr.ts";
import type { Fn, ModuleBuilder } from "../../wasm/module.ts";
import { arithOps, defineArith } from "./arith.ts";
import { compareOps, defineCompare } from "./compare.ts";
import { defineConvert, integerOps, narrow, widen } from "./convert.ts";
import { DOUBLE_TESTS, SINGLE_TESTS } from "./exact.ts";
import { defineDoubleFma, defineSingleFma, inlineDoubleFma, inlineSingleFma } from "./fma.ts";
import { DOUBLE, SINGLE } from "./format.ts";
import {
  declareFunctions,
  exportFunctions,
  type FloatFunctions,
  importFunctions,
} from "./functions.ts";
import { defineRound } from "./round.ts";
import { defineSoft } from "./soft.ts";
import { defineSpecial } from "./special.ts";
import { accrueFlags, type FloatState, ROUND, type Rounding, recomputeMode } from "./state.ts";

type Unary<B extends IntType> = (f: Fn, rm: Rounding, a: Expr<B>) => Expr<B>;
type Binary<B extends IntType> = (f: Fn, rm: Rounding, a: Expr<B>, b: Expr<B>) => Expr<B>;
type Ternary<B extends IntType> = (
  f: Fn,
  rm: Rounding,
  a: Expr<B>,
  b: Expr<B>,
  c: Expr<B>,
) => Expr<B>;
type Extreme<B extends IntType> = (f: Fn, a: Expr<B>, b: Expr<B>) => Expr<B>;
type Comparison<B extends IntType> = (f: Fn, a: Expr<B>, b: Expr<B>) => I32;
type Conversion<A extends IntType, B extends IntType> = (
  f: Fn,
  rm: Rounding,
  a: Expr<A>,
) => Expr<B>;

/**
 * Emitters of the floating-point operations. Each writes statements to `f`, evaluates its operands
 * once and gives a variable with the result. A rounding mode that is a number gets inline code
 * where there is a fast path; as an expression (0 .. 4, 7) it means a call.
 */
export interface FloatOps {
  readonly addD: Binary<"i64">;
  readonly subD: Binary<"i64">;
  readonly mulD: Binary<"i64">;
  readonly divD: Binary<"i64">;
  readonly sqrtD: Unary<"i64">;
  /** a*b + c, a*b - c, -(a*b) + c, -(a*b) - c. */
  readonly maddD: Ternary<"i64">;
  readonly msubD: Ternary<"i64">;
  readonly nmsubD: Ternary<"i64">;
  readonly nmaddD: Ternary<"i64">;
  readonly minD: Extreme<"i64">;
  readonly maxD: Extreme<"i64">;
  /** 0 or 1. */
  readonly eqD: Comparison<"i64">;
  readonly ltD: Comparison<"i64">;
  readonly leD: Comparison<"i64">;
  /** The mask of fclass. */
  readonly classD: (f: Fn, a: I64) => I32;
  readonly wFromD: Conversion<"i64", "i32">;
  readonly wuFromD: Conversion<"i64", "i32">;
  readonly lFromD: Conversion<"i64", "i64">;
  readonly luFromD: Conversion<"i64", "i64">;
  readonly dFromW: (f: Fn, x: I32) => I64;
  readonly dFromWu: (f: Fn, x: I32) => I64;
  readonly dFromL: Conversion<"i64", "i64">;
  readonly dFromLu: Conversion<"i64", "i64">;

  readonly addS: Binary<"i32">;
  readonly subS: Binary<"i32">;
  readonly mulS: Binary<"i32">;
  readonly divS: Binary<"i32">;
  readonly sqrtS: Unary<"i32">;
  readonly maddS: Ternary<"i32">;
  readonly msubS: Ternary<"i32">;
  readonly nmsubS: Ternary<"i32">;
  readonly nmaddS: Ternary<"i32">;
  readonly minS: Extreme<"i32">;
  readonly maxS: Extreme<"i32">;
  readonly eqS: Comparison<"i32">;
  readonly ltS: Comparison<"i32">;
  readonly leS: Comparison<"i32">;
  readonly classS: (f: Fn, a: I32) => I32;
  readonly wFromS: Conversion<"i32", "i32">;
  readonly wuFromS: Conversion<"i32", "i32">;
  readonly lFromS: Conversion<"i32", "i64">;
  readonly luFromS: Conversion<"i32", "i64">;
  readonly sFromW: Conversion<"i32", "i32">;
  readonly sFromWu: Conversion<"i32", "i32">;
  readonly sFromL: Conversion<"i64", "i32">;
  readonly sFromLu: Conversion<"i64", "i32">;

  readonly sFromD: Conversion<"i64", "i32">;
  /** Always exact. */
  readonly dFromS: (f: Fn, a: I32) => I64;

  /** Updates `mode`; `fsIsDirty` is 0 or 1. */
  readonly recomputeMode: (f: Fn, fsIsDirty: I32) => void;
}

/** Defines the functions behind the operations in `m` and exports them. */
export function defineFloat(m: ModuleBuilder, state: FloatState): FloatOps {
  const functions = declareFunctions(m);
  const { accrue } = functions;
  m.define(accrue, (f, flags) => accrueFlags(f, state, flags));
  const special = defineSpecial(m, accrue);
  const roundDouble = defineRound(m, DOUBLE, accrue);
  const roundSingle = defineRound(m, SINGLE, accrue);
  const softDouble = defineSoft({ m, format: DOUBLE, round: roundDouble, special });
  const softSingle = defineSoft({ m, format: SINGLE, round: roundSingle, special });
  const double = { m, state, functions: functions.d, soft: softDouble, accrue };
  const single = { m, state, functions: functions.s, soft: softSingle, accrue };
  defineArith({ ...double, format: DOUBLE, tests: DOUBLE_TESTS });
  defineArith({ ...single, format: SINGLE, tests: SINGLE_TESTS });
  defineDoubleFma(double);
  defineSingleFma(single);
  defineCompare(m, DOUBLE, functions.d, accrue);
  defineCompare(m, SINGLE, functions.s, accrue);
  defineConvert({ m, state, functions, softSingle, roundDouble, roundSingle });
  exportFunctions(m, functions);
  return floatOps(state, functions);
}

/** The same operations for another module, which imports the functions from `env`. */
export function importFloat(m: ModuleBuilder, state: FloatState): FloatOps {
  return floatOps(state, importFunctions(m));
}

function floatOps(state: FloatState, functions: FloatFunctions): FloatOps {
  const { accrue } = functions;
  const d = {
    ...arithOps(state, DOUBLE, functions.d, inlineDoubleFma(functions.d)),
    ...compareOps(DOUBLE, functions.d, accrue),
    ...integerOps(state, DOUBLE, functions, functions.d),
  };
  const s = {
    ...arithOps(state, SINGLE, functions.s, inlineSingleFma(state, functions.s)),
    ...compareOps(SINGLE, functions.s, accrue),
    ...integerOps(state, SINGLE, functions, functions.s),
  };
  return {
    addD: d.add,
    subD: d.sub,
    mulD: d.mul,
    divD: d.div,
    sqrtD: d.sqrt,
    maddD: d.madd,
    msubD: d.msub,
    nmsubD: d.nmsub,
    nmaddD: d.nmadd,
    minD: d.min,
    maxD: d.max,
    eqD: d.eq,
    ltD: d.lt,
    leD: d.le,
    classD: d.class,
    wFromD: d.toW,
    wuFromD: d.toWu,
    lFromD: d.toL,
    luFromD: d.toLu,
    dFromW: (f, x) => d.fromW(f, ROUND.RNE, x),
    dFromWu: (f, x) => d.fromWu(f, ROUND.RNE, x),
    dFromL: d.fromL,
    dFromLu: d.fromLu,
    addS: s.add,
    subS: s.sub,
    mulS: s.mul,
    divS: s.div,
    sqrtS: s.sqrt,
    maddS: s.madd,
    msubS: s.msub,
    nmsubS: s.nmsub,
    nmaddS: s.nmadd,
    minS: s.min,
    maxS: s.max,
    eqS: s.eq,
    ltS: s.lt,
    leS: s.le,
    classS: s.class,
    wFromS: s.toW,
    wuFromS: s.toWu,
    lFromS: s.toL,
    luFromS: s.toLu,
    sFromW: s.fromW,
    sFromWu: s.fromWu,
    sFromL: s.fromL,
    sFromLu: s.fromLu,
    sFromD: (f, rm, a) => narrow(f, state, functions, { rm, a }),
    dFromS: (f, a) => widen(f, functions, a),
    recomputeMode: (f, fsIsDirty) => recomputeMode(f, state, fsIsDirty),
  };
}
