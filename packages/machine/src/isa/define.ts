/**
 * Makers of table entries, one per instruction format. They fill in mask and match from the
 * fields that identify an instruction, so that an entry shows the fields as the manual does.
 */
import type { Format, Instruction, Operands, Sem } from "./instruction.ts";

/** Major opcodes, low bits 11 included (unprivileged manual, "Instruction Set Listings"). */
export const OPCODE = {
  load: 0x03,
  loadFp: 0x07,
  miscMem: 0x0f,
  opImm: 0x13,
  auipc: 0x17,
  opImm32: 0x1b,
  store: 0x23,
  storeFp: 0x27,
  amo: 0x2f,
  op: 0x33,
  lui: 0x37,
  op32: 0x3b,
  madd: 0x43,
  msub: 0x47,
  nmsub: 0x4b,
  nmadd: 0x4f,
  opFp: 0x53,
  branch: 0x63,
  jalr: 0x67,
  jal: 0x6f,
  system: 0x73,
} as const;

/** Fields that identify an instruction; what is absent may be anything. */
export interface Fields {
  readonly opcode: number;
  readonly funct3?: number;
  readonly funct7?: number;
  /** Bits 31:26, for 64-bit shifts by an immediate. */
  readonly funct6?: number;
  /** Bits 31:27, for AMOs. */
  readonly funct5?: number;
  /** Bits 26:25, for fused multiply-add. */
  readonly funct2?: number;
  readonly rs2?: number;
  readonly rs1?: number;
  readonly rd?: number;
}

/** What a table file says of an entry besides its name, fields and body. */
export interface Traits {
  readonly format: Format;
  readonly operands: Operands;
  readonly spec: string;
  readonly ends?: boolean;
  readonly pure?: boolean;
  readonly rounds?: boolean;
  readonly compressed?: boolean;
  readonly float?: Instruction["float"];
}

/** A table entry; mask and match follow from `fields`. */
export function define(
  name: string,
  fields: Fields,
  traits: Traits,
  body: (s: Sem) => void,
): Instruction {
  let mask = 0x7f;
  let match = fields.opcode;
  const field = (value: number | undefined, shift: number, bits: number): void => {
    if (value === undefined) return;
    mask |= ((1 << bits) - 1) << shift;
    match |= value << shift;
  };
  field(fields.rd, 7, 5);
  field(fields.funct3, 12, 3);
  field(fields.rs1, 15, 5);
  field(fields.rs2, 20, 5);
  field(fields.funct2, 25, 2);
  field(fields.funct7, 25, 7);
  field(fields.funct6, 26, 6);
  field(fields.funct5, 27, 5);
  return {
    name,
    mask: mask >>> 0,
    match: match >>> 0,
    format: traits.format,
    operands: traits.operands,
    spec: traits.spec,
    ends: traits.ends ?? false,
    pure: traits.pure ?? false,
    rounds: traits.rounds ?? false,
    compressed: traits.compressed ?? false,
    float: traits.float ?? "none",
    body,
  };
}

const RRR: Operands = { rd: "x", rs1: "x", rs2: "x" };
const RR: Operands = { rd: "x", rs1: "x" };

/** Makers for one extension: register-register, register-immediate, one-operand and shifts. */
export function integerMakers(spec: string) {
  type Body = (s: Sem) => void;
  type Extra = { readonly compressed?: boolean };
  return {
    /** rd = f(rs1, rs2) */
    r: (
      name: string,
      opcode: number,
      funct3: number,
      funct7: number,
      body: Body,
      extra: Extra = {},
    ) =>
      define(
        name,
        { opcode, funct3, funct7 },
        { format: "R", operands: RRR, spec, pure: true, ...extra },
        body,
      ),
    /** rd = f(rs1, imm) */
    i: (name: string, opcode: number, funct3: number, body: Body, extra: Extra = {}) =>
      define(
        name,
        { opcode, funct3 },
        { format: "I", operands: RR, spec, pure: true, ...extra },
        body,
      ),
    /** rd = f(rs1), told apart by the whole upper half */
    unary: (name: string, opcode: number, funct3: number, funct12: number, body: Body) =>
      define(
        name,
        { opcode, funct3, funct7: funct12 >> 5, rs2: funct12 & 31 },
        { format: "R", operands: RR, spec, pure: true },
        body,
      ),
    /** rd = f(rs1, 6-bit shamt) */
    shift6: (name: string, funct3: number, funct6: number, body: Body, extra: Extra = {}) =>
      define(
        name,
        { opcode: OPCODE.opImm, funct3, funct6 },
        { format: "shift", operands: RR, spec, pure: true, ...extra },
        body,
      ),
    /** rd = f(low word of rs1, 5-bit shamt) */
    shift5: (name: string, funct3: number, funct7: number, body: Body) =>
      define(
        name,
        { opcode: OPCODE.opImm32, funct3, funct7 },
        { format: "shift", operands: RR, spec, pure: true },
        body,
      ),
  };
}
