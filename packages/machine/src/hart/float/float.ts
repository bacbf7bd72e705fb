/**
 * Floating-point arithmetic of F and D with exact flags, as code for instruction bodies. All
 * operands and results are raw bits: doubles as i64, singles unboxed as i32, integer registers as
 * i64. NaN results are canonical, tininess is detected after rounding.
 *
 * The caller sees to three things: rm 5 and 6, and frm above 4 under DYN, never get here; FS is
 * made Dirty (and `mode` recomputed) before an operation, unless `mode` is 0; and `recomputeMode`
 * follows every other write of fflags, frm or mstatus.
 */
import type { I32, I64, IntType } from "../../wasm/expr.ts";
import type { Fn, ModuleBuilder } from "../../wasm/module.ts";
import { type ArithOps, arithOps, defineArith } from "./arith.ts";
import { type CompareOps, compareOps, defineCompare } from "./compare.ts";
import { defineConvert, type IntegerOps, integerOps, narrow, widen } from "./convert.ts";
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
import { accrueFlags, type FloatState, recomputeMode } from "./state.ts";

/** The operations of one format. */
export interface FormatOps<B extends IntType> extends ArithOps<B>, CompareOps<B>, IntegerOps<B> {}

/**
 * Emitters of the floating-point operations. Each writes statements to `f` and gives a variable
 * (or constant expression) with the result; operands are evaluated once.
 */
export interface FloatOps {
  readonly d: FormatOps<"i64">;
  readonly s: FormatOps<"i32">;
  /** fcvt.s.d */
  narrow(f: Fn, rm: I32, a: I64): I32;
  /** fcvt.d.s */
  widen(f: Fn, a: I32): I64;
  /** Updates `mode`; `fsIsDirty` is 0 or 1. */
  recomputeMode(f: Fn, fsIsDirty: I32): void;
}

/** Defines the functions behind the operations in `m` and exports them. */
export function defineFloat(m: ModuleBuilder, state: FloatState): FloatOps {
  const functions = declareFunctions(m);
  const { accrue } = functions;
  m.define(accrue, (f, flags) => accrueFlags(f, state, flags));
  const special = defineSpecial(m, accrue);
  const roundDouble = defineRound(m, state, DOUBLE, accrue);
  const roundSingle = defineRound(m, state, SINGLE, accrue);
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
  const { d, s, accrue } = functions;
  return {
    d: {
      ...arithOps(state, DOUBLE, d, inlineDoubleFma(d)),
      ...compareOps(DOUBLE, d, accrue),
      ...integerOps(state, DOUBLE, functions, d),
    },
    s: {
      ...arithOps(state, SINGLE, s, inlineSingleFma(state, s)),
      ...compareOps(SINGLE, s, accrue),
      ...integerOps(state, SINGLE, functions, s),
    },
    narrow: (f, rm, a) => narrow(f, state, functions, { rm, a }),
    widen: (f, a) => widen(f, functions, a),
    recomputeMode: (f, fsIsDirty) => recomputeMode(f, state, fsIsDirty),
  };
}
