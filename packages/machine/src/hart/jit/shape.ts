/**
 * The shape of a region: basic blocks that direct branches reach from one entry within one page
 * of code, and how control leaves each. Works on halfwords of guest code; knows no addresses but
 * offsets in the page.
 */
import { PAGE_BYTES } from "../../device/device.ts";
import {
  fieldRd,
  fieldRs1,
  findInstruction,
  immediate,
  instructionLength,
  instructionWord,
} from "../../isa/decode.ts";
import type { Instruction } from "../../isa/instruction.ts";

/** One decoded instruction of a block. */
export interface RegionInstruction {
  readonly instruction: Instruction;
  readonly word: number;
  readonly length: 2 | 4;
  /** Byte offset in the page. */
  readonly offset: number;
}

/** How control leaves a block; offsets are in bytes from the page's start and may lie outside. */
export type BlockEnd =
  /** Into the block that follows. */
  | { readonly kind: "fall"; readonly next: number }
  /** The last instruction is a conditional branch. */
  | { readonly kind: "branch"; readonly taken: number; readonly next: number }
  /** The last instruction is a direct jump. */
  | { readonly kind: "jump"; readonly target: number }
  /** The last instruction calls: `target` undefined where it is computed. */
  | { readonly kind: "call"; readonly target: number | undefined; readonly next: number }
  /** The last instruction is a computed jump that is no call; `targets` are those known. */
  | {
      readonly kind: "indirect";
      readonly isReturn: boolean;
      readonly targets: readonly JumpTarget[];
    }
  /** What stands at `at` is not translated. */
  | { readonly kind: "leave"; readonly at: number };

/** Where a computed jump was seen to go. */
export interface JumpTarget {
  readonly offset: number;
  /** How often, in any unit. */
  readonly weight: number;
}

/** Straight-line code with one way in, at the top. */
export interface Block {
  readonly offset: number;
  readonly instructions: readonly RegionInstruction[];
  readonly end: BlockEnd;
}

/** Instructions that a region has at most: keeps compile time and register pressure in bounds. */
const MAX_REGION_INSTRUCTIONS = 600;

/** Registers that hold return addresses by convention (unprivileged manual, JALR hints). */
const isLink = (register: number): boolean => register === 1 || register === 5;

/** What is known of a page besides its code, by byte offset. */
export interface RegionLimits {
  /** Whether the block that begins there is worth translating along with the entry's. */
  readonly belongs: (offset: number) => boolean;
  /** Whether the instruction there must stay the interpreter's. */
  readonly isExcluded: (offset: number) => boolean;
  /** Where in the page the computed jump there was seen to go. */
  readonly jumpTargets: (offset: number) => readonly JumpTarget[];
}

/** Reads the instruction at a byte offset; undefined: not one that regions can have. */
function decodeAt(
  code: Uint16Array,
  offset: number,
  { isExcluded }: RegionLimits,
): RegionInstruction | undefined {
  if (!isInPage(offset) || isExcluded(offset)) return undefined;
  const half = code[offset / 2];
  const length = instructionLength(half);
  if (offset + length > PAGE_BYTES) return undefined;
  const word = instructionWord(half, code[offset / 2 + 1] ?? 0);
  const instruction = findInstruction(word);
  if (instruction === undefined || !isTranslated(instruction)) return undefined;
  return { instruction, word, length, offset };
}

/** What stays the interpreter's: CSRs, traps, and everything that may change the hart's mode. */
function isTranslated({ format, ends, name }: Instruction): boolean {
  if (format === "csr" || format === "csrimm") return false;
  return !ends || format === "B" || format === "J" || name === "jalr";
}

function endOf(last: RegionInstruction, { jumpTargets }: RegionLimits): BlockEnd | undefined {
  const { instruction, word, length, offset } = last;
  if (!instruction.ends) return undefined;
  const next = offset + length;
  const relative = offset + immediate(instruction.format, word);
  if (instruction.format === "B") return { kind: "branch", taken: relative, next };
  const link = isLink(fieldRd(word));
  if (instruction.format === "J") {
    return link ? { kind: "call", target: relative, next } : { kind: "jump", target: relative };
  }
  if (link) return { kind: "call", target: undefined, next };
  const isReturn = fieldRd(word) === 0 && isLink(fieldRs1(word));
  return { kind: "indirect", isReturn, targets: isReturn ? [] : jumpTargets(offset) };
}

/** Offsets in the page where control may go directly after a block. */
export function successors(end: BlockEnd): readonly number[] {
  switch (end.kind) {
    case "fall":
      return [end.next];
    case "branch":
      return [end.taken, end.next];
    case "jump":
      return [end.target];
    case "call":
      return [end.next];
    case "indirect":
      return end.targets.map(({ offset }) => offset);
    default:
      return [];
  }
}

/** Whether an offset in bytes from the page's start lies in the page. */
export function isInPage(offset: number): boolean {
  return offset >= 0 && offset < PAGE_BYTES;
}

/**
 * The blocks reachable from `entry`, by offset; undefined where not even the first instruction can
 * be translated. Blocks that do not belong, and those beyond the size limit, are
 * left out: edges to them leave the region.
 */
export function findRegion(
  code: Uint16Array,
  entry: number,
  limits: RegionLimits,
): Map<number, Block> | undefined {
  const leaders = findLeaders(code, entry, limits);
  const blocks = new Map<number, Block>();
  for (const offset of leaders) blocks.set(offset, readBlock(code, offset, leaders, limits));
  const first = blocks.get(entry);
  return first === undefined || first.instructions.length === 0 ? undefined : blocks;
}

/** Every offset at which a block begins, in order of discovery. */
function findLeaders(code: Uint16Array, entry: number, limits: RegionLimits): Set<number> {
  const leaders = new Set<number>([entry]);
  let instructions = 0;
  for (const leader of leaders) {
    let offset = leader;
    for (;;) {
      const decoded = decodeAt(code, offset, limits);
      if (decoded === undefined) break;
      instructions++;
      const end = endOf(decoded, limits);
      offset += decoded.length;
      if (end !== undefined) {
        if (instructions > MAX_REGION_INSTRUCTIONS) break;
        for (const next of successors(end))
          if (isInPage(next) && limits.belongs(next)) leaders.add(next);
        break;
      }
      if (leaders.has(offset)) break;
    }
    if (instructions > MAX_REGION_INSTRUCTIONS) break;
  }
  return leaders;
}

function readBlock(
  code: Uint16Array,
  start: number,
  leaders: ReadonlySet<number>,
  limits: RegionLimits,
): Block {
  const instructions: RegionInstruction[] = [];
  let offset = start;
  for (;;) {
    if (offset !== start && leaders.has(offset)) {
      return { offset: start, instructions, end: { kind: "fall", next: offset } };
    }
    const decoded = decodeAt(code, offset, limits);
    if (decoded === undefined || instructions.length >= MAX_REGION_INSTRUCTIONS) {
      return { offset: start, instructions, end: { kind: "leave", at: offset } };
    }
    instructions.push(decoded);
    offset += decoded.length;
    const end = endOf(decoded, limits);
    if (end !== undefined) return { offset: start, instructions, end };
  }
}
