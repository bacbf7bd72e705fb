/** M: multiplication and division (unprivileged manual, chapter "M"). */

import type { Expr, I64, IntType } from "../wasm/expr.ts";
import {
  add,
  and,
  both,
  divS,
  divU,
  eq,
  eqz,
  extendS,
  i32,
  i64,
  ifElse,
  mul,
  remS,
  remU,
  shrS,
  shrU,
  sub,
  wrap,
} from "../wasm/expr.ts";
import { integerMakers, OPCODE } from "./define.ts";
import type { Instruction, Sem } from "./instruction.ts";

const { r } = integerMakers("M");
const { op, op32 } = OPCODE;
const FUNCT7 = 1;

const LOW32 = i64(0xffff_ffff);

/** Upper 64 bits of the unsigned product, from four 32-bit products. */
function mulhu(s: Sem, x: I64, y: I64): I64 {
  const a = s.let(x);
  const b = s.let(y);
  const aLow = s.let(and(a, LOW32));
  const aHigh = s.let(shrU(a, i64(32)));
  const bLow = s.let(and(b, LOW32));
  const bHigh = s.let(shrU(b, i64(32)));
  const cross = s.let(add(mul(aHigh, bLow), shrU(mul(aLow, bLow), i64(32))));
  const middle = s.let(add(mul(aLow, bHigh), and(cross, LOW32)));
  return add(mul(aHigh, bHigh), add(shrU(cross, i64(32)), shrU(middle, i64(32))));
}

const minusIfNegative = (value: I64, test: I64, amount: I64): I64 =>
  sub(value, and(shrS(test, i64(63)), amount));

const minusOne = <T extends IntType>(like: Expr<T>): Expr<T> =>
  (like.type === "i32" ? i32(-1) : i64(-1)) as Expr<T>;
const lowest = <T extends IntType>(like: Expr<T>): Expr<T> =>
  (like.type === "i32" ? i32(0x8000_0000) : i64(1n << 63n)) as Expr<T>;

// Division by zero and overflow have results, not traps (M, section "Division Operations").

function signedDiv<T extends IntType>(s: Sem, x: Expr<T>, y: Expr<T>): Expr<T> {
  const a = s.let(x);
  const b = s.let(y);
  const overflow = both(eq(b, minusOne(b)), eq(a, lowest(a)));
  return ifElse(eqz(b), minusOne(a), ifElse(overflow, a, divS(a, b)));
}

function unsignedDiv<T extends IntType>(s: Sem, x: Expr<T>, y: Expr<T>): Expr<T> {
  const a = s.let(x);
  const b = s.let(y);
  return ifElse(eqz(b), minusOne(a), divU(a, b));
}

/** Wasm's rem_s has no overflow case: the lowest value rem -1 is 0 there as well. */
function signedRem<T extends IntType>(s: Sem, x: Expr<T>, y: Expr<T>): Expr<T> {
  const a = s.let(x);
  const b = s.let(y);
  return ifElse(eqz(b), a, remS(a, b));
}

function unsignedRem<T extends IntType>(s: Sem, x: Expr<T>, y: Expr<T>): Expr<T> {
  const a = s.let(x);
  const b = s.let(y);
  return ifElse(eqz(b), a, remU(a, b));
}

/** The entries of M. */
export const RV64M: readonly Instruction[] = [
  r("mul", op, 0, FUNCT7, (s) => s.rd(mul(s.rs1, s.rs2))),
  r("mulh", op, 1, FUNCT7, (s) => {
    const a = s.let(s.rs1);
    const b = s.let(s.rs2);
    const high = s.let(mulhu(s, a, b));
    s.rd(minusIfNegative(minusIfNegative(high, a, b), b, a));
  }),
  r("mulhsu", op, 2, FUNCT7, (s) => {
    const a = s.let(s.rs1);
    const b = s.let(s.rs2);
    const high = s.let(mulhu(s, a, b));
    s.rd(minusIfNegative(high, a, b));
  }),
  r("mulhu", op, 3, FUNCT7, (s) => s.rd(mulhu(s, s.rs1, s.rs2))),
  r("div", op, 4, FUNCT7, (s) => s.rd(signedDiv(s, s.rs1, s.rs2))),
  r("divu", op, 5, FUNCT7, (s) => s.rd(unsignedDiv(s, s.rs1, s.rs2))),
  r("rem", op, 6, FUNCT7, (s) => s.rd(signedRem(s, s.rs1, s.rs2))),
  r("remu", op, 7, FUNCT7, (s) => s.rd(unsignedRem(s, s.rs1, s.rs2))),
  r("mulw", op32, 0, FUNCT7, (s) => s.rd(extendS(mul(wrap(s.rs1), wrap(s.rs2))))),
  r("divw", op32, 4, FUNCT7, (s) => s.rd(extendS(signedDiv(s, wrap(s.rs1), wrap(s.rs2))))),
  r("divuw", op32, 5, FUNCT7, (s) => s.rd(extendS(unsignedDiv(s, wrap(s.rs1), wrap(s.rs2))))),
  r("remw", op32, 6, FUNCT7, (s) => s.rd(extendS(signedRem(s, wrap(s.rs1), wrap(s.rs2))))),
  r("remuw", op32, 7, FUNCT7, (s) => s.rd(extendS(unsignedRem(s, wrap(s.rs1), wrap(s.rs2))))),
];
