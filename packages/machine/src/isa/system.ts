/** SYSTEM opcode: CSR access, traps, privileged instructions (privileged manual; Zicsr). */
import { define, OPCODE } from "./define.ts";
import type { CsrAction, Instruction, SystemOp } from "./instruction.ts";

const { system } = OPCODE;

function csr(name: string, funct3: number, action: CsrAction): Instruction[] {
  return [
    define(
      name,
      { opcode: system, funct3 },
      { format: "csr", operands: { rd: "x", rs1: "x" }, spec: "Zicsr", ends: true },
      (s) => s.csr(action, s.rs1),
    ),
    define(
      `${name}i`,
      { opcode: system, funct3: funct3 + 4 },
      { format: "csrimm", operands: { rd: "x" }, spec: "Zicsr", ends: true },
      (s) => s.csr(action, s.zimm),
    ),
  ];
}

const exact = (name: SystemOp, funct7: number, rs2: number): Instruction =>
  define(
    name,
    { opcode: system, funct3: 0, funct7, rs2, rs1: 0, rd: 0 },
    { format: "none", operands: {}, spec: "privileged", ends: true, compressed: name === "ebreak" },
    (s) => s.system(name),
  );

/** The entries of Zicsr and the privileged architecture. */
export const SYSTEM: readonly Instruction[] = [
  ...csr("csrrw", 1, "write"),
  ...csr("csrrs", 2, "set"),
  ...csr("csrrc", 3, "clear"),
  exact("ecall", 0x00, 0),
  exact("ebreak", 0x00, 1),
  exact("sret", 0x08, 2),
  exact("mret", 0x18, 2),
  exact("wfi", 0x08, 5),
  define(
    "sfence.vma",
    { opcode: system, funct3: 0, funct7: 0x09, rd: 0 },
    { format: "R", operands: { rs1: "x", rs2: "x" }, spec: "privileged", ends: true },
    (s) => s.system("sfence.vma"),
  ),
];
