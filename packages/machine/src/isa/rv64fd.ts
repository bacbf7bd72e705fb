/** F and D (unprivileged manual, chapters "F" and "D"): one description serves both formats. */

import type { FormatOps } from "../hart/float/float.ts";
import type { Expr, I32, I64, IntType } from "../wasm/expr.ts";
import { add, extendS, i32, wrap } from "../wasm/expr.ts";
import { define, OPCODE } from "./define.ts";
import type { Instruction, Operands, Sem } from "./instruction.ts";

const { opFp, loadFp, storeFp, madd, msub, nmsub, nmadd } = OPCODE;

const FFF: Operands = { rd: "f", rs1: "f", rs2: "f" };
const FF: Operands = { rd: "f", rs1: "f" };
const TO_INT: Operands = { rd: "x", rs1: "f" };
const OF_INT: Operands = { rd: "f", rs1: "x" };

/** One floating-point format: how its values are named, encoded, read and written. */
interface Fmt<B extends IntType> {
  readonly suffix: "s" | "d";
  readonly spec: string;
  /** The fmt field, the low bits of funct7. */
  readonly code: number;
  readonly ops: (s: Sem) => FormatOps<B>;
  readonly a: (s: Sem) => Expr<B>;
  readonly b: (s: Sem) => Expr<B>;
  readonly c: (s: Sem) => Expr<B>;
  readonly put: (s: Sem, value: Expr<B>) => void;
}

const SINGLE: Fmt<"i32"> = {
  suffix: "s",
  spec: "F",
  code: 0,
  ops: (s) => s.fp.s,
  a: (s) => s.fs1s,
  b: (s) => s.fs2s,
  c: (s) => s.fs3s,
  put: (s, value) => s.fds(value),
};

const DOUBLE: Fmt<"i64"> = {
  suffix: "d",
  spec: "D",
  code: 1,
  ops: (s) => s.fp.d,
  a: (s) => s.fs1,
  b: (s) => s.fs2,
  c: (s) => s.fs3,
  put: (s, value) => s.fd(value),
};

const rm = (s: Sem): I32 => i32(s.rm);

function formatInstructions<B extends IntType>(fmt: Fmt<B>): Instruction[] {
  const { suffix, spec, code, ops, a, b, c, put } = fmt;

  /** rd = op(rs1, rs2), rounded. */
  const arithmetic = (name: "add" | "sub" | "mul" | "div", funct5: number): Instruction =>
    define(
      `f${name}.${suffix}`,
      { opcode: opFp, funct7: (funct5 << 2) | code },
      { format: "R", operands: FFF, spec, rounds: true, float: "changes" },
      (s) => put(s, ops(s)[name](s.f, rm(s), a(s), b(s))),
    );

  const fused = (name: "madd" | "msub" | "nmsub" | "nmadd", opcode: number): Instruction =>
    define(
      `f${name}.${suffix}`,
      { opcode, funct2: code },
      { format: "R4", operands: { ...FFF, rs3: "f" }, spec, rounds: true, float: "changes" },
      (s) => put(s, ops(s)[name](s.f, rm(s), a(s), b(s), c(s))),
    );

  /** Two operands and no rounding: told apart by funct3. */
  const pick = (
    name: "sgnj" | "sgnjn" | "sgnjx" | "min" | "max",
    funct5: number,
    funct3: number,
  ): Instruction =>
    define(
      `f${name}.${suffix}`,
      { opcode: opFp, funct7: (funct5 << 2) | code, funct3 },
      { format: "R", operands: FFF, spec, float: "changes" },
      (s) => put(s, ops(s)[name](s.f, a(s), b(s))),
    );

  const compare = (name: "eq" | "lt" | "le", funct3: number): Instruction =>
    define(
      `f${name}.${suffix}`,
      { opcode: opFp, funct7: (0x14 << 2) | code, funct3 },
      { format: "R", operands: { ...FFF, rd: "x" }, spec, float: "changes" },
      (s) => s.rd(ops(s)[name](s.f, a(s), b(s))),
    );

  const toInteger = (name: "toW" | "toWu" | "toL" | "toLu", rs2: number): Instruction =>
    define(
      `fcvt.${name.slice(2).toLowerCase()}.${suffix}`,
      { opcode: opFp, funct7: (0x18 << 2) | code, rs2 },
      { format: "R", operands: TO_INT, spec, rounds: true, float: "changes" },
      (s) => s.rd(ops(s)[name](s.f, rm(s), a(s))),
    );

  const fromInteger = (name: "fromW" | "fromWu" | "fromL" | "fromLu", rs2: number): Instruction =>
    define(
      `fcvt.${suffix}.${name.slice(4).toLowerCase()}`,
      { opcode: opFp, funct7: (0x1a << 2) | code, rs2 },
      { format: "R", operands: OF_INT, spec, rounds: true, float: "changes" },
      (s) => put(s, ops(s)[name](s.f, rm(s), s.rs1)),
    );

  return [
    arithmetic("add", 0x00),
    arithmetic("sub", 0x01),
    arithmetic("mul", 0x02),
    arithmetic("div", 0x03),
    define(
      `fsqrt.${suffix}`,
      { opcode: opFp, funct7: (0x0b << 2) | code, rs2: 0 },
      { format: "R", operands: FF, spec, rounds: true, float: "changes" },
      (s) => put(s, ops(s).sqrt(s.f, rm(s), a(s))),
    ),
    fused("madd", madd),
    fused("msub", msub),
    fused("nmsub", nmsub),
    fused("nmadd", nmadd),
    pick("sgnj", 0x04, 0),
    pick("sgnjn", 0x04, 1),
    pick("sgnjx", 0x04, 2),
    pick("min", 0x05, 0),
    pick("max", 0x05, 1),
    compare("le", 0),
    compare("lt", 1),
    compare("eq", 2),
    toInteger("toW", 0),
    toInteger("toWu", 1),
    toInteger("toL", 2),
    toInteger("toLu", 3),
    fromInteger("fromW", 0),
    fromInteger("fromWu", 1),
    fromInteger("fromL", 2),
    fromInteger("fromLu", 3),
    define(
      `fclass.${suffix}`,
      { opcode: opFp, funct7: (0x1c << 2) | code, funct3: 1, rs2: 0 },
      { format: "R", operands: TO_INT, spec, float: "reads" },
      (s) => s.rd(ops(s).class(s.f, a(s))),
    ),
  ];
}

/** Moves of bits, and conversions between the two formats. */
function transfers(): Instruction[] {
  const move = (
    name: string,
    funct7: number,
    operands: Operands,
    body: (s: Sem) => void,
  ): Instruction =>
    define(
      name,
      { opcode: opFp, funct7, funct3: 0, rs2: 0 },
      {
        format: "R",
        operands,
        spec: name.includes("d") ? "D" : "F",
        float: operands.rd === "f" ? "changes" : "reads",
      },
      body,
    );
  const convert = (
    name: string,
    funct7: number,
    rs2: number,
    body: (s: Sem) => void,
  ): Instruction =>
    define(
      name,
      { opcode: opFp, funct7, rs2 },
      { format: "R", operands: FF, spec: "D", rounds: true, float: "changes" },
      body,
    );
  const word = (bits: I64): I64 => extendS(wrap(bits));
  return [
    move("fmv.x.w", 0x70, TO_INT, (s) => s.rd(word(s.fs1))),
    move("fmv.w.x", 0x78, OF_INT, (s) => s.fds(wrap(s.rs1))),
    move("fmv.x.d", 0x71, TO_INT, (s) => s.rd(s.fs1)),
    move("fmv.d.x", 0x79, OF_INT, (s) => s.fd(s.rs1)),
    convert("fcvt.s.d", 0x20, 1, (s) => s.fds(s.fp.narrow(s.f, rm(s), s.fs1))),
    convert("fcvt.d.s", 0x21, 0, (s) => s.fd(s.fp.widen(s.f, s.fs1s))),
  ];
}

function loadsAndStores(): Instruction[] {
  const load = { format: "I", operands: { rd: "f", rs1: "x" }, float: "changes" } as const;
  const store = { format: "S", operands: { rs1: "x", rs2: "f" }, float: "reads" } as const;
  return [
    define("flw", { opcode: loadFp, funct3: 2 }, { ...load, spec: "F" }, (s) =>
      s.fds(wrap(s.load("wu", add(s.rs1, s.imm)))),
    ),
    define("fld", { opcode: loadFp, funct3: 3 }, { ...load, spec: "D", compressed: true }, (s) =>
      s.fd(s.load("d", add(s.rs1, s.imm))),
    ),
    define("fsw", { opcode: storeFp, funct3: 2 }, { ...store, spec: "F" }, (s) =>
      s.store("w", add(s.rs1, s.imm), s.fs2),
    ),
    define("fsd", { opcode: storeFp, funct3: 3 }, { ...store, spec: "D", compressed: true }, (s) =>
      s.store("d", add(s.rs1, s.imm), s.fs2),
    ),
  ];
}

/** The entries of F and D. */
export const RV64FD: readonly Instruction[] = [
  ...loadsAndStores(),
  ...formatInstructions(SINGLE),
  ...formatInstructions(DOUBLE),
  ...transfers(),
];
