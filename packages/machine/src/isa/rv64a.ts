/** A: LR/SC and atomic memory operations (unprivileged manual, chapter "A"). */

import type { I32, I64 } from "../wasm/expr.ts";
import { add, and, extend32S, gtS, gtU, ltS, ltU, or, select, xor } from "../wasm/expr.ts";
import { define, OPCODE } from "./define.ts";
import type { Instruction } from "./instruction.ts";

const spec = "A";
const operands = { rd: "x", rs1: "x", rs2: "x" } as const;

type Combine = (old: I64, operand: I64) => I64;

const choose =
  (takeOld: (a: I64, b: I64) => I32): Combine =>
  (old, operand) =>
    select(takeOld(old, operand), old, operand);

/** Both widths of one operation. Words are compared and combined sign-extended. */
function amo(name: string, funct5: number, combine: Combine): Instruction[] {
  return (["w", "d"] as const).map((kind) =>
    define(
      `amo${name}.${kind}`,
      { opcode: OPCODE.amo, funct3: kind === "w" ? 2 : 3, funct5 },
      { format: "R", operands, spec },
      (s) => {
        const address = s.let(s.rs1);
        const old = s.let(s.loadForUpdate(kind, address));
        const operand = s.let(kind === "w" ? extend32S(s.rs2) : s.rs2);
        s.store(kind, address, combine(old, operand));
        s.rd(old);
      },
    ),
  );
}

function reserved(kind: "w" | "d"): Instruction[] {
  const funct3 = kind === "w" ? 2 : 3;
  return [
    define(
      `lr.${kind}`,
      { opcode: OPCODE.amo, funct3, funct5: 2, rs2: 0 },
      { format: "R", operands: { rd: "x", rs1: "x" }, spec },
      (s) => s.rd(s.loadReserved(kind, s.rs1)),
    ),
    define(
      `sc.${kind}`,
      { opcode: OPCODE.amo, funct3, funct5: 3 },
      { format: "R", operands, spec },
      (s) => s.rd(s.storeConditional(kind, s.rs1, s.rs2)),
    ),
  ];
}

/** The entries of A. */
export const RV64A: readonly Instruction[] = [
  ...reserved("w"),
  ...reserved("d"),
  ...amo("swap", 0x01, (_old, operand) => operand),
  ...amo("add", 0x00, add),
  ...amo("xor", 0x04, xor),
  ...amo("and", 0x0c, and),
  ...amo("or", 0x08, or),
  ...amo("min", 0x10, choose(ltS)),
  ...amo("max", 0x14, choose(gtS)),
  ...amo("minu", 0x18, choose(ltU)),
  ...amo("maxu", 0x1c, choose(gtU)),
];
