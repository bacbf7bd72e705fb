/**
 * Results that need no rounding: NaN, infinite and zero operands (IEEE 754-2019, sections 6 and
 * 7.2; RISC-V, "NaN Generation and Propagation"). Operands and results are double bits.
 */
import {
  and,
  either,
  eq,
  eqz,
  type I32,
  type I64,
  i32,
  i64,
  ne,
  nez,
  or,
  select,
  shl,
  xor,
} from "../../wasm/expr.ts";
import { call, type Fn, type ModuleBuilder } from "../../wasm/module.ts";
import { DOUBLE, isNan, isSignalingNan } from "./format.ts";
import type { AccrueRef } from "./functions.ts";
import { FLAG, ROUND } from "./state.ts";

/** Each takes operands of which at least one makes the case special. */
export interface SpecialFunctions {
  fma(rm: I32, a: I64, b: I64, c: I64): I64;
  div(a: I64, b: I64): I64;
  sqrt(a: I64): I64;
  /** The operand itself, quieted. */
  quiet(a: I64): I64;
}

const NAN = i64(DOUBLE.canonicalNan);
const INFINITY = i64(DOUBLE.infinity);
const SIGN = i64(DOUBLE.signBit);
const INFINITY_DOUBLED = i64(DOUBLE.infinity << 1n);

function isInfinite(bits: I64): I32 {
  return eq(shl(bits, i64(1)), INFINITY_DOUBLED);
}

function isZero(bits: I64): I32 {
  return eqz(shl(bits, i64(1)));
}

function signOf(bits: I64): I64 {
  return and(bits, SIGN);
}

function any(conditions: readonly I32[]): I32 {
  return conditions.reduce((left, right) => or(left, right));
}

/** Declares and defines the special cases; they serve both formats. */
export function defineSpecial(m: ModuleBuilder, accrue: AccrueRef): SpecialFunctions {
  const fma = defineFma(m, accrue);
  const div = defineDiv(m, accrue);
  const sqrt = defineSqrt(m, accrue);
  const quiet = defineQuiet(m, accrue);
  return {
    fma: (rm, a, b, c) => call(fma, rm, a, b, c),
    div: (a, b) => call(div, a, b),
    sqrt: (a) => call(sqrt, a),
    quiet: (a) => call(quiet, a),
  };
}

function returnInvalid(f: Fn, accrue: AccrueRef, condition: I32): void {
  f.if(condition, () => {
    f.call(accrue, i32(FLAG.NV));
    f.return(NAN);
  });
}

/** Returns if an operand is a NaN. */
function returnNan(f: Fn, accrue: AccrueRef, operands: readonly I64[]): void {
  returnInvalid(f, accrue, any(operands.map((bits) => isSignalingNan(DOUBLE, bits))));
  f.if(any(operands.map((bits) => isNan(DOUBLE, bits))), () => f.return(NAN));
}

function defineFma(m: ModuleBuilder, accrue: AccrueRef) {
  const ref = m.declare("float.specialFma", ["i32", "i64", "i64", "i64"], "i64");
  return m.define(ref, (f, rm, a, b, c) => {
    // Infinity times zero is invalid even if the addend is a quiet NaN.
    const product = or(and(isInfinite(a), isZero(b)), and(isZero(a), isInfinite(b)));
    returnInvalid(f, accrue, product);
    returnNan(f, accrue, [a, b, c]);
    const sign = f.let(signOf(xor(a, b)));
    f.if(or(isInfinite(a), isInfinite(b)), () => {
      returnInvalid(f, accrue, and(isInfinite(c), ne(sign, signOf(c))));
      f.return(or(sign, INFINITY));
    });
    // Here c is infinite or the product is zero.
    f.if(nez(shl(c, i64(1))), () => f.return(c));
    const zeroOfRounding = select(eq(rm, i32(ROUND.RDN)), SIGN, i64(0));
    f.return(select(eq(sign, signOf(c)), sign, zeroOfRounding));
  });
}

function defineDiv(m: ModuleBuilder, accrue: AccrueRef) {
  const ref = m.declare("float.specialDiv", ["i64", "i64"], "i64");
  return m.define(ref, (f, a, b) => {
    returnNan(f, accrue, [a, b]);
    const bothSame = either(and(isInfinite(a), isInfinite(b)), and(isZero(a), isZero(b)));
    returnInvalid(f, accrue, bothSame);
    const sign = f.let(signOf(xor(a, b)));
    f.if(or(isZero(a), isInfinite(b)), () => f.return(sign));
    f.if(isZero(b), () => {
      f.if(eqz(isInfinite(a)), () => f.call(accrue, i32(FLAG.DZ)));
    });
    f.return(or(sign, INFINITY));
  });
}

function defineSqrt(m: ModuleBuilder, accrue: AccrueRef) {
  const ref = m.declare("float.specialSqrt", ["i64"], "i64");
  return m.define(ref, (f, a) => {
    returnNan(f, accrue, [a]);
    f.if(isZero(a), () => f.return(a));
    returnInvalid(f, accrue, nez(signOf(a)));
    f.return(a);
  });
}

function defineQuiet(m: ModuleBuilder, accrue: AccrueRef) {
  const ref = m.declare("float.specialQuiet", ["i64"], "i64");
  return m.define(ref, (f, a) => {
    returnNan(f, accrue, [a]);
    f.return(a);
  });
}
