/**
 * The instruction formats of RV64 as numbers, written from the manuals (unprivileged specification,
 * section 2.3 and the chapters on C, A and F/D). Deliberately separate from the machine's own
 * instruction table, so that an error in one does not hide in the other.
 */

/** A register number, 0..31. */
export type Register = number;

function field(value: number, width: number, shift: number): number {
  return ((value & ((1 << width) - 1)) << shift) >>> 0;
}

export interface RegisterForm {
  readonly opcode: number;
  readonly funct3: number;
  readonly funct7: number;
}

export function encodeR(form: RegisterForm, rd: Register, rs1: Register, rs2: Register): number {
  return (
    (form.opcode |
      field(rd, 5, 7) |
      field(form.funct3, 3, 12) |
      field(rs1, 5, 15) |
      field(rs2, 5, 20) |
      field(form.funct7, 7, 25)) >>>
    0
  );
}

export interface ImmediateForm {
  readonly opcode: number;
  readonly funct3: number;
}

/** `immediate` is -2048..4095: the low 12 bits count. */
export function encodeI(
  form: ImmediateForm,
  rd: Register,
  rs1: Register,
  immediate: number,
): number {
  return (
    (form.opcode |
      field(rd, 5, 7) |
      field(form.funct3, 3, 12) |
      field(rs1, 5, 15) |
      field(immediate, 12, 20)) >>>
    0
  );
}

export function encodeS(
  form: ImmediateForm,
  rs1: Register,
  rs2: Register,
  immediate: number,
): number {
  return (
    (form.opcode |
      field(immediate, 5, 7) |
      field(form.funct3, 3, 12) |
      field(rs1, 5, 15) |
      field(rs2, 5, 20) |
      field(immediate >> 5, 7, 25)) >>>
    0
  );
}

/** `offset` is even, -4096..4094. */
export function encodeB(funct3: number, rs1: Register, rs2: Register, offset: number): number {
  return (
    (0x63 |
      field(offset >> 11, 1, 7) |
      field(offset >> 1, 4, 8) |
      field(funct3, 3, 12) |
      field(rs1, 5, 15) |
      field(rs2, 5, 20) |
      field(offset >> 5, 6, 25) |
      field(offset >> 12, 1, 31)) >>>
    0
  );
}

/** `upper` is the 20-bit immediate itself, not shifted. */
export function encodeU(opcode: number, rd: Register, upper: number): number {
  return (opcode | field(rd, 5, 7) | field(upper, 20, 12)) >>> 0;
}

/** `offset` is even, -2^20..2^20-2. */
export function encodeJ(rd: Register, offset: number): number {
  return (
    (0x6f |
      field(rd, 5, 7) |
      field(offset >> 12, 8, 12) |
      field(offset >> 11, 1, 20) |
      field(offset >> 1, 10, 21) |
      field(offset >> 20, 1, 31)) >>>
    0
  );
}

export interface AmoFields {
  readonly funct5: number;
  /** 2 for words, 3 for double words. */
  readonly width: number;
  readonly ordering: number;
}

export function encodeAmo(
  { funct5, width, ordering }: AmoFields,
  rd: Register,
  rs1: Register,
  rs2: Register,
): number {
  const funct7 = (funct5 << 2) | (ordering & 3);
  return encodeR({ opcode: 0x2f, funct3: width, funct7 }, rd, rs1, rs2);
}

/** `operation` is funct3: 1 csrrw, 2 csrrs, 3 csrrc, 5..7 the immediate forms. */
export function encodeCsr(
  operation: number,
  rd: Register,
  source: Register,
  csrNumber: number,
): number {
  return encodeI({ opcode: 0x73, funct3: operation }, rd, source, csrNumber);
}

/** `c.j`: `offset` is even, -2048..2046. */
export function encodeCompressedJump(offset: number): number {
  return (
    0xa001 |
    field(offset >> 5, 1, 2) |
    field(offset >> 1, 3, 3) |
    field(offset >> 7, 1, 6) |
    field(offset >> 6, 1, 7) |
    field(offset >> 10, 1, 8) |
    field(offset >> 8, 2, 9) |
    field(offset >> 4, 1, 11) |
    field(offset >> 11, 1, 12)
  );
}

/** `c.beqz` (funct3 6) and `c.bnez` (7) on x8..x15; `offset` is even, -256..254. */
export function encodeCompressedBranch(funct3: number, rs1: Register, offset: number): number {
  return (
    1 |
    field(offset >> 5, 1, 2) |
    field(offset >> 1, 2, 3) |
    field(offset >> 6, 2, 5) |
    field(rs1 - 8, 3, 7) |
    field(offset >> 3, 2, 10) |
    field(offset >> 8, 1, 12) |
    field(funct3, 3, 13)
  );
}
