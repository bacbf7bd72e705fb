/**
 * Predecoding: guest code to interpreter records (layout.ts, RECORD), a block at a time. Pure
 * bookkeeping over linear memory; nothing here is visible to the guest.
 */
import { unreachable } from "@dejavm/base";
import { PAGE_BYTES } from "../device/device.ts";
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
} from "../isa/decode.ts";
import type { Instruction, RoundingField } from "../isa/instruction.ts";
import { csrIndex } from "./csr.ts";
import {
  CROSS_INDEX,
  HEAT_SHIFT,
  type MemoryMap,
  PAGE_FLAG,
  RECORD,
  SLOT_BYTES,
  SLOT_CROSS_RECORD,
  SLOT_CROSS_WORD,
  SLOT_PAGE,
} from "./layout.ts";
import { OP, variantOp } from "./variants.ts";

/** What a fused pair is looked up by: the opcodes of both instructions. */
export type PairLookup = (first: number, second: number) => number | undefined;

/** One decoded instruction as the fields of its record. */
interface Decoded {
  readonly op: number;
  readonly bytes: number;
  readonly ends: boolean;
  readonly rd: number;
  readonly rs1: number;
  /** Bytes 4 and 5. */
  readonly low: number;
}

const REGISTER_BYTES = 8;

/** Keeps the predecoded form of code pages: allocates slots, fills records, forgets pages. */
export class CodeCache {
  readonly #map: MemoryMap;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Int32Array;
  readonly #pair: PairLookup;
  readonly #free: number[] = [];
  /** Drops the fetch translations of one slot, or of all. */
  readonly #dropFetchTags: (slot: number) => void;
  readonly #flushTlb: () => void;
  readonly #slotDropped: (slot: number) => void;
  readonly #allDropped: () => void;
  /** Halfwords, counted in any page, at which breakpoints are. */
  #breakpoints: ReadonlySet<number> = new Set();

  constructor(options: {
    readonly map: MemoryMap;
    readonly memory: ArrayBuffer;
    readonly pair: PairLookup;
    readonly dropFetchTags: (slot: number) => void;
    readonly flushTlb: () => void;
    /** The code of one slot, or of all, is gone. */
    readonly slotDropped: (slot: number) => void;
    readonly allDropped: () => void;
  }) {
    this.#map = options.map;
    this.#u8 = new Uint8Array(options.memory);
    this.#u16 = new Uint16Array(options.memory);
    this.#u32 = new Int32Array(options.memory);
    this.#pair = options.pair;
    this.#dropFetchTags = options.dropFetchTags;
    this.#flushTlb = options.flushTlb;
    this.#slotDropped = options.slotDropped;
    this.#allDropped = options.allDropped;
    this.#refill();
  }

  /** Whether a breakpoint is at this byte offset of some page. */
  hasBreakpoint(offset: number): boolean {
    return this.#breakpoints.has(offset / 2);
  }

  /** Byte offsets in pages at which records become OP.breakpoint; forgets all code. */
  setBreakpoints(offsets: readonly number[]): void {
    this.#breakpoints = new Set(offsets.map((offset) => offset / 2));
    this.dropAll();
  }

  /** Gives page `page` an empty slot; when there is none left, everything is forgotten first. */
  allocate(page: number): number {
    if (this.#free.length === 0) this.dropAll();
    const slot = this.#free.pop() as number;
    const { pageSlots, pageFlags } = this.#map;
    this.#u32[(pageSlots >>> 2) + page] = slot;
    this.#u8[pageFlags + page] |= PAGE_FLAG.code;
    this.#u32[(slot + SLOT_PAGE) >>> 2] = page;
    for (const sentinel of [RECORD.perPage, RECORD.perPage + 1]) {
      this.#u16[(slot + sentinel * RECORD.bytes) >>> 1] = OP.pageEnd;
    }
    return slot;
  }

  /** Forgets the code of one page, if it has any. */
  drop(page: number): void {
    const { pageSlots, pageFlags } = this.#map;
    const slot = this.#u32[(pageSlots >>> 2) + page] >>> 0;
    if (slot === 0) return;
    this.#dropFetchTags(slot);
    this.#slotDropped(slot);
    this.#clear(slot);
    this.#u32[(pageSlots >>> 2) + page] = 0;
    this.#u8[pageFlags + page] &= ~PAGE_FLAG.code;
    this.#free.push(slot);
  }

  /** Forgets all code. Slots not in use are empty already, and cost no host memory. */
  dropAll(): void {
    const { pageSlots, pageFlags, ramPages } = this.#map;
    this.#flushTlb();
    this.#allDropped();
    for (let page = 0; page < ramPages; page++) {
      const slot = this.#u32[(pageSlots >>> 2) + page] >>> 0;
      if (slot === 0) continue;
      this.#clear(slot);
      this.#u32[(pageSlots >>> 2) + page] = 0;
      this.#u8[pageFlags + page] &= ~PAGE_FLAG.code;
    }
    this.#refill();
  }

  #clear(slot: number): void {
    const end = slot + SLOT_BYTES;
    const { heat } = this.#map;
    this.#u8.fill(0, slot, end);
    this.#u8.fill(0, heat + (slot >>> HEAT_SHIFT), heat + (end >>> HEAT_SHIFT));
  }

  #refill(): void {
    const { slots, slotCount } = this.#map;
    this.#free.length = 0;
    for (let i = slotCount - 1; i >= 0; i--) this.#free.push(slots + i * SLOT_BYTES);
  }

  /** Decodes from record `record` to the end of its block, or up to a record already decoded. */
  predecode(record: number): void {
    const { slot, index: first, code } = this.#place(record);
    const indices: number[] = [];
    let index = first;
    let tail = 0;
    while (index < RECORD.perPage) {
      const at = slot + index * RECORD.bytes;
      if (this.#u16[at >>> 1] !== OP.undecoded) {
        tail = this.#u16[(at + RECORD.count) >>> 1];
        break;
      }
      const half = this.#u16[code + index];
      const length = instructionLength(half);
      indices.push(index);
      const decoded = this.#breakpoints.has(index) ? BREAKPOINT : this.#decodeAt(code, index);
      this.#write(at, decoded);
      if (decoded.ends) break;
      index += length / 2;
    }
    this.#finishBlock(slot, indices, tail);
  }

  /**
   * Puts the instruction's own record in place of OP.breakpoint, a block of one instruction;
   * whether control would go on behind it.
   */
  decodeUnder(record: number): boolean {
    const { slot, index, code } = this.#place(record);
    const decoded = this.#decodeAt(code, index);
    this.#write(slot + index * RECORD.bytes, decoded);
    return !decoded.ends;
  }

  /** Where a record lies: its slot, its halfword's index, its page's code as index into #u16. */
  #place(record: number): { readonly slot: number; readonly index: number; readonly code: number } {
    const { slots, ram } = this.#map;
    const slot = slots + Math.floor(((record >>> 0) - slots) / SLOT_BYTES) * SLOT_BYTES;
    const page = this.#u32[(slot + SLOT_PAGE) >>> 2];
    const index = ((record >>> 0) - slot) / RECORD.bytes;
    return { slot, index, code: (ram + page * PAGE_BYTES) >>> 1 };
  }

  #decodeAt(code: number, index: number): Decoded {
    const half = this.#u16[code + index];
    const length = instructionLength(half);
    if (length === 4 && index === CROSS_INDEX) return { ...EMPTY, op: OP.cross };
    return decode(instructionWord(half, this.#u16[code + index + 1]), length, index * 2);
  }

  /** Decodes the straddling instruction `word` of a slot; its targets count as far. */
  decodeCross(slot: number, word: number): void {
    const at = (slot >>> 0) + SLOT_CROSS_RECORD;
    this.#u32[((slot >>> 0) + SLOT_CROSS_WORD) >>> 2] = word;
    this.#write(at, decode(word >>> 0, 4, undefined));
    this.#u16[(at + RECORD.count) >>> 1] = 1;
  }

  /** Sets the counts to the end of the block, last first, and fuses pairs. */
  #finishBlock(slot: number, indices: readonly number[], tail: number): void {
    let count = tail;
    for (let i = indices.length - 1; i >= 0; i--) {
      count++;
      const at = slot + indices[i] * RECORD.bytes;
      this.#u16[(at + RECORD.count) >>> 1] = count;
    }
    for (let i = indices.length - 2; i >= 0; i--) {
      const at = (slot + indices[i] * RECORD.bytes) >>> 1;
      const next = (slot + indices[i + 1] * RECORD.bytes) >>> 1;
      const fused = this.#pair(this.#u16[at], this.#u16[next]);
      if (fused !== undefined) this.#u16[at] = fused;
    }
  }

  #write(at: number, decoded: Decoded): void {
    this.#u16[at >>> 1] = decoded.op;
    this.#u8[at + RECORD.rd] = decoded.rd;
    this.#u8[at + RECORD.rs1] = decoded.rs1;
    this.#u16[(at + RECORD.imm) >>> 1] = decoded.low;
  }
}

const EMPTY: Decoded = { op: OP.illegal, bytes: 4, ends: true, rd: 0, rs1: 0, low: 0 };
const BREAKPOINT: Decoded = { ...EMPTY, op: OP.breakpoint };

/**
 * Decodes one instruction. `pageOffset` is its byte offset in its page, for targets in the same
 * page; undefined: none counts as near.
 */
function decode(word: number, length: 2 | 4, pageOffset: number | undefined): Decoded {
  const instruction = findInstruction(word);
  if (instruction === undefined) return EMPTY;
  const { format, operands, pure, ends, rounds } = instruction;
  if (isCsr(instruction) && csrIndex(fieldCsr(word)) === undefined) return EMPTY;
  const rd = fieldRd(word);
  const writesX0 = operands.rd === "x" && rd === 0;
  if (pure && (writesX0 || operands.rd === undefined)) {
    return { ...EMPTY, op: length === 2 ? OP.nop2 : OP.nop4, ends: false };
  }
  const imm = immediate(format, word);
  const near = isNear(instruction, imm, pageOffset);
  const op = variantOp(instruction, {
    length,
    discard: writesX0,
    near,
    rm: rounds ? (fieldRm(word) as RoundingField) : 7,
  });
  return { op, bytes: length, ends, ...operandBytes(instruction, word, imm, near) };
}

function isCsr({ format }: Instruction): boolean {
  return format === "csr" || format === "csrimm";
}

function isNear({ format }: Instruction, imm: number, pageOffset: number | undefined): boolean {
  if (format !== "B" && format !== "J") return false;
  if (pageOffset === undefined) return false;
  const target = pageOffset + imm;
  return target >= 0 && target < PAGE_BYTES;
}

/** The operand bytes of a record, by format. */
function operandBytes(
  instruction: Instruction,
  word: number,
  imm: number,
  near: boolean,
): Pick<Decoded, "rd" | "rs1" | "low"> {
  const rd = fieldRd(word) * REGISTER_BYTES;
  const rs1 = fieldRs1(word) * REGISTER_BYTES;
  const rs2 = fieldRs2(word) * REGISTER_BYTES;
  /** Near targets are in record bytes: four for each byte of code. */
  const scaled = near ? imm * 4 : imm;
  switch (instruction.format) {
    case "R":
      return { rd, rs1, low: rs2 };
    case "R4":
      return { rd, rs1, low: rs2 | ((fieldRs3(word) * REGISTER_BYTES) << 8) };
    case "I":
    case "shift":
      return { rd, rs1, low: imm & 0xffff };
    case "S":
    case "B":
      return { rd: rs2, rs1, low: scaled & 0xffff };
    case "U":
      return wide(rd, imm >> 12);
    case "J":
      return near ? { rd, rs1: 0, low: scaled & 0xffff } : wide(rd, imm);
    case "csr":
    case "csrimm": {
      const operand = instruction.format === "csr" ? rs1 : fieldRs1(word);
      return { rd, rs1: operand, low: csrIndex(fieldCsr(word)) ?? 0 };
    }
    case "none":
      return { rd, rs1, low: 0 };
    default:
      return unreachable(instruction.format);
  }
}

/** A 24-bit value across bytes 3 to 5. */
function wide(rd: number, value: number): Pick<Decoded, "rd" | "rs1" | "low"> {
  return { rd, rs1: value & 0xff, low: (value >> 8) & 0xffff };
}
