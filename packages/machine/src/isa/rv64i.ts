/** RV64I (unprivileged manual, chapters "RV32I" and "RV64I"), without the SYSTEM opcode. */

import type { I32, I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  eq,
  extendS,
  extendU,
  geS,
  geU,
  i64,
  ltS,
  ltU,
  ne,
  or,
  shl,
  shrS,
  shrU,
  sub,
  wrap,
  xor,
} from "../wasm/expr.ts";
import { define, integerMakers, OPCODE } from "./define.ts";
import type { Instruction, MemoryKind, Sem } from "./instruction.ts";

const spec = "RV64I";
const { r, i, shift6, shift5 } = integerMakers(spec);
const { op, opImm, op32, opImm32 } = OPCODE;

/** Low 32 bits, sign-extended: the result of every *W instruction. */
const word = (x: I32): I64 => extendS(x);
const flag = (x: I32): I64 => extendU(x);

const branch = (name: string, funct3: number, test: (a: I64, b: I64) => I32, compressed = false) =>
  define(
    name,
    { opcode: OPCODE.branch, funct3 },
    { format: "B", operands: { rs1: "x", rs2: "x" }, spec, ends: true, compressed },
    (s) => s.branch(test(s.rs1, s.rs2)),
  );

const load = (kind: MemoryKind, funct3: number, compressed = false) =>
  define(
    `l${kind}`,
    { opcode: OPCODE.load, funct3 },
    { format: "I", operands: { rd: "x", rs1: "x" }, spec, compressed },
    (s) => s.rd(s.load(kind, add(s.rs1, s.imm))),
  );

const store = (kind: MemoryKind, funct3: number, compressed = false) =>
  define(
    `s${kind}`,
    { opcode: OPCODE.store, funct3 },
    { format: "S", operands: { rs1: "x", rs2: "x" }, spec, compressed },
    (s) => s.store(kind, add(s.rs1, s.imm), s.rs2),
  );

const jalr = (s: Sem): void => {
  const target = s.let(and(add(s.rs1, s.imm), i64(-2)));
  s.rd(s.link);
  s.jump(target);
};

/** The entries of RV64I, Zifencei and Zicboz. */
export const RV64I: readonly Instruction[] = [
  define(
    "lui",
    { opcode: OPCODE.lui },
    { format: "U", operands: { rd: "x" }, spec, pure: true, compressed: true },
    (s) => s.rd(s.imm),
  ),
  define(
    "auipc",
    { opcode: OPCODE.auipc },
    { format: "U", operands: { rd: "x" }, spec, pure: true },
    (s) => s.rd(add(s.pc, s.imm)),
  ),
  define(
    "jal",
    { opcode: OPCODE.jal },
    { format: "J", operands: { rd: "x" }, spec, ends: true, compressed: true },
    (s) => {
      s.rd(s.link);
      s.jumpRelative();
    },
  ),
  define(
    "jalr",
    { opcode: OPCODE.jalr, funct3: 0 },
    { format: "I", operands: { rd: "x", rs1: "x" }, spec, ends: true, compressed: true },
    jalr,
  ),

  branch("beq", 0, eq, true),
  branch("bne", 1, ne, true),
  branch("blt", 4, ltS),
  branch("bge", 5, geS),
  branch("bltu", 6, ltU),
  branch("bgeu", 7, geU),

  load("b", 0),
  load("h", 1),
  load("w", 2, true),
  load("d", 3, true),
  load("bu", 4),
  load("hu", 5),
  load("wu", 6),
  store("b", 0),
  store("h", 1),
  store("w", 2, true),
  store("d", 3, true),

  i("addi", opImm, 0, (s) => s.rd(add(s.rs1, s.imm)), { compressed: true }),
  i("slti", opImm, 2, (s) => s.rd(flag(ltS(s.rs1, s.imm)))),
  i("sltiu", opImm, 3, (s) => s.rd(flag(ltU(s.rs1, s.imm)))),
  i("xori", opImm, 4, (s) => s.rd(xor(s.rs1, s.imm))),
  i("ori", opImm, 6, (s) => s.rd(or(s.rs1, s.imm))),
  i("andi", opImm, 7, (s) => s.rd(and(s.rs1, s.imm)), { compressed: true }),
  shift6("slli", 1, 0x00, (s) => s.rd(shl(s.rs1, s.imm)), { compressed: true }),
  shift6("srli", 5, 0x00, (s) => s.rd(shrU(s.rs1, s.imm)), { compressed: true }),
  shift6("srai", 5, 0x10, (s) => s.rd(shrS(s.rs1, s.imm)), { compressed: true }),

  r("add", op, 0, 0x00, (s) => s.rd(add(s.rs1, s.rs2)), { compressed: true }),
  r("sub", op, 0, 0x20, (s) => s.rd(sub(s.rs1, s.rs2)), { compressed: true }),
  r("sll", op, 1, 0x00, (s) => s.rd(shl(s.rs1, s.rs2))),
  r("slt", op, 2, 0x00, (s) => s.rd(flag(ltS(s.rs1, s.rs2)))),
  r("sltu", op, 3, 0x00, (s) => s.rd(flag(ltU(s.rs1, s.rs2)))),
  r("xor", op, 4, 0x00, (s) => s.rd(xor(s.rs1, s.rs2)), { compressed: true }),
  r("srl", op, 5, 0x00, (s) => s.rd(shrU(s.rs1, s.rs2))),
  r("sra", op, 5, 0x20, (s) => s.rd(shrS(s.rs1, s.rs2))),
  r("or", op, 6, 0x00, (s) => s.rd(or(s.rs1, s.rs2)), { compressed: true }),
  r("and", op, 7, 0x00, (s) => s.rd(and(s.rs1, s.rs2)), { compressed: true }),

  i("addiw", opImm32, 0, (s) => s.rd(word(add(wrap(s.rs1), wrap(s.imm)))), { compressed: true }),
  shift5("slliw", 1, 0x00, (s) => s.rd(word(shl(wrap(s.rs1), wrap(s.imm))))),
  shift5("srliw", 5, 0x00, (s) => s.rd(word(shrU(wrap(s.rs1), wrap(s.imm))))),
  shift5("sraiw", 5, 0x20, (s) => s.rd(word(shrS(wrap(s.rs1), wrap(s.imm))))),
  r("addw", op32, 0, 0x00, (s) => s.rd(word(add(wrap(s.rs1), wrap(s.rs2)))), { compressed: true }),
  r("subw", op32, 0, 0x20, (s) => s.rd(word(sub(wrap(s.rs1), wrap(s.rs2)))), { compressed: true }),
  r("sllw", op32, 1, 0x00, (s) => s.rd(word(shl(wrap(s.rs1), wrap(s.rs2))))),
  r("srlw", op32, 5, 0x00, (s) => s.rd(word(shrU(wrap(s.rs1), wrap(s.rs2))))),
  r("sraw", op32, 5, 0x20, (s) => s.rd(word(shrS(wrap(s.rs1), wrap(s.rs2))))),

  // One hart, in order: fences have nothing to order. The reserved forms are fences too.
  define(
    "fence",
    { opcode: OPCODE.miscMem, funct3: 0 },
    { format: "none", operands: {}, spec, pure: true },
    () => {},
  ),
  define(
    "fence.i",
    { opcode: OPCODE.miscMem, funct3: 1 },
    { format: "none", operands: {}, spec: "Zifencei", ends: true },
    (s) => s.system("fence.i"),
  ),
  define(
    "cbo.zero",
    { opcode: OPCODE.miscMem, funct3: 2, rs2: 4, funct7: 0, rd: 0 },
    { format: "R", operands: { rs1: "x" }, spec: "Zicboz" },
    (s) => s.zeroBlock(s.rs1),
  ),
];
