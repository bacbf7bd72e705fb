/**
 * Rounding and packing: the one place where a result becomes inexact, tiny or too large. The
 * method is that of J. Hauser's SoftFloat: a significand with ten or more extra bits, the last
 * one sticky; tininess is detected after rounding, as RISC-V demands.
 */
import {
  add,
  and,
  either,
  eq,
  eqz,
  extendU,
  type FloatType,
  geU,
  gtS,
  type I32,
  type IntType,
  i32,
  i64,
  ifElse,
  ltS,
  ne,
  nez,
  or,
  select,
  shl,
  shrU,
  sub,
} from "../../wasm/expr.ts";
import { type Fn, type FuncRef, type Local, type ModuleBuilder, not } from "../../wasm/module.ts";
import type { Format } from "./format.ts";
import type { AccrueRef } from "./functions.ts";
import { FLAG, type FloatState, loadFlags, ROUND } from "./state.ts";
import { shiftRightJam } from "./unpacked.ts";

/** rm (0 .. 4), sign, exponent, significand as in `Unpacked`; gives the bits in the format. */
export type RoundFunction<B extends IntType> = FuncRef<readonly ["i32", "i32", "i32", "i64"], B>;

/** What the steps of one rounding function share. */
interface Rounding<B extends IntType, V extends FloatType> {
  readonly f: Fn;
  readonly state: FloatState;
  readonly format: Format<B, V>;
  readonly accrue: AccrueRef;
  readonly rm: Local<"i32">;
  readonly significand: Local<"i64">;
  /** The biased exponent less one: the hidden bit adds the one when both are put together. */
  readonly place: Local<"i32">;
  readonly signInPlace: Local<"i64">;
  /** What rounding adds to the significand before its extra bits are cut off. */
  readonly increment: Local<"i64">;
  readonly flags: Local<"i32">;
}

/** The bits of the significand below the format's, and half their range. */
function extraBits<B extends IntType, V extends FloatType>(format: Format<B, V>) {
  const count = BigInt(62 - format.fractionBits);
  return { count: i64(count), mask: i64((1n << count) - 1n), half: i64(1n << (count - 1n)) };
}

/** Declares and defines the rounding function of `format`. */
export function defineRound<B extends IntType, V extends FloatType>(
  m: ModuleBuilder,
  state: FloatState,
  format: Format<B, V>,
  accrue: AccrueRef,
): RoundFunction<B> {
  const ref = m.declare(`float.${format.name}.round`, ["i32", "i32", "i32", "i64"], format.bits);
  return m.define(ref, (f, rm, sign, exponent, significand) => {
    const { mask, half } = extraBits(format);
    const nearest = either(eq(rm, i32(ROUND.RNE)), eq(rm, i32(ROUND.RMM)));
    // RUP is RDN + 1: away from zero is up for sign 0 and down for sign 1.
    const awayFromZero = eq(rm, sub(i32(ROUND.RUP), sign));
    const r: Rounding<B, V> = {
      f,
      state,
      format,
      accrue,
      rm,
      significand,
      place: f.let(add(exponent, i32(format.bias - 1))),
      signInPlace: f.let(shl(extendU(sign), i64(format.width - 1))),
      increment: f.let(ifElse(nearest, half, select(awayFromZero, mask, i64(0)))),
      flags: f.let(i32(0)),
    };
    // From here on a carry overflows; as unsigned the negative places are beyond it too.
    const lastPlace = i32(2 * format.bias - 1);
    f.if(
      geU(r.place, lastPlace),
      () => {
        f.if(
          ltS(r.place, i32(0)),
          () => denormalize(r),
          () => returnOverflow(r, either(gtS(r.place, lastPlace), carries(r))),
        );
      },
      undefined,
      "unlikely",
    );
    returnRounded(r);
  });
}

/** Rounding at full precision gives the next power of two. */
function carries<B extends IntType, V extends FloatType>(r: Rounding<B, V>): I32 {
  return geU(add(r.significand, r.increment), i64(1n << 63n));
}

/** Gives the significand the fixed place of subnormal numbers; notes UF if tiny and inexact. */
function denormalize<B extends IntType, V extends FloatType>(r: Rounding<B, V>): void {
  const { f, place, significand, flags, format } = r;
  const tiny = f.let(either(ltS(place, i32(-1)), not(carries(r))));
  const distance = f.let(sub(i32(0), place));
  f.set(distance, select(gtS(distance, i32(63)), i32(63), distance));
  f.set(significand, shiftRightJam(significand, extendU(distance)));
  f.set(place, i32(0));
  const inexact = nez(and(significand, extraBits(format).mask));
  f.set(flags, select(and(tiny, inexact), i32(FLAG.UF), i32(0)));
}

function returnOverflow<B extends IntType, V extends FloatType>(
  { f, format, accrue, increment, signInPlace }: Rounding<B, V>,
  condition: I32,
): void {
  f.if(condition, () => {
    f.call(accrue, i32(FLAG.OF | FLAG.NX));
    // Towards zero, the largest finite number: one below infinity.
    const magnitude = sub(i64(format.infinity), extendU(eqz(increment)));
    f.return(format.fromWide(or(signInPlace, magnitude)));
  });
}

function returnRounded<B extends IntType, V extends FloatType>(r: Rounding<B, V>): void {
  const { f, state, format, accrue, rm, significand, place, signInPlace, increment, flags } = r;
  const { count, mask, half } = extraBits(format);
  const extra = f.let(and(significand, mask));
  const rounded = f.let(shrU(add(significand, increment), count));
  f.if(nez(extra), () => {
    f.set(flags, or(flags, i32(FLAG.NX)));
    const isNew = ne(or(loadFlags(state), flags), loadFlags(state));
    f.if(isNew, () => f.call(accrue, flags), undefined, "unlikely");
    f.if(and(eq(rm, i32(ROUND.RNE)), eq(extra, half)), () => {
      f.set(rounded, and(rounded, i64(-2)));
    });
  });
  const magnitude = add(shl(extendU(place), i64(format.fractionBits)), rounded);
  f.return(format.fromWide(or(signInPlace, magnitude)));
}
