/**
 * From instruction words to table entries and operand fields (unprivileged manual, "Base
 * Instruction Formats" and "Immediate Encoding Variants").
 */
import { expandCompressed } from "./compressed.ts";
import type { Format, Instruction } from "./instruction.ts";
import { INSTRUCTIONS } from "./table.ts";

/** Entries by opcode (bits 6:2) and funct3, so that a look-up compares few of them. */
const BUCKETS: readonly (readonly Instruction[])[] = buildBuckets();

function buildBuckets(): Instruction[][] {
  const buckets: Instruction[][] = [];
  for (let key = 0; key < 256; key++) {
    const word = ((key >> 3) << 2) | 3 | ((key & 7) << 12);
    buckets.push(INSTRUCTIONS.filter(({ mask, match }) => ((word ^ match) & mask & 0x707f) === 0));
  }
  return buckets;
}

/** The instruction that a 32-bit word encodes; undefined: none, it is illegal. */
export function findInstruction(word: number): Instruction | undefined {
  if ((word & 3) !== 3) return undefined;
  const bucket = BUCKETS[((word & 0x7c) << 1) | ((word >>> 12) & 7)] ?? [];
  for (const candidate of bucket) {
    if ((word & candidate.mask) >>> 0 === candidate.match) {
      return candidate.rounds && !isRoundingMode((word >>> 12) & 7) ? undefined : candidate;
    }
  }
  return undefined;
}

/** 5 and 6 are reserved as static rounding modes. */
function isRoundingMode(field: number): boolean {
  return field !== 5 && field !== 6;
}

/** Length in bytes of the instruction that begins with this halfword. */
export function instructionLength(half: number): 2 | 4 {
  return (half & 3) === 3 ? 4 : 2;
}

/** The 32-bit form of an instruction given its first halfword and the one after it. */
export function instructionWord(first: number, second: number): number {
  if (instructionLength(first) === 2) return expandCompressed(first);
  return ((second << 16) | first) >>> 0;
}

/** Bits 11:7, the destination register. */
export const fieldRd = (word: number): number => (word >>> 7) & 31;
/** Bits 19:15, the first source register. */
export const fieldRs1 = (word: number): number => (word >>> 15) & 31;
/** Bits 24:20, the second source register. */
export const fieldRs2 = (word: number): number => (word >>> 20) & 31;
/** Bits 31:27, the third source register. */
export const fieldRs3 = (word: number): number => word >>> 27;
/** Bits 14:12, the rounding mode. */
export const fieldRm = (word: number): number => (word >>> 12) & 7;
/** Bits 31:20, the CSR number. */
export const fieldCsr = (word: number): number => word >>> 20;

/** The immediate of a format, signed; for U the upper 20 bits in place. */
export function immediate(format: Format, word: number): number {
  switch (format) {
    case "I":
      return word >> 20;
    case "S":
      return ((word >> 25) << 5) | ((word >>> 7) & 31);
    case "B":
      return (
        ((word >> 31) << 12) |
        ((word & 0x80) << 4) |
        ((word >>> 20) & 0x7e0) |
        ((word >>> 7) & 0x1e)
      );
    case "U":
      return word & ~0xfff;
    case "J":
      return (
        ((word >> 31) << 20) | (word & 0xff000) | ((word >>> 9) & 0x800) | ((word >>> 20) & 0x7fe)
      );
    case "shift":
      return (word >>> 20) & 63;
    default:
      return 0;
  }
}
