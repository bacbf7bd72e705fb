/**
 * The software core: fused multiply-add, quotient and square root in all rounding modes. Operands
 * are doubles; a single-precision operation passes its operands exactly widened and rounds the
 * same exact result to 24 bits, so there is one algorithm per operation. Addition and
 * multiplication are special cases of the fused multiply-add.
 */
import {
  add,
  and,
  bitsOfF64,
  either,
  eq,
  eqz,
  extendS,
  extendU,
  type FloatType,
  f64OfBits,
  fDiv,
  fSqrt,
  gtS,
  type I64,
  type IntType,
  i32,
  i64,
  ltS,
  ltU,
  mul,
  nez,
  or,
  shl,
  shrS,
  shrU,
  sub,
  wrap,
  xor,
} from "../../wasm/expr.ts";
import { call, type Fn, type FuncRef, type Local, type ModuleBuilder } from "../../wasm/module.ts";
import { DOUBLE, type Format } from "./format.ts";
import type { RoundFunction } from "./round.ts";
import type { SpecialFunctions } from "./special.ts";
import { ROUND } from "./state.ts";
import {
  FRACTION_MASK,
  integerSignificand,
  isNonFinite,
  isSpecial,
  multiplyWide,
  normalizeWide,
  shiftRightJamWide,
  type Unpacked,
  unpack,
  type Wide,
} from "./unpacked.ts";

/** Operands are double bits, results bits of the format; rm is 0 .. 4. */
export interface SoftFunctions<B extends IntType> {
  readonly fma: FuncRef<readonly ["i32", "i64", "i64", "i64"], B>;
  readonly div: FuncRef<readonly ["i32", "i64", "i64"], B>;
  readonly sqrt: FuncRef<readonly ["i32", "i64"], B>;
  /** A double to the format. */
  readonly convert: FuncRef<readonly ["i32", "i64"], B>;
}

/** What the functions of one format are built from. */
interface Parts<B extends IntType, V extends FloatType> {
  readonly m: ModuleBuilder;
  readonly format: Format<B, V>;
  readonly round: RoundFunction<B>;
  readonly special: SpecialFunctions;
}

/** Declares and defines the software core of one format. */
export function defineSoft<B extends IntType, V extends FloatType>(
  parts: Parts<B, V>,
): SoftFunctions<B> {
  return {
    fma: defineFma(parts),
    div: defineDiv(parts),
    sqrt: defineSqrt(parts),
    convert: defineConvert(parts),
  };
}

function defineFma<B extends IntType, V extends FloatType>({
  m,
  format,
  round,
  special,
}: Parts<B, V>): SoftFunctions<B>["fma"] {
  const ref = m.declare(`float.${format.name}.softFma`, ["i32", "i64", "i64", "i64"], format.bits);
  return m.define(ref, (f, rm, a, b, c) => {
    const unusual = or(or(isSpecial(a), isSpecial(b)), isNonFinite(c));
    f.if(
      unusual,
      () => f.return(format.fromExactDouble(f.let(special.fma(rm, a, b, c)))),
      undefined,
      "unlikely",
    );
    const product = multiplySignificands(f, a, b);
    f.if(nez(shl(c, i64(1))), () => addTo(f, product, unpack(f, c), zeroOfCancellation));
    const { sign, exponent, wide } = product;
    const significand = or(wide.high, extendU(nez(wide.low)));
    f.return(call(round, rm, sign, exponent, significand));

    function zeroOfCancellation(): void {
      const negative = extendU(eq(rm, i32(ROUND.RDN)));
      f.return(format.fromWide(shl(negative, i64(format.width - 1))));
    }
  });
}

/** (-1)^sign * wide * 2^(exponent - 126), normalised: bit 126 is the leading one. */
interface Product {
  readonly sign: Local<"i32">;
  readonly exponent: Local<"i32">;
  readonly wide: Wide;
}

function multiplySignificands(f: Fn, a: I64, b: I64): Product {
  const x = unpack(f, a);
  const y = unpack(f, b);
  const sign = f.let(xor(x.sign, y.sign));
  const exponent = f.let(add(add(x.exponent, y.exponent), i32(1)));
  // With leading bits 62 and 63 the product's is 125 or 126.
  f.set(y.significand, shl(y.significand, i64(1)));
  const wide = multiplyWide(f, x.significand, y.significand);
  // Without a branch: which of the two it is looks random to a predictor.
  const short = f.let(eqz(shrU(wide.high, i64(62))));
  const by = f.let(extendU(short));
  f.set(wide.high, or(shl(wide.high, by), and(shrU(wide.low, i64(63)), by)));
  f.set(wide.low, shl(wide.low, by));
  f.set(exponent, sub(exponent, short));
  return { sign, exponent, wide };
}

/** Adds `term` to `sum`, sticky in bit 0; `onZero` ends the function when they cancel. */
function addTo(f: Fn, sum: Product, term: Unpacked, onZero: () => void): void {
  const { sign, exponent, wide } = sum;
  const small: Wide = { high: term.significand, low: f.let(i64(0)) };
  const termIsLarger = either(
    gtS(term.exponent, exponent),
    and(eq(term.exponent, exponent), ltU(wide.high, small.high)),
  );
  const opposite = f.let(xor(sign, term.sign));
  f.if(termIsLarger, () => {
    swap(f, wide.high, small.high);
    swap(f, wide.low, small.low);
    swap(f, exponent, term.exponent);
    f.set(sign, term.sign);
  });
  shiftRightJamWide(f, small, sub(exponent, term.exponent));
  f.if(
    opposite,
    () => {
      const borrow = f.let(extendU(ltU(wide.low, small.low)));
      f.set(wide.low, sub(wide.low, small.low));
      f.set(wide.high, sub(sub(wide.high, small.high), borrow));
      f.if(eqz(or(wide.high, wide.low)), onZero);
      const distance = normalizeWide(f, wide);
      f.set(exponent, sub(exponent, distance));
    },
    () => {
      f.set(wide.low, add(wide.low, small.low));
      const carry = extendU(ltU(wide.low, small.low));
      f.set(wide.high, add(add(wide.high, small.high), carry));
      f.if(ltS(wide.high, i64(0)), () => {
        shiftRightJamWide(f, wide, i32(1));
        f.set(exponent, add(exponent, i32(1)));
      });
    },
  );
}

function swap<T extends IntType>(f: Fn, a: Local<T>, b: Local<T>): void {
  const old = f.let(a);
  f.set(a, b);
  f.set(b, old);
}

/**
 * `rounded` is the hardware's 53-bit result of an exact value in [1, 2) and `remainder` has the
 * sign of exact - rounded: bits 62 .. 10 of the result are the significand, below is sticky.
 */
function withRemainder(rounded: I64, remainder: Local<"i64">): I64 {
  const direction = sub(gtS(remainder, i64(0)), ltS(remainder, i64(0)));
  return add(shl(integerSignificand(rounded), i64(10)), extendS(direction));
}

const ONE = i64(BigInt(DOUBLE.bias) << 52n);

/** The significand as a double in [1, 2). */
function unitDouble(significand: I64): I64 {
  return or(and(shrU(significand, i64(10)), i64(FRACTION_MASK)), ONE);
}

function defineDiv<B extends IntType, V extends FloatType>({
  m,
  format,
  round,
  special,
}: Parts<B, V>): SoftFunctions<B>["div"] {
  const ref = m.declare(`float.${format.name}.softDiv`, ["i32", "i64", "i64"], format.bits);
  return m.define(ref, (f, rm, a, b) => {
    f.if(
      or(isSpecial(a), isSpecial(b)),
      () => f.return(format.fromExactDouble(f.let(special.div(a, b)))),
      undefined,
      "unlikely",
    );
    const x = unpack(f, a);
    const y = unpack(f, b);
    const sign = xor(x.sign, y.sign);
    const exponent = f.let(sub(x.exponent, y.exponent));
    const dividend = f.let(unitDouble(x.significand));
    const doubling = f.let(ltU(x.significand, y.significand));
    f.set(dividend, add(dividend, shl(extendU(doubling), i64(52))));
    f.set(exponent, sub(exponent, doubling));
    const quotient = f.let(
      bitsOfF64(fDiv(f64OfBits(dividend), f64OfBits(unitDouble(y.significand)))),
    );
    // |remainder| <= divisor / 2 in units of 2^-104, so the low 64 bits hold it.
    const remainder = f.let(
      sub(
        shl(integerSignificand(dividend), add(i64(52), extendU(doubling))),
        mul(integerSignificand(quotient), shrU(y.significand, i64(10))),
      ),
    );
    f.return(call(round, rm, sign, exponent, withRemainder(quotient, remainder)));
  });
}

function defineSqrt<B extends IntType, V extends FloatType>({
  m,
  format,
  round,
  special,
}: Parts<B, V>): SoftFunctions<B>["sqrt"] {
  const ref = m.declare(`float.${format.name}.softSqrt`, ["i32", "i64"], format.bits);
  return m.define(ref, (f, rm, a) => {
    f.if(
      or(isSpecial(a), wrap(shrU(a, i64(63)))),
      () => f.return(format.fromExactDouble(f.let(special.sqrt(a)))),
      undefined,
      "unlikely",
    );
    const x = unpack(f, a);
    const odd = f.let(extendU(and(x.exponent, i32(1))));
    const radicand = add(unitDouble(x.significand), shl(odd, i64(52)));
    const root = f.let(bitsOfF64(fSqrt(f64OfBits(radicand))));
    // |remainder| <= 2^53 in units of 2^-104, so the low 64 bits hold it.
    const remainder = f.let(
      sub(
        shl(shrU(x.significand, i64(10)), add(i64(52), odd)),
        mul(integerSignificand(root), integerSignificand(root)),
      ),
    );
    const exponent = shrS(x.exponent, i32(1));
    f.return(call(round, rm, i32(0), exponent, withRemainder(root, remainder)));
  });
}

function defineConvert<B extends IntType, V extends FloatType>({
  m,
  format,
  round,
  special,
}: Parts<B, V>): SoftFunctions<B>["convert"] {
  const ref = m.declare(`float.${format.name}.softConvert`, ["i32", "i64"], format.bits);
  return m.define(ref, (f, rm, a) => {
    f.if(
      isSpecial(a),
      () => f.return(format.fromExactDouble(f.let(special.quiet(a)))),
      undefined,
      "unlikely",
    );
    const x = unpack(f, a);
    f.return(call(round, rm, x.sign, x.exponent, x.significand));
  });
}
