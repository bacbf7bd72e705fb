/**
 * Instructions as text, from the table that executes them: the manual's mnemonics without
 * aliases, registers by their ABI names, as GNU objdump writes them with `-M no-aliases`. A
 * compressed instruction is shown as what it expands to.
 */
import { csrName } from "./hart/csr.ts";
import {
  fieldCsr,
  fieldRd,
  fieldRm,
  fieldRs1,
  fieldRs2,
  fieldRs3,
  findInstruction,
  immediate,
  instructionLength,
  instructionWord,
} from "./isa/decode.ts";
import { OPCODE } from "./isa/define.ts";
import type { Instruction, Operands } from "./isa/instruction.ts";

/** One instruction as text. */
export interface Disassembly {
  /** Mnemonic, a space, operands: `ld a0,8(sp)`; `illegal 0x...` where it is none. */
  readonly text: string;
  readonly length: 2 | 4;
}

const X_NAMES = [
  ..."zero ra sp gp tp t0 t1 t2 s0 s1".split(" "),
  ...names("a", 0, 7),
  ...names("s", 2, 11),
  ...names("t", 3, 6),
];
const F_NAMES = [
  ...names("ft", 0, 7),
  ...names("fs", 0, 1),
  ...names("fa", 0, 7),
  ...names("fs", 2, 11),
  ...names("ft", 8, 11),
];
const ROUNDING = ["rne", "rtz", "rdn", "rup", "rmm", "", "", "dyn"];
const DYNAMIC = 7;
const FENCE_LETTERS = ["i", "o", "r", "w"];
/** Conversions that are exact: their rounding mode is 0 by convention. */
const EXACT_CONVERSIONS: ReadonlySet<string> = new Set(["fcvt.d.w", "fcvt.d.wu", "fcvt.d.s"]);

function names(prefix: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => `${prefix}${first + i}`);
}

/**
 * The instruction at `pc`, unsigned. `bits` are the four bytes there, little-endian; of a
 * compressed one the upper two do not matter.
 */
export function disassemble(bits: number, pc: bigint): Disassembly {
  const first = bits & 0xffff;
  const length = instructionLength(first);
  const word = instructionWord(first, bits >>> 16);
  const instruction = findInstruction(word);
  if (instruction === undefined) {
    const raw = length === 2 ? first : bits >>> 0;
    return { text: `illegal 0x${raw.toString(16).padStart(length * 2, "0")}`, length };
  }
  const operands = operandsOf(instruction, word, pc).join(",");
  const name = instruction.name + orderingOf(instruction, word);
  return { text: operands === "" ? name : `${name} ${operands}`, length };
}

/** The suffix of an atomic instruction that orders memory. */
function orderingOf({ match }: Instruction, word: number): string {
  if ((match & 0x7f) !== OPCODE.amo) return "";
  return ["", ".rl", ".aq", ".aqrl"][(word >>> 25) & 3] ?? "";
}

function operandsOf(instruction: Instruction, word: number, pc: bigint): string[] {
  const { name, format, operands, match } = instruction;
  const register = (which: keyof typeof operands, index: number): string =>
    (operands[which] === "f" ? F_NAMES : X_NAMES)[index] ?? "";
  const rd = register("rd", fieldRd(word));
  const rs1 = register("rs1", fieldRs1(word));
  const rs2 = register("rs2", fieldRs2(word));
  const imm = immediate(format, word);
  const target = hex(BigInt.asUintN(64, pc + BigInt(imm)));
  switch (format) {
    case "R":
    case "R4":
      if (isAddressed(match)) return [...present({ rd, rs2 }, operands), `(${rs1})`];
      return [
        ...present({ rd, rs1, rs2, rs3: register("rs3", fieldRs3(word)) }, operands),
        ...rounding(instruction, word),
      ];
    case "I":
      return isOffset(match) ? [rd, `${imm}(${rs1})`] : [rd, rs1, `${imm}`];
    case "S":
      return [rs2, `${imm}(${rs1})`];
    case "B":
      return [rs1, rs2, target];
    case "U":
      return [rd, hex(imm >>> 12)];
    case "J":
      return [rd, target];
    case "shift":
      return [rd, rs1, hex(imm)];
    case "csr":
      return [rd, csr(word), rs1];
    case "csrimm":
      return [rd, csr(word), `${fieldRs1(word)}`];
    default:
      return name === "fence" ? fenceSets(word) : [];
  }
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Operands that an instruction has, in the order given. */
function present(all: Readonly<Record<string, string>>, operands: Operands): string[] {
  return Object.entries(all).flatMap(([which, text]) => (which in operands ? [text] : []));
}

/** rs1 is an address without offset. */
const isAddressed = (match: number): boolean =>
  (match & 0x7f) === OPCODE.amo || (match & 0x7f) === OPCODE.miscMem;

/** rs1 is an address with an offset. */
function isOffset(match: number): boolean {
  const opcode = match & 0x7f;
  return opcode === OPCODE.load || opcode === OPCODE.loadFp || opcode === OPCODE.jalr;
}

function rounding({ name, rounds }: Instruction, word: number): string[] {
  if (!rounds) return [];
  const usual = EXACT_CONVERSIONS.has(name) ? 0 : DYNAMIC;
  return fieldRm(word) === usual ? [] : [ROUNDING[fieldRm(word)] ?? ""];
}

const csr = (word: number): string => csrName(fieldCsr(word)) ?? hex(fieldCsr(word));

/** The predecessor and successor sets of a fence: input, output, reads, writes. */
function fenceSets(word: number): string[] {
  const letters = (set: number): string =>
    set === 0 ? "unknown" : FENCE_LETTERS.filter((_, i) => (set >> (3 - i)) & 1).join("");
  return [letters((word >>> 24) & 15), letters((word >>> 20) & 15)];
}
