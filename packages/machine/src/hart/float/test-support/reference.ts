/**
 * IEEE 754 arithmetic on BigInts, slow and direct: the exact result as a fraction of powers of
 * two, then one rounding by definition. Shares nothing with the arithmetic that it checks.
 */

/** An interchange format: fraction bits, exponent bias and width. */
export interface RefFormat {
  readonly fractionBits: number;
  readonly bias: number;
  readonly width: 32 | 64;
}

export const REF_DOUBLE: RefFormat = { fractionBits: 52, bias: 1023, width: 64 };
export const REF_SINGLE: RefFormat = { fractionBits: 23, bias: 127, width: 32 };

/** Result bits (unsigned) and the exceptions raised: NX=1, UF=2, OF=4, DZ=8, NV=16. */
export interface RefResult {
  readonly bits: bigint;
  readonly flags: number;
}

const NX = 1;
const UF = 2;
const OF = 4;
const DZ = 8;
const NV = 16;

type Sign = 0 | 1;

/** A decoded datum; a number is (-1)^sign * mantissa * 2^exponent, the mantissa 0 for zeros. */
type Datum =
  | { readonly kind: "nan"; readonly signaling: boolean }
  | { readonly kind: "infinity"; readonly sign: Sign }
  | NumberDatum;

interface NumberDatum {
  readonly kind: "number";
  readonly sign: Sign;
  readonly mantissa: bigint;
  readonly exponent: number;
}

function maxField(format: RefFormat): number {
  return 2 * format.bias + 1;
}

export function canonicalNan(format: RefFormat): bigint {
  return infinityBits(format, 0) | (1n << BigInt(format.fractionBits - 1));
}

function signBits(format: RefFormat, sign: Sign): bigint {
  return BigInt(sign) << BigInt(format.width - 1);
}

function infinityBits(format: RefFormat, sign: Sign): bigint {
  const magnitude = BigInt(maxField(format)) << BigInt(format.fractionBits);
  return signBits(format, sign) | magnitude;
}

function decode(format: RefFormat, bits: bigint): Datum {
  const { fractionBits, bias, width } = format;
  const sign: Sign = (bits >> BigInt(width - 1)) & 1n ? 1 : 0;
  const field = Number((bits >> BigInt(fractionBits)) & BigInt(maxField(format)));
  const fraction = bits & ((1n << BigInt(fractionBits)) - 1n);
  if (field === maxField(format)) {
    if (fraction === 0n) return { kind: "infinity", sign };
    return { kind: "nan", signaling: fraction >> BigInt(fractionBits - 1) === 0n };
  }
  const hidden = field === 0 ? 0n : 1n << BigInt(fractionBits);
  const exponent = Math.max(field, 1) - bias - fractionBits;
  return { kind: "number", sign, mantissa: fraction | hidden, exponent };
}

function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

/** (mantissa + something in [0, 1), not 0 if `sticky`) / 2^drop to an integer. */
function roundInteger(
  value: { readonly mantissa: bigint; readonly sticky: boolean; readonly sign: Sign },
  drop: number,
  rm: number,
): { readonly integer: bigint; readonly inexact: boolean } {
  const { mantissa, sticky, sign } = value;
  // Two more bits below keep half and sticky apart, whatever `drop` is.
  const wide = (mantissa << BigInt(Math.max(0, -drop) + 2)) | (sticky ? 1n : 0n);
  const shift = BigInt(Math.max(0, drop) + 2);
  const floor = wide >> shift;
  const rest = wide - (floor << shift);
  const half = 1n << (shift - 1n);
  const up = [
    rest > half || (rest === half && (floor & 1n) === 1n),
    false,
    sign === 1 && rest !== 0n,
    sign === 0 && rest !== 0n,
    rest >= half,
  ][rm];
  return { integer: up ? floor + 1n : floor, inexact: rest !== 0n };
}

/** A number between mantissa and mantissa + 1 (if sticky), times 2^exponent; mantissa > 0. */
interface Exact {
  readonly sign: Sign;
  readonly mantissa: bigint;
  readonly exponent: number;
  readonly sticky: boolean;
}

function round(format: RefFormat, rm: number, exact: Exact): RefResult {
  const { fractionBits, bias } = format;
  const precision = fractionBits + 1;
  const minExponent = 1 - bias;
  const { sign, exponent } = exact;
  const length = bitLength(exact.mantissa);
  const free = roundInteger(exact, length - precision, rm);
  const carried = bitLength(free.integer) > precision ? 1 : 0;
  const tiny = exponent + length - 1 + carried < minExponent;

  const drop = Math.max(length - precision, minExponent - fractionBits - exponent);
  const { integer, inexact } = roundInteger(exact, drop, rm);
  // Hidden bit and exponent add up: the field is one less, the integer brings the one.
  const field = exponent + drop + fractionBits + bias;
  const magnitude = (BigInt(field - 1) << BigInt(fractionBits)) + integer;
  if (magnitude >= infinityBits(format, 0)) {
    const away = rm === 0 || rm === 4 || (rm === 2 && sign === 1) || (rm === 3 && sign === 0);
    const bits = infinityBits(format, sign) - (away ? 0n : 1n);
    return { bits, flags: OF | NX };
  }
  const flags = (inexact ? NX : 0) | (inexact && tiny ? UF : 0);
  return { bits: signBits(format, sign) | magnitude, flags };
}

function invalid(format: RefFormat): RefResult {
  return { bits: canonicalNan(format), flags: NV };
}

function nan(format: RefFormat, operands: readonly Datum[]): RefResult | undefined {
  const nans = operands.filter((x) => x.kind === "nan");
  if (nans.length === 0) return undefined;
  return { bits: canonicalNan(format), flags: nans.some((x) => x.signaling) ? NV : 0 };
}

function isZero(x: Datum): boolean {
  return x.kind === "number" && x.mantissa === 0n;
}

function product(x: Datum, y: Datum): Datum | "invalid" {
  if (x.kind === "nan") return x;
  if (y.kind === "nan") return y;
  const sign: Sign = x.sign === y.sign ? 0 : 1;
  if (x.kind === "infinity" || y.kind === "infinity") {
    return isZero(x) || isZero(y) ? "invalid" : { kind: "infinity", sign };
  }
  const mantissa = x.mantissa * y.mantissa;
  return { kind: "number", sign, mantissa, exponent: x.exponent + y.exponent };
}

function sum(format: RefFormat, rm: number, x: Datum, y: Datum): RefResult {
  const special = nan(format, [x, y]);
  if (special !== undefined) return special;
  if (x.kind === "nan" || y.kind === "nan") throw new Error("NaNs are done with");
  if (x.kind === "infinity") {
    if (y.kind === "infinity" && x.sign !== y.sign) return invalid(format);
    return { bits: infinityBits(format, x.sign), flags: 0 };
  }
  if (y.kind === "infinity") return { bits: infinityBits(format, y.sign), flags: 0 };
  const exponent = Math.min(x.exponent, y.exponent);
  const term = (n: NumberDatum) =>
    (n.sign === 1 ? -n.mantissa : n.mantissa) << BigInt(n.exponent - exponent);
  const total = term(x) + term(y);
  if (total === 0n) {
    const bothSame = isZero(x) && isZero(y) && x.sign === y.sign;
    const sign = bothSame ? x.sign : rm === 2 ? 1 : 0;
    return { bits: signBits(format, sign), flags: 0 };
  }
  const mantissa = total < 0n ? -total : total;
  return round(format, rm, { sign: total < 0n ? 1 : 0, mantissa, exponent, sticky: false });
}

export function refAdd(format: RefFormat, rm: number, a: bigint, b: bigint): RefResult {
  return sum(format, rm, decode(format, a), decode(format, b));
}

/** a * b + c, rounded once. */
export function refFma(
  format: RefFormat,
  rm: number,
  [a, b, c]: readonly [bigint, bigint, bigint],
): RefResult {
  const operands = [decode(format, a), decode(format, b), decode(format, c)] as const;
  const exact = product(operands[0], operands[1]);
  if (exact === "invalid") return invalid(format);
  return nan(format, operands) ?? sum(format, rm, exact, operands[2]);
}

export function refMul(format: RefFormat, rm: number, a: bigint, b: bigint): RefResult {
  const [x, y] = [decode(format, a), decode(format, b)];
  const special = nan(format, [x, y]);
  if (special !== undefined) return special;
  const exact = product(x, y);
  if (exact === "invalid" || exact.kind === "nan") return invalid(format);
  if (exact.kind === "infinity") return { bits: infinityBits(format, exact.sign), flags: 0 };
  if (exact.mantissa === 0n) return { bits: signBits(format, exact.sign), flags: 0 };
  return round(format, rm, { ...exact, sticky: false });
}

export function refDiv(format: RefFormat, rm: number, a: bigint, b: bigint): RefResult {
  const [x, y] = [decode(format, a), decode(format, b)];
  const special = nan(format, [x, y]);
  if (special !== undefined) return special;
  if (x.kind === "nan" || y.kind === "nan") throw new Error("NaNs are done with");
  const sign: Sign = x.sign === y.sign ? 0 : 1;
  if (x.kind === "infinity") {
    return y.kind === "infinity" ? invalid(format) : { bits: infinityBits(format, sign), flags: 0 };
  }
  if (y.kind === "infinity") return { bits: signBits(format, sign), flags: 0 };
  if (y.mantissa === 0n) {
    if (x.mantissa === 0n) return invalid(format);
    return { bits: infinityBits(format, sign), flags: DZ };
  }
  if (x.mantissa === 0n) return { bits: signBits(format, sign), flags: 0 };
  const scale = 120;
  const scaled = x.mantissa << BigInt(scale);
  const mantissa = scaled / y.mantissa;
  const sticky = scaled % y.mantissa !== 0n;
  const exponent = x.exponent - y.exponent - scale;
  return round(format, rm, { sign, mantissa, exponent, sticky });
}

function integerSqrt(n: bigint): bigint {
  let x = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

export function refSqrt(format: RefFormat, rm: number, a: bigint): RefResult {
  const x = decode(format, a);
  const special = nan(format, [x]);
  if (special !== undefined) return special;
  if (x.kind === "nan") throw new Error("NaNs are done with");
  if (isZero(x)) return { bits: a, flags: 0 };
  if (x.sign === 1) return invalid(format);
  if (x.kind === "infinity") return { bits: a, flags: 0 };
  const scale = 120 + (x.exponent & 1);
  const scaled = x.mantissa << BigInt(scale);
  const mantissa = integerSqrt(scaled);
  const sticky = mantissa * mantissa !== scaled;
  return round(format, rm, { sign: 0, mantissa, exponent: (x.exponent - scale) / 2, sticky });
}

/** From one format to another. */
export function refConvert(
  [from, to]: readonly [RefFormat, RefFormat],
  rm: number,
  a: bigint,
): RefResult {
  const x = decode(from, a);
  const special = nan(to, [x]);
  if (special !== undefined) return special;
  if (x.kind === "nan") throw new Error("NaNs are done with");
  if (x.kind === "infinity") return { bits: infinityBits(to, x.sign), flags: 0 };
  if (x.mantissa === 0n) return { bits: signBits(to, x.sign), flags: 0 };
  return round(to, rm, { ...x, sticky: false });
}

/** To an integer of `width` bits; the result is sign-extended to 64 bits, unsigned. */
export function refToInteger(
  format: RefFormat,
  rm: number,
  a: bigint,
  target: { readonly width: 32 | 64; readonly signed: boolean },
): RefResult {
  const { width, signed } = target;
  const low = signed ? -(1n << BigInt(width - 1)) : 0n;
  const high = (1n << BigInt(signed ? width - 1 : width)) - 1n;
  const register = (value: bigint) => BigInt.asUintN(64, BigInt.asIntN(width, value));
  const x = decode(format, a);
  if (x.kind === "nan") return { bits: register(high), flags: NV };
  const saturated = { bits: register(x.sign === 1 ? low : high), flags: NV };
  if (x.kind === "infinity") return saturated;
  const { integer, inexact } = roundInteger({ ...x, sticky: false }, -x.exponent, rm);
  const value = x.sign === 1 ? -integer : integer;
  if (value < low || value > high) return saturated;
  return { bits: register(value), flags: inexact ? NX : 0 };
}

export function refFromInteger(format: RefFormat, rm: number, value: bigint): RefResult {
  if (value === 0n) return { bits: 0n, flags: 0 };
  const sign: Sign = value < 0n ? 1 : 0;
  const mantissa = value < 0n ? -value : value;
  return round(format, rm, { sign, mantissa, exponent: 0, sticky: false });
}

/** -1, 0, 1, or undefined if unordered. */
function order(x: Datum, y: Datum): number | undefined {
  if (x.kind === "nan" || y.kind === "nan") return undefined;
  const rank = (d: Exclude<Datum, { kind: "nan" }>) => {
    const signed = (magnitude: bigint) => (d.sign === 1 ? -magnitude : magnitude);
    // All finite numbers on one scale: the smallest subnormal double is 2^-1074.
    if (d.kind === "infinity") return signed(1n << 4000n);
    return signed(d.mantissa << BigInt(d.exponent + 1074));
  };
  const difference = rank(x) - rank(y);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

export function refCompare(
  format: RefFormat,
  predicate: "eq" | "lt" | "le",
  a: bigint,
  b: bigint,
): RefResult {
  const [x, y] = [decode(format, a), decode(format, b)];
  const ordering = order(x, y);
  if (ordering === undefined) {
    const anySignaling = [x, y].some((d) => d.kind === "nan" && d.signaling);
    return { bits: 0n, flags: predicate !== "eq" || anySignaling ? NV : 0 };
  }
  const holds = { eq: ordering === 0, lt: ordering < 0, le: ordering <= 0 }[predicate];
  return { bits: holds ? 1n : 0n, flags: 0 };
}

export function refExtreme(
  format: RefFormat,
  which: "min" | "max",
  a: bigint,
  b: bigint,
): RefResult {
  const [x, y] = [decode(format, a), decode(format, b)];
  const flags = nan(format, [x, y])?.flags ?? 0;
  if (x.kind === "nan") return { bits: y.kind === "nan" ? canonicalNan(format) : b, flags };
  if (y.kind === "nan") return { bits: a, flags };
  // Equal numbers differ at most in the sign of zero, where -0 is the smaller one.
  const ordering = order(x, y) || y.sign - x.sign;
  const takeA = which === "min" ? ordering < 0 : ordering > 0;
  return { bits: takeA ? a : b, flags };
}

export function refClass(format: RefFormat, a: bigint): bigint {
  const x = decode(format, a);
  if (x.kind === "nan") return x.signaling ? 1n << 8n : 1n << 9n;
  const normal = x.kind === "number" && bitLength(x.mantissa) === format.fractionBits + 1;
  const positive = x.kind === "infinity" ? 7n : x.mantissa === 0n ? 4n : normal ? 6n : 5n;
  return 1n << (x.sign === 1 ? 7n - positive : positive);
}
