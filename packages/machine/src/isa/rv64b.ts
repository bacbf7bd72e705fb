/** Zba, Zbb, Zbs (unprivileged manual, chapter "B"). */

import type { I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  clz,
  ctz,
  extend8S,
  extend16S,
  extendS,
  extendU,
  gtS,
  gtU,
  i64,
  ltS,
  ltU,
  mul,
  or,
  popcnt,
  rotl,
  rotr,
  select,
  shl,
  shrU,
  wrap,
  xor,
} from "../wasm/expr.ts";
import { define, integerMakers, OPCODE } from "./define.ts";
import type { Instruction, Sem } from "./instruction.ts";

const zba = integerMakers("Zba");
const zbb = integerMakers("Zbb");
const zbs = integerMakers("Zbs");
const { op, op32, opImm, opImm32 } = OPCODE;

const zeroExtendWord = (x: I64): I64 => and(x, i64(0xffff_ffff));
const not = (x: I64): I64 => xor(x, i64(-1));

function shiftAdd(name: string, funct3: number, amount: number): Instruction[] {
  return [
    zba.r(name, op, funct3, 0x10, (s) => s.rd(add(shl(s.rs1, i64(amount)), s.rs2))),
    zba.r(`${name}.uw`, op32, funct3, 0x10, (s) =>
      s.rd(add(shl(zeroExtendWord(s.rs1), i64(amount)), s.rs2)),
    ),
  ];
}

function choose(s: Sem, first: typeof ltS): void {
  const a = s.let(s.rs1);
  const b = s.let(s.rs2);
  s.rd(select(first(a, b), a, b));
}

const BYTE_ONES = 0x0101_0101_0101_0101n;

/** Each byte becomes all ones where it has any bit set. */
function orCombine(s: Sem, x: I64): I64 {
  const a = s.let(x);
  const b = s.let(or(a, shrU(and(a, i64(BYTE_ONES * 0xf0n)), i64(4))));
  const c = s.let(or(b, shrU(and(b, i64(BYTE_ONES * 0x0cn)), i64(2))));
  const low = and(or(c, shrU(and(c, i64(BYTE_ONES * 2n)), i64(1))), i64(BYTE_ONES));
  return mul(low, i64(0xff));
}

function reverseBytes(s: Sem, x: I64): I64 {
  const swap = (value: I64, mask: bigint, amount: number): I64 => {
    const v = s.let(value);
    return or(and(shrU(v, i64(amount)), i64(mask)), shl(and(v, i64(mask)), i64(amount)));
  };
  const bytes = swap(x, 0x00ff_00ff_00ff_00ffn, 8);
  return rotl(swap(bytes, 0x0000_ffff_0000_ffffn, 16), i64(32));
}

/** The bit that the low six bits of `amount` name. */
const bit = (amount: I64): I64 => shl(i64(1), amount);

function singleBit(
  name: string,
  funct3: number,
  funct6: number,
  apply: (x: I64, amount: I64) => I64,
) {
  return [
    zbs.r(name, op, funct3, funct6 << 1, (s) => s.rd(apply(s.rs1, s.rs2))),
    zbs.shift6(`${name}i`, funct3, funct6, (s) => s.rd(apply(s.rs1, s.imm))),
  ];
}

/** The entries of Zba, Zbb and Zbs. */
export const RV64B: readonly Instruction[] = [
  zba.r("add.uw", op32, 0, 0x04, (s) => s.rd(add(zeroExtendWord(s.rs1), s.rs2))),
  ...shiftAdd("sh1add", 2, 1),
  ...shiftAdd("sh2add", 4, 2),
  ...shiftAdd("sh3add", 6, 3),
  define(
    "slli.uw",
    { opcode: opImm32, funct3: 1, funct6: 0x02 },
    { format: "shift", operands: { rd: "x", rs1: "x" }, spec: "Zba", pure: true },
    (s) => s.rd(shl(zeroExtendWord(s.rs1), s.imm)),
  ),

  zbb.r("andn", op, 7, 0x20, (s) => s.rd(and(s.rs1, not(s.rs2)))),
  zbb.r("orn", op, 6, 0x20, (s) => s.rd(or(s.rs1, not(s.rs2)))),
  zbb.r("xnor", op, 4, 0x20, (s) => s.rd(not(xor(s.rs1, s.rs2)))),
  zbb.unary("clz", opImm, 1, 0x600, (s) => s.rd(clz(s.rs1))),
  zbb.unary("ctz", opImm, 1, 0x601, (s) => s.rd(ctz(s.rs1))),
  zbb.unary("cpop", opImm, 1, 0x602, (s) => s.rd(popcnt(s.rs1))),
  zbb.unary("sext.b", opImm, 1, 0x604, (s) => s.rd(extend8S(s.rs1))),
  zbb.unary("sext.h", opImm, 1, 0x605, (s) => s.rd(extend16S(s.rs1))),
  zbb.unary("clzw", opImm32, 1, 0x600, (s) => s.rd(extendU(clz(wrap(s.rs1))))),
  zbb.unary("ctzw", opImm32, 1, 0x601, (s) => s.rd(extendU(ctz(wrap(s.rs1))))),
  zbb.unary("cpopw", opImm32, 1, 0x602, (s) => s.rd(extendU(popcnt(wrap(s.rs1))))),
  zbb.unary("zext.h", op32, 4, 0x080, (s) => s.rd(and(s.rs1, i64(0xffff)))),
  zbb.r("min", op, 4, 0x05, (s) => choose(s, ltS)),
  zbb.r("minu", op, 5, 0x05, (s) => choose(s, ltU)),
  zbb.r("max", op, 6, 0x05, (s) => choose(s, gtS)),
  zbb.r("maxu", op, 7, 0x05, (s) => choose(s, gtU)),
  zbb.r("rol", op, 1, 0x30, (s) => s.rd(rotl(s.rs1, s.rs2))),
  zbb.r("ror", op, 5, 0x30, (s) => s.rd(rotr(s.rs1, s.rs2))),
  zbb.r("rolw", op32, 1, 0x30, (s) => s.rd(extendS(rotl(wrap(s.rs1), wrap(s.rs2))))),
  zbb.r("rorw", op32, 5, 0x30, (s) => s.rd(extendS(rotr(wrap(s.rs1), wrap(s.rs2))))),
  zbb.shift6("rori", 5, 0x18, (s) => s.rd(rotr(s.rs1, s.imm))),
  zbb.shift5("roriw", 5, 0x30, (s) => s.rd(extendS(rotr(wrap(s.rs1), wrap(s.imm))))),
  zbb.unary("orc.b", opImm, 5, 0x287, (s) => s.rd(orCombine(s, s.rs1))),
  zbb.unary("rev8", opImm, 5, 0x6b8, (s) => s.rd(reverseBytes(s, s.rs1))),

  ...singleBit("bset", 1, 0x0a, (x, amount) => or(x, bit(amount))),
  ...singleBit("bclr", 1, 0x12, (x, amount) => and(x, not(bit(amount)))),
  ...singleBit("binv", 1, 0x1a, (x, amount) => xor(x, bit(amount))),
  ...singleBit("bext", 5, 0x12, (x, amount) => and(shrU(x, amount), i64(1))),
];
