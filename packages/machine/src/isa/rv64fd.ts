/** F and D (unprivileged manual, chapters "F" and "D"). Singles are NaN-boxed in registers. */
import { add, and, extendS, extendU, i32, i64, or, wrap, xor } from "../wasm/expr.ts";
import type { I32, I64 } from "../wasm/expr.ts";
import { define, OPCODE } from "./define.ts";
import type { Instruction, Operands, Sem } from "./instruction.ts";

const { opFp, loadFp, storeFp, madd, msub, nmsub, nmadd } = OPCODE;
/** The fmt field: the low bits of funct7. */
const FMT = { s: 0, d: 1 } as const;
type Fmt = keyof typeof FMT;

const FFF: Operands = { rd: "f", rs1: "f", rs2: "f" };
const FF: Operands = { rd: "f", rs1: "f" };

const specOf = (fmt: Fmt): string => (fmt === "s" ? "F" : "D");

/** rd = op(rs1, rs2), rounded. */
function arithmetic(fmt: Fmt, name: string, funct5: number, body: (s: Sem) => void): Instruction {
  return define(
    `${name}.${fmt}`,
    { opcode: opFp, funct7: (funct5 << 2) | FMT[fmt] },
    { format: "R", operands: FFF, spec: specOf(fmt), rounds: true, float: "changes" },
    body,
  );
}

interface FixedShape {
  readonly fmt: Fmt;
  readonly funct5: number;
  readonly funct3: number;
  readonly rs2?: number;
  readonly operands: Operands;
  readonly float: "reads" | "changes";
}

/** An instruction without a rounding mode. */
function fixed(name: string, shape: FixedShape, body: (s: Sem) => void): Instruction {
  const { fmt, funct5, funct3, rs2, operands, float } = shape;
  return define(
    name,
    {
      opcode: opFp,
      funct7: (funct5 << 2) | FMT[fmt],
      funct3,
      ...(rs2 === undefined ? {} : { rs2 }),
    },
    { format: "R", operands, spec: specOf(fmt), float },
    body,
  );
}

interface ConvertShape {
  readonly fmt: Fmt;
  readonly funct5: number;
  readonly rs2: number;
  readonly operands: Operands;
}

function convert(name: string, shape: ConvertShape, body: (s: Sem) => void): Instruction {
  const { fmt, funct5, rs2, operands } = shape;
  return define(
    name,
    { opcode: opFp, funct7: (funct5 << 2) | FMT[fmt], rs2 },
    { format: "R", operands, spec: specOf(fmt), rounds: true, float: "changes" },
    body,
  );
}

function fused(fmt: Fmt, name: string, opcode: number, body: (s: Sem) => void): Instruction {
  return define(
    `${name}.${fmt}`,
    { opcode, funct2: FMT[fmt] },
    { format: "R4", operands: { ...FFF, rs3: "f" }, spec: specOf(fmt), rounds: true, float: "changes" },
    body,
  );
}

const SIGN64 = i64(1n << 63n);
const SIGN32 = i32(0x8000_0000);

const sign64 = (magnitude: I64, sign: I64): I64 =>
  or(and(magnitude, i64((1n << 63n) - 1n)), and(sign, SIGN64));
const sign32 = (magnitude: I32, sign: I32): I32 =>
  or(and(magnitude, i32(0x7fff_ffff)), and(sign, SIGN32));

const word = (x: I32): I64 => extendS(x);
const flag = (x: I32): I64 => extendU(x);

function double(): Instruction[] {
  const fmt = "d";
  const sign = (name: string, funct3: number, apply: (a: I64, b: I64) => I64): Instruction =>
    fixed(`${name}.d`, { fmt, funct5: 4, funct3, operands: FFF, float: "changes" }, (s) => {
      const a = s.let(s.fs1);
      const b = s.let(s.fs2);
      s.fd(apply(a, b));
    });
  const compare = (name: string, funct3: number, body: (s: Sem) => I32): Instruction =>
    fixed(
      `${name}.d`,
      { fmt, funct5: 0x14, funct3, operands: { rd: "x", rs1: "f", rs2: "f" }, float: "changes" },
      (s) => s.rd(flag(body(s))),
    );
  const toInt = { rd: "x", rs1: "f" } as const;
  const ofInt = { rd: "f", rs1: "x" } as const;
  return [
    arithmetic(fmt, "fadd", 0, (s) => s.fd(s.fp.addD(s.f, s.rm, s.fs1, s.fs2))),
    arithmetic(fmt, "fsub", 1, (s) => s.fd(s.fp.subD(s.f, s.rm, s.fs1, s.fs2))),
    arithmetic(fmt, "fmul", 2, (s) => s.fd(s.fp.mulD(s.f, s.rm, s.fs1, s.fs2))),
    arithmetic(fmt, "fdiv", 3, (s) => s.fd(s.fp.divD(s.f, s.rm, s.fs1, s.fs2))),
    convert("fsqrt.d", { fmt, funct5: 0x0b, rs2: 0, operands: FF }, (s) =>
      s.fd(s.fp.sqrtD(s.f, s.rm, s.fs1)),
    ),
    fused(fmt, "fmadd", madd, (s) => s.fd(s.fp.maddD(s.f, s.rm, s.fs1, s.fs2, s.fs3))),
    fused(fmt, "fmsub", msub, (s) => s.fd(s.fp.msubD(s.f, s.rm, s.fs1, s.fs2, s.fs3))),
    fused(fmt, "fnmsub", nmsub, (s) => s.fd(s.fp.nmsubD(s.f, s.rm, s.fs1, s.fs2, s.fs3))),
    fused(fmt, "fnmadd", nmadd, (s) => s.fd(s.fp.nmaddD(s.f, s.rm, s.fs1, s.fs2, s.fs3))),
    sign("fsgnj", 0, sign64),
    sign("fsgnjn", 1, (a, b) => sign64(a, xor(b, i64(-1)))),
    sign("fsgnjx", 2, (a, b) => xor(a, and(b, SIGN64))),
    fixed("fmin.d", { fmt, funct5: 5, funct3: 0, operands: FFF, float: "changes" }, (s) =>
      s.fd(s.fp.minD(s.f, s.fs1, s.fs2)),
    ),
    fixed("fmax.d", { fmt, funct5: 5, funct3: 1, operands: FFF, float: "changes" }, (s) =>
      s.fd(s.fp.maxD(s.f, s.fs1, s.fs2)),
    ),
    compare("feq", 2, (s) => s.fp.eqD(s.f, s.fs1, s.fs2)),
    compare("flt", 1, (s) => s.fp.ltD(s.f, s.fs1, s.fs2)),
    compare("fle", 0, (s) => s.fp.leD(s.f, s.fs1, s.fs2)),
    convert("fcvt.w.d", { fmt, funct5: 0x18, rs2: 0, operands: toInt }, (s) =>
      s.rd(word(s.fp.wFromD(s.f, s.rm, s.fs1))),
    ),
    convert("fcvt.wu.d", { fmt, funct5: 0x18, rs2: 1, operands: toInt }, (s) =>
      s.rd(word(s.fp.wuFromD(s.f, s.rm, s.fs1))),
    ),
    convert("fcvt.l.d", { fmt, funct5: 0x18, rs2: 2, operands: toInt }, (s) =>
      s.rd(s.fp.lFromD(s.f, s.rm, s.fs1)),
    ),
    convert("fcvt.lu.d", { fmt, funct5: 0x18, rs2: 3, operands: toInt }, (s) =>
      s.rd(s.fp.luFromD(s.f, s.rm, s.fs1)),
    ),
    convert("fcvt.d.w", { fmt, funct5: 0x1a, rs2: 0, operands: ofInt }, (s) =>
      s.fd(s.fp.dFromW(s.f, wrap(s.rs1))),
    ),
    convert("fcvt.d.wu", { fmt, funct5: 0x1a, rs2: 1, operands: ofInt }, (s) =>
      s.fd(s.fp.dFromWu(s.f, wrap(s.rs1))),
    ),
    convert("fcvt.d.l", { fmt, funct5: 0x1a, rs2: 2, operands: ofInt }, (s) =>
      s.fd(s.fp.dFromL(s.f, s.rm, s.rs1)),
    ),
    convert("fcvt.d.lu", { fmt, funct5: 0x1a, rs2: 3, operands: ofInt }, (s) =>
      s.fd(s.fp.dFromLu(s.f, s.rm, s.rs1)),
    ),
    convert("fcvt.s.d", { fmt: "s", funct5: 0x08, rs2: 1, operands: FF }, (s) =>
      s.fds(s.fp.sFromD(s.f, s.rm, s.fs1)),
    ),
    convert("fcvt.d.s", { fmt, funct5: 0x08, rs2: 0, operands: FF }, (s) =>
      s.fd(s.fp.dFromS(s.f, s.fs1s)),
    ),
    fixed("fclass.d", { fmt, funct5: 0x1c, funct3: 1, rs2: 0, operands: toInt, float: "reads" }, (s) =>
      s.rd(flag(s.fp.classD(s.f, s.fs1))),
    ),
    fixed("fmv.x.d", { fmt, funct5: 0x1c, funct3: 0, rs2: 0, operands: toInt, float: "reads" }, (s) =>
      s.rd(s.fs1),
    ),
    fixed("fmv.d.x", { fmt, funct5: 0x1e, funct3: 0, rs2: 0, operands: ofInt, float: "changes" }, (s) =>
      s.fd(s.rs1),
    ),
  ];
}

function single(): Instruction[] {
  const fmt = "s";
  const sign = (name: string, funct3: number, apply: (a: I32, b: I32) => I32): Instruction =>
    fixed(`${name}.s`, { fmt, funct5: 4, funct3, operands: FFF, float: "changes" }, (s) => {
      const a = s.let(s.fs1s);
      const b = s.let(s.fs2s);
      s.fds(apply(a, b));
    });
  const compare = (name: string, funct3: number, body: (s: Sem) => I32): Instruction =>
    fixed(
      `${name}.s`,
      { fmt, funct5: 0x14, funct3, operands: { rd: "x", rs1: "f", rs2: "f" }, float: "changes" },
      (s) => s.rd(flag(body(s))),
    );
  const toInt = { rd: "x", rs1: "f" } as const;
  const ofInt = { rd: "f", rs1: "x" } as const;
  return [
    arithmetic(fmt, "fadd", 0, (s) => s.fds(s.fp.addS(s.f, s.rm, s.fs1s, s.fs2s))),
    arithmetic(fmt, "fsub", 1, (s) => s.fds(s.fp.subS(s.f, s.rm, s.fs1s, s.fs2s))),
    arithmetic(fmt, "fmul", 2, (s) => s.fds(s.fp.mulS(s.f, s.rm, s.fs1s, s.fs2s))),
    arithmetic(fmt, "fdiv", 3, (s) => s.fds(s.fp.divS(s.f, s.rm, s.fs1s, s.fs2s))),
    convert("fsqrt.s", { fmt, funct5: 0x0b, rs2: 0, operands: FF }, (s) =>
      s.fds(s.fp.sqrtS(s.f, s.rm, s.fs1s)),
    ),
    fused(fmt, "fmadd", madd, (s) => s.fds(s.fp.maddS(s.f, s.rm, s.fs1s, s.fs2s, s.fs3s))),
    fused(fmt, "fmsub", msub, (s) => s.fds(s.fp.msubS(s.f, s.rm, s.fs1s, s.fs2s, s.fs3s))),
    fused(fmt, "fnmsub", nmsub, (s) => s.fds(s.fp.nmsubS(s.f, s.rm, s.fs1s, s.fs2s, s.fs3s))),
    fused(fmt, "fnmadd", nmadd, (s) => s.fds(s.fp.nmaddS(s.f, s.rm, s.fs1s, s.fs2s, s.fs3s))),
    sign("fsgnj", 0, sign32),
    sign("fsgnjn", 1, (a, b) => sign32(a, xor(b, i32(-1)))),
    sign("fsgnjx", 2, (a, b) => xor(a, and(b, SIGN32))),
    fixed("fmin.s", { fmt, funct5: 5, funct3: 0, operands: FFF, float: "changes" }, (s) =>
      s.fds(s.fp.minS(s.f, s.fs1s, s.fs2s)),
    ),
    fixed("fmax.s", { fmt, funct5: 5, funct3: 1, operands: FFF, float: "changes" }, (s) =>
      s.fds(s.fp.maxS(s.f, s.fs1s, s.fs2s)),
    ),
    compare("feq", 2, (s) => s.fp.eqS(s.f, s.fs1s, s.fs2s)),
    compare("flt", 1, (s) => s.fp.ltS(s.f, s.fs1s, s.fs2s)),
    compare("fle", 0, (s) => s.fp.leS(s.f, s.fs1s, s.fs2s)),
    convert("fcvt.w.s", { fmt, funct5: 0x18, rs2: 0, operands: toInt }, (s) =>
      s.rd(word(s.fp.wFromS(s.f, s.rm, s.fs1s))),
    ),
    convert("fcvt.wu.s", { fmt, funct5: 0x18, rs2: 1, operands: toInt }, (s) =>
      s.rd(word(s.fp.wuFromS(s.f, s.rm, s.fs1s))),
    ),
    convert("fcvt.l.s", { fmt, funct5: 0x18, rs2: 2, operands: toInt }, (s) =>
      s.rd(s.fp.lFromS(s.f, s.rm, s.fs1s)),
    ),
    convert("fcvt.lu.s", { fmt, funct5: 0x18, rs2: 3, operands: toInt }, (s) =>
      s.rd(s.fp.luFromS(s.f, s.rm, s.fs1s)),
    ),
    convert("fcvt.s.w", { fmt, funct5: 0x1a, rs2: 0, operands: ofInt }, (s) =>
      s.fds(s.fp.sFromW(s.f, s.rm, wrap(s.rs1))),
    ),
    convert("fcvt.s.wu", { fmt, funct5: 0x1a, rs2: 1, operands: ofInt }, (s) =>
      s.fds(s.fp.sFromWu(s.f, s.rm, wrap(s.rs1))),
    ),
    convert("fcvt.s.l", { fmt, funct5: 0x1a, rs2: 2, operands: ofInt }, (s) =>
      s.fds(s.fp.sFromL(s.f, s.rm, s.rs1)),
    ),
    convert("fcvt.s.lu", { fmt, funct5: 0x1a, rs2: 3, operands: ofInt }, (s) =>
      s.fds(s.fp.sFromLu(s.f, s.rm, s.rs1)),
    ),
    fixed("fclass.s", { fmt, funct5: 0x1c, funct3: 1, rs2: 0, operands: toInt, float: "reads" }, (s) =>
      s.rd(flag(s.fp.classS(s.f, s.fs1s))),
    ),
    fixed("fmv.x.w", { fmt, funct5: 0x1c, funct3: 0, rs2: 0, operands: toInt, float: "reads" }, (s) =>
      s.rd(word(wrap(s.fs1))),
    ),
    fixed("fmv.w.x", { fmt, funct5: 0x1e, funct3: 0, rs2: 0, operands: ofInt, float: "changes" }, (s) =>
      s.fds(wrap(s.rs1)),
    ),
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

export const RV64FD: readonly Instruction[] = [...loadsAndStores(), ...single(), ...double()];
