/**
 * What an entry of the instruction table is: how to recognise an instruction, which operands it
 * has, and what it does, written once against `Sem`. The interpreter gives `Sem` operands read
 * from predecoded records; translated code gives it known operands and Wasm locals.
 */
import type { FloatOps } from "../hart/float/float.ts";
import type { Expr, I32, I64, ValType } from "../wasm/expr.ts";
import type { Fn, Local } from "../wasm/module.ts";

/** Width and extension of a load; stores use the width alone. */
export type MemoryKind = "b" | "bu" | "h" | "hu" | "w" | "wu" | "d";
/** Rounding-mode field of an instruction: 0 RNE, 1 RTZ, 2 RDN, 3 RUP, 4 RMM, 7 DYN. */
export type RoundingField = 0 | 1 | 2 | 3 | 4 | 7;
/** What a CSR instruction does with its operand. */
export type CsrAction = "write" | "set" | "clear";

/** Exception causes (privileged manual, table "mcause"). */
export const CAUSE = {
  fetchMisaligned: 0,
  fetchAccess: 1,
  illegal: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccess: 5,
  storeMisaligned: 6,
  storeAccess: 7,
  ecallU: 8,
  ecallS: 9,
  ecallM: 11,
  fetchPage: 12,
  loadPage: 13,
  storePage: 15,
} as const;

/** Operations of the privileged architecture that are more than an expression. */
export type SystemOp = "ecall" | "ebreak" | "mret" | "sret" | "wfi" | "sfence.vma" | "fence.i";

/**
 * The vocabulary of instruction bodies. Expressions are lazy: an operand used twice, or after
 * `rd`, is bound with `let` first. `rd`, `fd`, `branch` and `jump` come last.
 */
export interface Sem {
  readonly rs1: I64;
  readonly rs2: I64;
  /** Sign-extended immediate; the shift amount of shifts; bits 31:12 in place for U format. */
  readonly imm: I64;
  readonly pc: I64;
  /** Address of the next instruction in memory. */
  readonly link: I64;
  /** Raw bits of floating-point registers. */
  readonly fs1: I64;
  readonly fs2: I64;
  readonly fs3: I64;
  /** The same as singles: bits of a NaN-boxed f32, canonical NaN where not boxed. */
  readonly fs1s: I32;
  readonly fs2s: I32;
  readonly fs3s: I32;
  readonly rm: RoundingField;
  readonly f: Fn;
  let<T extends ValType>(value: Expr<T>): Local<T>;
  rd(value: I64): void;
  fd(value: I64): void;
  /** Writes a single, NaN-boxed. */
  fds(value: I32): void;
  /** Loads are extended to 64 bits; faults leave the instruction undone. */
  load(kind: MemoryKind, address: I64): I64;
  store(kind: MemoryKind, address: I64, value: I64): void;
  /** First half of a read-modify-write: checks alignment and permission to store as well. */
  loadForUpdate(kind: "w" | "d", address: I64): I64;
  loadReserved(kind: "w" | "d", address: I64): I64;
  /** Stores if the reservation holds; 0 for success. */
  storeConditional(kind: "w" | "d", address: I64, value: I64): I64;
  /** Zeroes the cache block (64 bytes) that holds `address`. */
  zeroBlock(address: I64): void;
  /** To pc + imm where `condition` holds. */
  branch(condition: I32): void;
  /** To pc + imm. */
  jumpRelative(): void;
  /** To `target`, bit 0 already clear. */
  jump(target: I64): void;
  /** Reads and writes the CSR that the instruction names; rd gets the old value. */
  csr(action: CsrAction, operand: I64): void;
  /** The operand of CSR instructions with an immediate: 0 .. 31. */
  readonly zimm: I64;
  system(op: SystemOp): void;
  illegal(): void;
  /** Floating-point arithmetic with exact flags. */
  readonly fp: FloatOps;
}

/** Operand layout (unprivileged manual, section "Base Instruction Formats"). */
export type Format = "R" | "R4" | "I" | "S" | "B" | "U" | "J" | "shift" | "csr" | "csrimm" | "none";

/** Which register file an operand names; absent: the instruction does not have it. */
export interface Operands {
  readonly rd?: "x" | "f";
  readonly rs1?: "x" | "f";
  readonly rs2?: "x" | "f";
  readonly rs3?: "x" | "f";
}

/** One entry of the instruction table. */
export interface Instruction {
  readonly name: string;
  /** An instruction word w is this one where (w & mask) >>> 0 === match. */
  readonly mask: number;
  readonly match: number;
  readonly format: Format;
  readonly operands: Operands;
  /** Extension and section of the specification. */
  readonly spec: string;
  /** Ends a block: control may go elsewhere, or what follows may have to be looked at anew. */
  readonly ends: boolean;
  /** No effect but on rd: with rd = x0 it does nothing. */
  readonly pure: boolean;
  /** Has a rounding-mode field in bits 14:12. */
  readonly rounds: boolean;
  /** Some compressed instruction expands to it. */
  readonly compressed: boolean;
  /** Whether it needs mstatus.FS on, and whether it makes it Dirty. */
  readonly float: "none" | "reads" | "changes";
  readonly body: (s: Sem) => void;
}
