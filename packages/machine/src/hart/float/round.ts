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
  extendU,
  type FloatType,
  geU,
  gtS,
  i32,
  i64,
  ifElse,
  type IntType,
  ltS,
  ltU,
  ne,
  nez,
  or,
  select,
  shl,
  shrU,
  sub,
} from "../../wasm/expr.ts";
import type { FuncRef, Local, ModuleBuilder } from "../../wasm/module.ts";
import type { Format } from "./format.ts";
import type { AccrueRef } from "./functions.ts";
import { FLAG, type FloatState, loadFlags, ROUND } from "./state.ts";
import { shiftRightJam } from "./unpacked.ts";

/** rm (0 .. 4), sign, exponent, significand as in `Unpacked`; gives the bits in the format. */
export type RoundFunction<B extends IntType> = FuncRef<
  readonly ["i32", "i32", "i32", "i64"],
  B
>;

/** Declares and defines the rounding function of `format`. */
export function defineRound<B extends IntType, V extends FloatType>(
  m: ModuleBuilder,
  state: FloatState,
  format: Format<B, V>,
  accrue: AccrueRef,
): RoundFunction<B> {
  const extraBits = BigInt(62 - format.fractionBits);
  const half = i64(1n << (extraBits - 1n));
  const extraMask = i64((1n << extraBits) - 1n);
  /** The largest `place` that does not overflow unless rounding carries. */
  const maxPlace = i32(2 * format.bias - 1);
  const carriedOut = i64(1n << 63n);

  const ref = m.declare(
    `float.${format.name}.round`,
    ["i32", "i32", "i32", "i64"],
    format.bits,
  );
  m.define(ref, (f, rm, sign, exponent, significand) => {
    const flags = f.let(i32(0));
    // The biased exponent less one: the hidden bit adds the one when both are put together.
    const place = f.let(add(exponent, i32(format.bias - 1)));
    const signInPlace = f.let(shl(extendU(sign), i64(format.width - 1)));
    const nearest = either(eq(rm, i32(ROUND.RNE)), eq(rm, i32(ROUND.RMM)));
    const awayFromZero = eq(rm, sub(i32(ROUND.RUP), sign));
    const increment = f.let(ifElse(nearest, half, select(awayFromZero, extraMask, i64(0))));
    const carries = () => geU(add(significand, increment), carriedOut);

    const underflow = () => {
      const tiny = f.let(either(ltS(place, i32(-1)), ltU(add(significand, increment), carriedOut)));
      const distance = f.let(sub(i32(0), place));
      f.set(distance, select(gtS(distance, i32(63)), i32(63), distance));
      f.set(significand, shiftRightJam(significand, extendU(distance)));
      f.set(place, i32(0));
      const inexact = nez(and(significand, extraMask));
      f.set(flags, select(and(tiny, inexact), i32(FLAG.UF), i32(0)));
    };
    const overflow = () => {
      f.if(either(gtS(place, maxPlace), carries()), () => {
        f.call(accrue, i32(FLAG.OF | FLAG.NX));
        const magnitude = sub(i64(format.infinity), extendU(eq(increment, i64(0))));
        f.return(format.ofWide(or(signInPlace, magnitude)));
      });
    };
    f.if(
      geU(place, maxPlace),
      () => f.if(ltS(place, i32(0)), underflow, overflow),
      undefined,
      "unlikely",
    );
    finish(place, signInPlace);

    function finish(place: Local<"i32">, signInPlace: Local<"i64">): void {
      const extra = f.let(and(significand, extraMask));
      const rounded = f.let(shrU(add(significand, increment), i64(extraBits)));
      f.if(nez(extra), () => {
        f.set(flags, or(flags, i32(FLAG.NX)));
        const isNew = ne(or(loadFlags(state), flags), loadFlags(state));
        f.if(isNew, () => f.call(accrue, flags), undefined, "unlikely");
        f.if(and(eq(rm, i32(ROUND.RNE)), eq(extra, half)), () => {
          f.set(rounded, and(rounded, i64(-2)));
        });
      });
      const magnitude = add(shl(extendU(place), i64(format.fractionBits)), rounded);
      f.return(format.ofWide(or(signInPlace, magnitude)));
    }
  });
  return ref;
}
