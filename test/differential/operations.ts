/**
 * What the generator can say: mnemonics and their fixed bits, by format. From the instruction set
 * listings of the unprivileged specification and of the bit-manipulation extension.
 */
import type { ImmediateForm, RegisterForm } from "./encode.ts";

export interface NamedRegisterForm extends RegisterForm {
  readonly name: string;
}
export interface NamedImmediateForm extends ImmediateForm {
  readonly name: string;
}

function registerForms(
  opcode: number,
  rows: readonly (readonly [string, number, number])[],
): NamedRegisterForm[] {
  return rows.map(([name, funct3, funct7]) => ({ name, opcode, funct3, funct7 }));
}

/** OP and OP-32: rd, rs1, rs2. */
export const REGISTER_OPERATIONS: readonly NamedRegisterForm[] = [
  ...registerForms(0x33, [
    ["add", 0, 0x00],
    ["sub", 0, 0x20],
    ["sll", 1, 0x00],
    ["slt", 2, 0x00],
    ["sltu", 3, 0x00],
    ["xor", 4, 0x00],
    ["srl", 5, 0x00],
    ["sra", 5, 0x20],
    ["or", 6, 0x00],
    ["and", 7, 0x00],
    ["mul", 0, 0x01],
    ["mulh", 1, 0x01],
    ["mulhsu", 2, 0x01],
    ["mulhu", 3, 0x01],
    ["div", 4, 0x01],
    ["divu", 5, 0x01],
    ["rem", 6, 0x01],
    ["remu", 7, 0x01],
    ["sh1add", 2, 0x10],
    ["sh2add", 4, 0x10],
    ["sh3add", 6, 0x10],
    ["andn", 7, 0x20],
    ["orn", 6, 0x20],
    ["xnor", 4, 0x20],
    ["min", 4, 0x05],
    ["minu", 5, 0x05],
    ["max", 6, 0x05],
    ["maxu", 7, 0x05],
    ["rol", 1, 0x30],
    ["ror", 5, 0x30],
    ["bclr", 1, 0x24],
    ["bext", 5, 0x24],
    ["binv", 1, 0x34],
    ["bset", 1, 0x14],
  ]),
  ...registerForms(0x3b, [
    ["addw", 0, 0x00],
    ["subw", 0, 0x20],
    ["sllw", 1, 0x00],
    ["srlw", 5, 0x00],
    ["sraw", 5, 0x20],
    ["mulw", 0, 0x01],
    ["divw", 4, 0x01],
    ["divuw", 5, 0x01],
    ["remw", 6, 0x01],
    ["remuw", 7, 0x01],
    ["add.uw", 0, 0x04],
    ["sh1add.uw", 2, 0x10],
    ["sh2add.uw", 4, 0x10],
    ["sh3add.uw", 6, 0x10],
    ["rolw", 1, 0x30],
    ["rorw", 5, 0x30],
  ]),
];

export interface ShiftForm extends NamedImmediateForm {
  /** What the immediate holds above the shift amount. */
  readonly high: number;
  /** Shift amounts go from 0 to this, less one. */
  readonly amounts: 32 | 64;
}

/** Shifts and single-bit operations with a constant amount. */
export const SHIFT_OPERATIONS: readonly ShiftForm[] = [
  { name: "slli", opcode: 0x13, funct3: 1, high: 0x000, amounts: 64 },
  { name: "srli", opcode: 0x13, funct3: 5, high: 0x000, amounts: 64 },
  { name: "srai", opcode: 0x13, funct3: 5, high: 0x400, amounts: 64 },
  { name: "rori", opcode: 0x13, funct3: 5, high: 0x600, amounts: 64 },
  { name: "bclri", opcode: 0x13, funct3: 1, high: 0x480, amounts: 64 },
  { name: "bexti", opcode: 0x13, funct3: 5, high: 0x480, amounts: 64 },
  { name: "binvi", opcode: 0x13, funct3: 1, high: 0x680, amounts: 64 },
  { name: "bseti", opcode: 0x13, funct3: 1, high: 0x280, amounts: 64 },
  { name: "slli.uw", opcode: 0x1b, funct3: 1, high: 0x080, amounts: 64 },
  { name: "slliw", opcode: 0x1b, funct3: 1, high: 0x000, amounts: 32 },
  { name: "srliw", opcode: 0x1b, funct3: 5, high: 0x000, amounts: 32 },
  { name: "sraiw", opcode: 0x1b, funct3: 5, high: 0x400, amounts: 32 },
  { name: "roriw", opcode: 0x1b, funct3: 5, high: 0x600, amounts: 32 },
];

/** Operations with any 12-bit immediate. */
export const IMMEDIATE_OPERATIONS: readonly NamedImmediateForm[] = [
  { name: "addi", opcode: 0x13, funct3: 0 },
  { name: "slti", opcode: 0x13, funct3: 2 },
  { name: "sltiu", opcode: 0x13, funct3: 3 },
  { name: "xori", opcode: 0x13, funct3: 4 },
  { name: "ori", opcode: 0x13, funct3: 6 },
  { name: "andi", opcode: 0x13, funct3: 7 },
  { name: "addiw", opcode: 0x1b, funct3: 0 },
];

/** Operations on rs1 alone, told apart by a whole immediate. */
export const UNARY_OPERATIONS: readonly (NamedImmediateForm & { readonly immediate: number })[] = [
  { name: "clz", opcode: 0x13, funct3: 1, immediate: 0x600 },
  { name: "ctz", opcode: 0x13, funct3: 1, immediate: 0x601 },
  { name: "cpop", opcode: 0x13, funct3: 1, immediate: 0x602 },
  { name: "sext.b", opcode: 0x13, funct3: 1, immediate: 0x604 },
  { name: "sext.h", opcode: 0x13, funct3: 1, immediate: 0x605 },
  { name: "orc.b", opcode: 0x13, funct3: 5, immediate: 0x287 },
  { name: "rev8", opcode: 0x13, funct3: 5, immediate: 0x6b8 },
  { name: "clzw", opcode: 0x1b, funct3: 1, immediate: 0x600 },
  { name: "ctzw", opcode: 0x1b, funct3: 1, immediate: 0x601 },
  { name: "cpopw", opcode: 0x1b, funct3: 1, immediate: 0x602 },
  { name: "zext.h", opcode: 0x3b, funct3: 4, immediate: 0x080 },
];

export interface AccessForm extends NamedImmediateForm {
  readonly sizeBytes: 1 | 2 | 4 | 8;
  readonly float: boolean;
}

export const LOADS: readonly AccessForm[] = [
  { name: "lb", opcode: 0x03, funct3: 0, sizeBytes: 1, float: false },
  { name: "lh", opcode: 0x03, funct3: 1, sizeBytes: 2, float: false },
  { name: "lw", opcode: 0x03, funct3: 2, sizeBytes: 4, float: false },
  { name: "ld", opcode: 0x03, funct3: 3, sizeBytes: 8, float: false },
  { name: "lbu", opcode: 0x03, funct3: 4, sizeBytes: 1, float: false },
  { name: "lhu", opcode: 0x03, funct3: 5, sizeBytes: 2, float: false },
  { name: "lwu", opcode: 0x03, funct3: 6, sizeBytes: 4, float: false },
  { name: "flw", opcode: 0x07, funct3: 2, sizeBytes: 4, float: true },
  { name: "fld", opcode: 0x07, funct3: 3, sizeBytes: 8, float: true },
];

export const STORES: readonly AccessForm[] = [
  { name: "sb", opcode: 0x23, funct3: 0, sizeBytes: 1, float: false },
  { name: "sh", opcode: 0x23, funct3: 1, sizeBytes: 2, float: false },
  { name: "sw", opcode: 0x23, funct3: 2, sizeBytes: 4, float: false },
  { name: "sd", opcode: 0x23, funct3: 3, sizeBytes: 8, float: false },
  { name: "fsw", opcode: 0x27, funct3: 2, sizeBytes: 4, float: true },
  { name: "fsd", opcode: 0x27, funct3: 3, sizeBytes: 8, float: true },
];

/** Conditional branches: mnemonic and funct3. */
export const BRANCHES: readonly (readonly [string, number])[] = [
  ["beq", 0],
  ["bne", 1],
  ["blt", 4],
  ["bge", 5],
  ["bltu", 6],
  ["bgeu", 7],
];

/** AMOs without LR and SC: mnemonic and funct5. */
export const AMOS: readonly (readonly [string, number])[] = [
  ["amoadd", 0x00],
  ["amoswap", 0x01],
  ["amoxor", 0x04],
  ["amoor", 0x08],
  ["amoand", 0x0c],
  ["amomin", 0x10],
  ["amomax", 0x14],
  ["amominu", 0x18],
  ["amomaxu", 0x1c],
];
export const LOAD_RESERVED = 0x02;
export const STORE_CONDITIONAL = 0x03;

/**
 * One OP-FP instruction. `rs2` and `rounding` are fixed bits where given, else an operand and a
 * rounding mode. `to` and `from` say which register file each side names.
 */
export interface FloatForm {
  readonly name: string;
  readonly funct7: number;
  readonly rs2?: number;
  readonly rounding?: number;
  readonly to: "f" | "x";
  readonly from: "f" | "x";
}

function arithmetic(suffix: string, format: number): FloatForm[] {
  const names = ["fadd", "fsub", "fmul", "fdiv"];
  const forms: FloatForm[] = names.map((name, index) => ({
    name: name + suffix,
    funct7: (index << 2) | format,
    to: "f",
    from: "f",
  }));
  forms.push({ name: `fsqrt${suffix}`, funct7: 0x2c | format, rs2: 0, to: "f", from: "f" });
  for (const [rounding, name] of ["fsgnj", "fsgnjn", "fsgnjx"].entries()) {
    forms.push({ name: name + suffix, funct7: 0x10 | format, rounding, to: "f", from: "f" });
  }
  for (const [rounding, name] of ["fmin", "fmax"].entries()) {
    forms.push({ name: name + suffix, funct7: 0x14 | format, rounding, to: "f", from: "f" });
  }
  for (const [rounding, name] of ["fle", "flt", "feq"].entries()) {
    forms.push({ name: name + suffix, funct7: 0x50 | format, rounding, to: "x", from: "f" });
  }
  for (const [rs2, integer] of [".w", ".wu", ".l", ".lu"].entries()) {
    forms.push(
      { name: `fcvt${integer}${suffix}`, funct7: 0x60 | format, rs2, to: "x", from: "f" },
      { name: `fcvt${suffix}${integer}`, funct7: 0x68 | format, rs2, to: "f", from: "x" },
    );
  }
  const bits = format === 0 ? "w" : "d";
  forms.push(
    { name: `fmv.x.${bits}`, funct7: 0x70 | format, rs2: 0, rounding: 0, to: "x", from: "f" },
    { name: `fclass${suffix}`, funct7: 0x70 | format, rs2: 0, rounding: 1, to: "x", from: "f" },
    { name: `fmv.${bits}.x`, funct7: 0x78 | format, rs2: 0, rounding: 0, to: "f", from: "x" },
  );
  return forms;
}

export const FLOAT_OPERATIONS: readonly FloatForm[] = [
  ...arithmetic(".s", 0),
  ...arithmetic(".d", 1),
  { name: "fcvt.s.d", funct7: 0x20, rs2: 1, to: "f", from: "f" },
  { name: "fcvt.d.s", funct7: 0x21, rs2: 0, to: "f", from: "f" },
];

/** Fused multiply-add: mnemonic and opcode; the format is bits 25 and 26. */
export const FUSED_OPERATIONS: readonly (readonly [string, number])[] = [
  ["fmadd", 0x43],
  ["fmsub", 0x47],
  ["fnmsub", 0x4b],
  ["fnmadd", 0x4f],
];
