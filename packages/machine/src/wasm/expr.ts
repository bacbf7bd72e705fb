/**
 * Typed WebAssembly expressions. An expression is a small tree that writes its own instructions
 * when a statement uses it, so one that is used twice is computed twice: bind it with `Fn.let`
 * where that matters, and where a later store could change what it reads.
 *
 * Operators check nothing at run time; the type parameters keep i32 and i64 apart. Constants
 * fold where instruction semantics with known operands profit from it.
 */
import type { CodeBuffer } from "./code.ts";

export type ValType = "i32" | "i64" | "f32" | "f64";
export type IntType = "i32" | "i64";
export type FloatType = "f32" | "f64";

/** An expression of WebAssembly type `T`. */
export interface Expr<T extends ValType = ValType> {
  readonly type: T;
  /** The value, where it is known now; integers are signed and i64 beyond 2^53 is not folded. */
  readonly known?: number | undefined;
  emit(out: CodeBuffer): void;
}

export type I32 = Expr<"i32">;
export type I64 = Expr<"i64">;
export type F32 = Expr<"f32">;
export type F64 = Expr<"f64">;

/** The byte that stands for a value type (Core Specification, section 5.3.1). */
export const VAL_TYPE_CODE: Readonly<Record<ValType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
};

function node<T extends ValType>(
  type: T,
  emit: (out: CodeBuffer) => void,
  known?: number,
): Expr<T> {
  return { type, known, emit };
}

// ---- constants ----------

/** An i32 constant; `value` may be given signed or unsigned. */
export function i32(value: number): I32 {
  const signed = value | 0;
  return node(
    "i32",
    (out) => {
      out.byte(0x41);
      out.s32(signed);
    },
    signed,
  );
}

/** An i64 constant; a `number` must be a safe integer. */
export function i64(value: number | bigint): I64 {
  const wide = BigInt.asIntN(64, BigInt(value));
  const asNumber = Number(wide);
  return node(
    "i64",
    (out) => {
      out.byte(0x42);
      if (asNumber === (asNumber | 0)) out.s32(asNumber);
      else out.s64(wide);
    },
    Number.isSafeInteger(asNumber) ? asNumber : undefined,
  );
}

export function f32(value: number): F32 {
  return node("f32", (out) => {
    out.byte(0x43);
    out.f32(value);
  });
}

export function f64(value: number): F64 {
  return node("f64", (out) => {
    out.byte(0x44);
    out.f64(value);
  });
}

// ---- operators ----------

function unary<T extends ValType>(type: T, opcode: number, a: Expr): Expr<T> {
  return node(type, (out) => {
    a.emit(out);
    out.byte(opcode);
  });
}

function binary<T extends ValType>(type: T, opcode: number, a: Expr, b: Expr): Expr<T> {
  return node(type, (out) => {
    a.emit(out);
    b.emit(out);
    out.byte(opcode);
  });
}

/** Opcode of an operator for each operand type. */
type Opcodes<T extends ValType> = Readonly<Record<T, number>>;

function intBinary(opcodes: Opcodes<IntType>) {
  return <T extends IntType>(a: Expr<T>, b: Expr<T>): Expr<T> =>
    binary(a.type, opcodes[a.type], a, b);
}

function floatBinary(opcodes: Opcodes<FloatType>) {
  return <T extends FloatType>(a: Expr<T>, b: Expr<T>): Expr<T> =>
    binary(a.type, opcodes[a.type], a, b);
}

function floatUnary(opcodes: Opcodes<FloatType>) {
  return <T extends FloatType>(a: Expr<T>): Expr<T> => unary(a.type, opcodes[a.type], a);
}

function intUnary(opcodes: Opcodes<IntType>) {
  return <T extends IntType>(a: Expr<T>): Expr<T> => unary(a.type, opcodes[a.type], a);
}

function intCompare(opcodes: Opcodes<IntType>) {
  return <T extends IntType>(a: Expr<T>, b: Expr<T>): I32 => binary("i32", opcodes[a.type], a, b);
}

function anyCompare(opcodes: Opcodes<ValType>) {
  return <T extends ValType>(a: Expr<T>, b: Expr<T>): I32 => binary("i32", opcodes[a.type], a, b);
}

function floatCompare(opcodes: Opcodes<FloatType>) {
  return <T extends FloatType>(a: Expr<T>, b: Expr<T>): I32 => binary("i32", opcodes[a.type], a, b);
}

const rawAdd = intBinary({ i32: 0x6a, i64: 0x7c });

function constant<T extends IntType>(type: T, value: number): Expr<T> {
  return (type === "i32" ? i32(value) : i64(value)) as Expr<T>;
}

export function add<T extends IntType>(a: Expr<T>, b: Expr<T>): Expr<T> {
  if (b.known === 0) return a;
  if (a.known === 0) return b;
  if (a.known !== undefined && b.known !== undefined && Number.isSafeInteger(a.known + b.known)) {
    return constant(a.type, a.known + b.known);
  }
  return rawAdd(a, b);
}

export const sub = intBinary({ i32: 0x6b, i64: 0x7d });
export const mul = intBinary({ i32: 0x6c, i64: 0x7e });
export const divS = intBinary({ i32: 0x6d, i64: 0x7f });
export const divU = intBinary({ i32: 0x6e, i64: 0x80 });
export const remS = intBinary({ i32: 0x6f, i64: 0x81 });
export const remU = intBinary({ i32: 0x70, i64: 0x82 });
export const and = intBinary({ i32: 0x71, i64: 0x83 });
export const or = intBinary({ i32: 0x72, i64: 0x84 });
export const xor = intBinary({ i32: 0x73, i64: 0x85 });
/** Shifts and rotations take the amount modulo the width, as RISC-V does. */
export const shl = intBinary({ i32: 0x74, i64: 0x86 });
export const shrS = intBinary({ i32: 0x75, i64: 0x87 });
export const shrU = intBinary({ i32: 0x76, i64: 0x88 });
export const rotl = intBinary({ i32: 0x77, i64: 0x89 });
export const rotr = intBinary({ i32: 0x78, i64: 0x8a });
export const clz = intUnary({ i32: 0x67, i64: 0x79 });
export const ctz = intUnary({ i32: 0x68, i64: 0x7a });
export const popcnt = intUnary({ i32: 0x69, i64: 0x7b });

export const eq = anyCompare({ i32: 0x46, i64: 0x51, f32: 0x5b, f64: 0x61 });
export const ne = anyCompare({ i32: 0x47, i64: 0x52, f32: 0x5c, f64: 0x62 });
export const ltS = intCompare({ i32: 0x48, i64: 0x53 });
export const ltU = intCompare({ i32: 0x49, i64: 0x54 });
export const gtS = intCompare({ i32: 0x4a, i64: 0x55 });
export const gtU = intCompare({ i32: 0x4b, i64: 0x56 });
export const leS = intCompare({ i32: 0x4c, i64: 0x57 });
export const leU = intCompare({ i32: 0x4d, i64: 0x58 });
export const geS = intCompare({ i32: 0x4e, i64: 0x59 });
export const geU = intCompare({ i32: 0x4f, i64: 0x5a });
export const fLt = floatCompare({ f32: 0x5d, f64: 0x63 });
export const fGt = floatCompare({ f32: 0x5e, f64: 0x64 });
export const fLe = floatCompare({ f32: 0x5f, f64: 0x65 });
export const fGe = floatCompare({ f32: 0x60, f64: 0x66 });

/** 1 where `a` is zero. */
export function eqz(a: Expr<IntType>): I32 {
  return unary("i32", a.type === "i32" ? 0x45 : 0x50, a);
}

/** 1 where `a` is not zero. */
export function nez(a: Expr<IntType>): I32 {
  return a.type === "i32" ? ne(a as I32, i32(0)) : ne(a as I64, i64(0));
}

export const fAdd = floatBinary({ f32: 0x92, f64: 0xa0 });
export const fSub = floatBinary({ f32: 0x93, f64: 0xa1 });
export const fMul = floatBinary({ f32: 0x94, f64: 0xa2 });
export const fDiv = floatBinary({ f32: 0x95, f64: 0xa3 });
/** Any NaN operand gives a NaN; -0 is less than +0. */
export const fMin = floatBinary({ f32: 0x96, f64: 0xa4 });
export const fMax = floatBinary({ f32: 0x97, f64: 0xa5 });
/** The magnitude of `a` with the sign of `b`. */
export const fCopySign = floatBinary({ f32: 0x98, f64: 0xa6 });
export const fAbs = floatUnary({ f32: 0x8b, f64: 0x99 });
export const fNeg = floatUnary({ f32: 0x8c, f64: 0x9a });
export const fCeil = floatUnary({ f32: 0x8d, f64: 0x9b });
export const fFloor = floatUnary({ f32: 0x8e, f64: 0x9c });
export const fTrunc = floatUnary({ f32: 0x8f, f64: 0x9d });
export const fNearest = floatUnary({ f32: 0x90, f64: 0x9e });
export const fSqrt = floatUnary({ f32: 0x91, f64: 0x9f });

// ---- conversions ----------

/** The low 32 bits of an i64. */
export function wrap(a: I64): I32 {
  return a.known === undefined ? unary("i32", 0xa7, a) : i32(a.known | 0);
}
/** i32 to i64, sign-extended. */
export function extendS(a: I32): I64 {
  return a.known === undefined ? unary("i64", 0xac, a) : i64(a.known);
}
/** i32 to i64, zero-extended. */
export function extendU(a: I32): I64 {
  return a.known === undefined ? unary("i64", 0xad, a) : i64(a.known >>> 0);
}
/** Sign-extends the low 8, 16 or 32 bits of an i64. */
export const extend8S = (a: I64): I64 => unary("i64", 0xc2, a);
export const extend16S = (a: I64): I64 => unary("i64", 0xc3, a);
export const extend32S = (a: I64): I64 => unary("i64", 0xc4, a);
export const bitsOfF32 = (a: F32): I32 => unary("i32", 0xbc, a);
export const bitsOfF64 = (a: F64): I64 => unary("i64", 0xbd, a);
export const f32OfBits = (a: I32): F32 => unary("f32", 0xbe, a);
export const f64OfBits = (a: I64): F64 => unary("f64", 0xbf, a);
export const demote = (a: F64): F32 => unary("f32", 0xb6, a);
export const promote = (a: F32): F64 => unary("f64", 0xbb, a);
/** Integer to float, rounding to nearest even; S reads the integer as signed, U as unsigned. */
export const f32OfS = (a: Expr<IntType>): F32 => unary("f32", a.type === "i32" ? 0xb2 : 0xb4, a);
export const f32OfU = (a: Expr<IntType>): F32 => unary("f32", a.type === "i32" ? 0xb3 : 0xb5, a);
export const f64OfS = (a: Expr<IntType>): F64 => unary("f64", a.type === "i32" ? 0xb7 : 0xb9, a);
export const f64OfU = (a: Expr<IntType>): F64 => unary("f64", a.type === "i32" ? 0xb8 : 0xba, a);

function saturating<T extends IntType>(type: T, sub_: number, a: Expr): Expr<T> {
  return node(type, (out) => {
    a.emit(out);
    out.byte(0xfc);
    out.u32(sub_);
  });
}
/** Float to integer, rounding towards zero; out of range saturates and NaN gives 0. */
export const i32TruncSatS = (a: Expr<FloatType>): I32 =>
  saturating("i32", a.type === "f32" ? 0 : 2, a);
export const i32TruncSatU = (a: Expr<FloatType>): I32 =>
  saturating("i32", a.type === "f32" ? 1 : 3, a);
export const i64TruncSatS = (a: Expr<FloatType>): I64 =>
  saturating("i64", a.type === "f32" ? 4 : 6, a);
export const i64TruncSatU = (a: Expr<FloatType>): I64 =>
  saturating("i64", a.type === "f32" ? 5 : 7, a);

// ---- choice and memory ----------

/** `condition ? a : b`, both sides computed. */
export function select<T extends ValType>(condition: I32, a: Expr<T>, b: Expr<T>): Expr<T> {
  return node(a.type, (out) => {
    a.emit(out);
    b.emit(out);
    condition.emit(out);
    out.byte(0x1b);
  });
}

/** `condition ? a : b`, only the chosen side computed. */
export function ifElse<T extends ValType>(condition: I32, a: Expr<T>, b: Expr<T>): Expr<T> {
  if (condition.known !== undefined) return condition.known === 0 ? b : a;
  return node(a.type, (out) => {
    condition.emit(out);
    out.byte(0x04);
    out.byte(VAL_TYPE_CODE[a.type]);
    a.emit(out);
    out.byte(0x05);
    b.emit(out);
    out.byte(0x0b);
  });
}

/** Both are non-zero; `b` is computed only where `a` holds. */
export function both(a: I32, b: I32): I32 {
  return ifElse(a, b, i32(0));
}

/** One is non-zero; `b` is computed only where `a` does not hold. */
export function either(a: I32, b: I32): I32 {
  return ifElse(a, i32(1), b);
}

function load<T extends ValType>(type: T, opcode: number, align: number) {
  return (address: I32, offset = 0): Expr<T> =>
    node(type, (out) => {
      address.emit(out);
      out.byte(opcode);
      out.u32(align);
      out.u32(offset);
    });
}

/** Loads from linear memory at `address + offset`; the suffix gives width and extension. */
export const load32 = load("i32", 0x28, 2);
export const load64 = load("i64", 0x29, 3);
export const load8U = load("i32", 0x2d, 0);
export const load8S = load("i32", 0x2c, 0);
export const load16U = load("i32", 0x2f, 1);
export const load16S = load("i32", 0x2e, 1);
export const load64From8S = load("i64", 0x30, 0);
export const load64From8U = load("i64", 0x31, 0);
export const load64From16S = load("i64", 0x32, 1);
export const load64From16U = load("i64", 0x33, 1);
export const load64From32S = load("i64", 0x34, 2);
export const load64From32U = load("i64", 0x35, 2);
export const loadF32 = load("f32", 0x2a, 2);
export const loadF64 = load("f64", 0x2b, 3);
