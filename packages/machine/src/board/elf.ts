/**
 * Reads ELF64 executables for RISC-V (System V ABI, chapters 4 and 5): what to load where, the
 * entry point, and the few symbols by which bare-metal programs talk to their simulator. The file
 * is not trusted: every offset is checked before it is followed.
 */
import { CodedError } from "@dejavm/base";
import type { Region } from "./memory-map.ts";
import { utf8 } from "./text.ts";

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const MACHINE_RISCV = 243;
const TYPE_EXECUTABLE = 2;
const TYPE_SHARED = 3;
const SEGMENT_LOAD = 1;
const SECTION_SYMBOLS = 2;

/** Fields of a program header. */
const PHYSICAL_ADDRESS = 24;
const MEMORY_SIZE = 40;

/** Loadable segments that a program may have; linkers make 2 to 6. */
export const ELF_MAX_SEGMENTS = 64;

const SYMBOL_NAMES = ["tohost", "fromhost", "begin_signature", "end_signature"] as const;

/** A symbol by which a bare-metal program talks to its simulator. */
export type ElfSymbol = (typeof SYMBOL_NAMES)[number];

/** Bytes that belong at a guest physical address. */
export interface Segment {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** A segment that takes `memoryBytes` of RAM; those beyond `bytes` are zero. */
export interface ElfSegment extends Segment {
  readonly memoryBytes: number;
}

/** A program ready to be put into RAM. */
export interface ElfProgram {
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  readonly symbols: { readonly [name in ElfSymbol]?: bigint };
}

/** Whether `bytes` begin as an ELF file does. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/**
 * Reads a program whose segments' physical addresses lie in `ram`. A position-independent one
 * that was linked below RAM goes to the start of RAM and relocates itself, as OpenSBI does. The
 * segments are views of `bytes`. Throws E_ELF_INVALID, or E_ELF_OUTSIDE_RAM.
 */
export function readElf(bytes: Uint8Array, ram: Region): ElfProgram {
  const file = new ElfFile(bytes);
  if (!isElf(bytes) || bytes.length < HEADER_BYTES) throw invalid("it has no ELF header");
  if (bytes[4] !== CLASS_64) throw invalid("it is not a 64-bit file");
  if (bytes[5] !== LITTLE_ENDIAN) throw invalid("it is not little-endian");
  const type = file.u16(16);
  if (type !== TYPE_EXECUTABLE && type !== TYPE_SHARED) {
    throw invalid(`its type is ${type}, not an executable`);
  }
  if (file.u16(18) !== MACHINE_RISCV) throw invalid(`its machine is ${file.u16(18)}, not RISC-V`);
  const headers = loadableHeaders(file);
  const linkedAt = headers.map((at) => file.u64(at + PHYSICAL_ADDRESS));
  const movable = type === TYPE_SHARED && linkedAt.every((address) => address < ram.base);
  const bias = movable ? BigInt(ram.base) : 0n;
  return {
    entry: file.u64(24) + bias,
    segments: headers.map((at) => readSegment(file, at, { ram, bias })),
    symbols: readSymbols(file, bias),
  };
}

/** The program headers of segments that take memory. */
function loadableHeaders(file: ElfFile): number[] {
  const all = file.table(file.offset(32), file.u16(56), file.u16(54), {
    name: "program header",
    entryBytes: PROGRAM_HEADER_BYTES,
  });
  const headers = all.filter(
    (at) => file.u32(at) === SEGMENT_LOAD && file.u64(at + MEMORY_SIZE) !== 0n,
  );
  if (headers.length === 0) throw invalid("it has nothing to load");
  if (headers.length > ELF_MAX_SEGMENTS) {
    throw invalid(`it has ${headers.length} segments, more than ${ELF_MAX_SEGMENTS}`);
  }
  return headers;
}

function readSegment(
  file: ElfFile,
  at: number,
  { ram, bias }: { readonly ram: Region; readonly bias: bigint },
): ElfSegment {
  const address = file.u64(at + PHYSICAL_ADDRESS) + bias;
  const memoryBytes = file.u64(at + MEMORY_SIZE);
  const bytes = file.range(file.offset(at + 8), file.offset(at + 32), "segment");
  if (memoryBytes < BigInt(bytes.length)) throw invalid("a segment is larger than its memory");
  const ramEnd = BigInt(ram.base + ram.size);
  if (address < BigInt(ram.base) || address + memoryBytes > ramEnd) {
    throw new CodedError(
      "E_ELF_OUTSIDE_RAM",
      `cannot load ELF segment of ${memoryBytes} bytes at 0x${address.toString(16)}: ` +
        `RAM is 0x${ram.base.toString(16)}..0x${ramEnd.toString(16)}`,
      { hint: "link the program into RAM, or give the machine more memory" },
    );
  }
  return { address: Number(address), bytes, memoryBytes: Number(memoryBytes) };
}

/** Stripped files have no symbols; that is no error. */
function readSymbols(file: ElfFile, bias: bigint): ElfProgram["symbols"] {
  const found: { [name in ElfSymbol]?: bigint } = {};
  const sections = file.table(file.offset(40), file.u16(60), file.u16(58), {
    name: "section header",
    entryBytes: SECTION_HEADER_BYTES,
  });
  const symbols = sections.find((at) => file.u32(at + 4) === SECTION_SYMBOLS);
  if (symbols === undefined) return found;
  const strings = sections[file.u32(symbols + 40)];
  if (strings === undefined) throw invalid("its symbol table has no strings");
  const names = file.range(file.offset(strings + 24), file.offset(strings + 32), "string table");
  const tableAt = file.offset(symbols + 24);
  const tableBytes = file.range(tableAt, file.offset(symbols + 32), "symbol table").length;
  const wanted = SYMBOL_NAMES.map((name) => ({
    name,
    text: utf8(`${name}\0`),
  }));
  for (let at = tableAt; at + SYMBOL_BYTES <= tableAt + tableBytes; at += SYMBOL_BYTES) {
    const nameAt = file.u32(at);
    for (const { name, text } of wanted) {
      if (matches(names, nameAt, text)) found[name] = file.u64(at + 8) + bias;
    }
  }
  return found;
}

function matches(bytes: Uint8Array, at: number, text: Uint8Array): boolean {
  if (at + text.length > bytes.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}

function invalid(what: string): CodedError {
  return new CodedError("E_ELF_INVALID", `cannot load ELF program: ${what}`, {
    hint: "expected a statically linked RV64 little-endian executable",
  });
}

/** Checked little-endian access to the file. */
class ElfFile {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(at: number): number {
    this.#check(at, 2);
    return this.#view.getUint16(at, true);
  }

  u32(at: number): number {
    this.#check(at, 4);
    return this.#view.getUint32(at, true);
  }

  u64(at: number): bigint {
    this.#check(at, 8);
    return this.#view.getBigUint64(at, true);
  }

  /** A 64-bit offset or size within the file. */
  offset(at: number): number {
    const value = this.u64(at);
    if (value > BigInt(this.#bytes.length)) {
      throw invalid(
        `offset or size ${value} at byte ${at} lies past its ${this.#bytes.length} bytes`,
      );
    }
    return Number(value);
  }

  range(at: number, length: number, what: string): Uint8Array {
    if (at + length > this.#bytes.length) throw invalid(`it ends within a ${what}`);
    return this.#bytes.subarray(at, at + length);
  }

  /** The offsets of a table's entries. */
  table(
    at: number,
    count: number,
    entryBytes: number,
    want: { readonly name: string; readonly entryBytes: number },
  ): number[] {
    if (count === 0 || at === 0) return [];
    if (entryBytes !== want.entryBytes) {
      throw invalid(`a ${want.name} has ${entryBytes} bytes, not ${want.entryBytes}`);
    }
    this.range(at, count * entryBytes, `${want.name} table`);
    return Array.from({ length: count }, (_, i) => at + i * entryBytes);
  }

  #check(at: number, length: number): void {
    if (at + length > this.#bytes.length) throw invalid(`it ends before byte ${at + length}`);
  }
}
