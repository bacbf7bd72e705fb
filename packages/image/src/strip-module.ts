/**
 * Takes out of a kernel module what loading it does not need: symbols that no relocation refers to
 * (riscv modules have hundreds of thousands of local labels), type information, the signature over
 * all that. Debian's ext4 alone costs a guest more than 10^9 instructions and 7 MiB as it is, and
 * a tenth of both stripped. Code and data stay as they are. (ELF-64 Object File Format.)
 */
import { CodedError } from "@dejavm/base";

const HEADER_BYTES = 64;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;
const RELA_BYTES = 24;
const SHT_SYMTAB = 2;
const SHT_RELA = 4;
const SHT_NOBITS = 8;
const SHT_GROUP = 17;
const STB_LOCAL = 0;
const STT_NOTYPE = 0;
/** BPF type information: only BPF programs that look into modules want it. */
const EMPTIED = new Set([".BTF", ".BTF.base"]);

interface Section {
  readonly name: string;
  readonly type: number;
  readonly align: number;
  readonly link: number;
  /** A copy of its header, to be completed with offset, size and info. */
  readonly header: Buffer;
  info: number;
  content: Buffer;
}

/** Returns the stripped module. Throws `E_APT` for a file that is not a riscv64 kernel module. */
export function stripModule(module: Uint8Array): Uint8Array {
  const file = Buffer.from(module.buffer, module.byteOffset, module.length);
  const sections = readSections(file);
  const symtab = sections.find((each) => each.type === SHT_SYMTAB);
  const strtab = symtab === undefined ? undefined : sections[symtab.link];
  if (symtab === undefined || strtab === undefined) throw formatError("no symbol table");
  if (sections.some((each) => each.type === SHT_GROUP)) throw formatError("section groups");
  const relocations = sections.filter((each) => each.type === SHT_RELA);
  const kept = keptSymbols(symtab.content, relocations);
  renumber(relocations, kept);
  writeSymbols(symtab, strtab, kept);
  for (const each of sections) if (EMPTIED.has(each.name)) each.content = Buffer.alloc(0);
  return layOut(file.subarray(0, HEADER_BYTES), sections);
}

function readSections(file: Buffer): Section[] {
  if (file.length < HEADER_BYTES || file.readUInt32BE(0) !== 0x7f454c46)
    throw formatError("no ELF");
  const at = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  const nameIndex = file.readUInt16LE(62);
  if (at + count * SECTION_HEADER_BYTES > file.length) throw formatError("it is cut off");
  const headers = Array.from({ length: count }, (_, index) => {
    const start = at + index * SECTION_HEADER_BYTES;
    return Buffer.from(file.subarray(start, start + SECTION_HEADER_BYTES));
  });
  const contentOf = (header: Buffer): Buffer => {
    const offset = Number(header.readBigUInt64LE(24));
    const size = Number(header.readBigUInt64LE(32));
    if (header.readUInt32LE(4) === SHT_NOBITS) return Buffer.alloc(0);
    if (offset + size > file.length) throw formatError("it is cut off");
    return Buffer.from(file.subarray(offset, offset + size));
  };
  const nameHeader = headers[nameIndex];
  const names = nameHeader === undefined ? Buffer.alloc(0) : contentOf(nameHeader);
  return headers.map((header) => ({
    name: textAt(names, header.readUInt32LE(0)),
    type: header.readUInt32LE(4),
    align: Math.max(8, Number(header.readBigUInt64LE(48))),
    link: header.readUInt32LE(40),
    info: header.readUInt32LE(44),
    header,
    content: contentOf(header),
  }));
}

/** Old symbol numbers in their new order: the new number is the place in the array. */
function keptSymbols(symbols: Buffer, relocations: readonly Section[]): number[] {
  const used = new Set<number>();
  for (const { content } of relocations) {
    for (let at = 0; at < content.length; at += RELA_BYTES) used.add(content.readUInt32LE(at + 12));
  }
  const kept: number[] = [];
  for (let index = 0; index * SYMBOL_BYTES < symbols.length; index++) {
    const info = symbols.readUInt8(index * SYMBOL_BYTES + 4);
    const isLabel = info >> 4 === STB_LOCAL && (info & 15) === STT_NOTYPE;
    if (!isLabel || index === 0 || used.has(index)) kept.push(index);
  }
  return kept;
}

function renumber(relocations: readonly Section[], kept: readonly number[]): void {
  const newNumbers = new Map(kept.map((old, index) => [old, index]));
  for (const { content } of relocations) {
    for (let at = 12; at < content.length; at += RELA_BYTES) {
      content.writeUInt32LE(newNumbers.get(content.readUInt32LE(at)) ?? 0, at);
    }
  }
}

function writeSymbols(symtab: Section, strtab: Section, kept: readonly number[]): void {
  const old = symtab.content;
  const names: Buffer[] = [Buffer.alloc(1)];
  let namesLength = 1;
  const symbols = Buffer.alloc(kept.length * SYMBOL_BYTES);
  let locals = 0;
  kept.forEach((oldIndex, index) => {
    const at = index * SYMBOL_BYTES;
    old.copy(symbols, at, oldIndex * SYMBOL_BYTES, (oldIndex + 1) * SYMBOL_BYTES);
    if (symbols.readUInt8(at + 4) >> 4 === STB_LOCAL) locals++;
    const name = textAt(strtab.content, symbols.readUInt32LE(at));
    symbols.writeUInt32LE(name === "" ? 0 : namesLength, at);
    if (name === "") return;
    const bytes = Buffer.from(`${name}\0`, "latin1");
    names.push(bytes);
    namesLength += bytes.length;
  });
  symtab.content = symbols;
  // Of a symbol table: the number of its local symbols, which come first.
  symtab.info = locals;
  strtab.content = Buffer.concat(names);
}

function layOut(fileHeader: Buffer, sections: readonly Section[]): Buffer {
  const header = Buffer.from(fileHeader);
  const parts: Buffer[] = [header];
  let offset = HEADER_BYTES;
  const append = (content: Buffer, align: number): number => {
    const gap = (align - (offset % align)) % align;
    const start = offset + gap;
    parts.push(Buffer.alloc(gap), content);
    offset = start + content.length;
    return start;
  };
  for (const section of sections.slice(1)) {
    const start = append(section.content, section.align);
    section.header.writeBigUInt64LE(BigInt(start), 24);
    section.header.writeUInt32LE(section.info, 44);
    if (section.type === SHT_NOBITS) continue;
    section.header.writeBigUInt64LE(BigInt(section.content.length), 32);
  }
  const table = append(Buffer.concat(sections.map((each) => each.header)), 8);
  header.writeBigUInt64LE(BigInt(table), 40);
  return Buffer.concat(parts);
}

function textAt(table: Buffer, offset: number): string {
  const end = table.indexOf(0, offset);
  return table.toString("latin1", offset, end < 0 ? table.length : end);
}

function formatError(detail: string): CodedError {
  return new CodedError("E_APT", `cannot read a kernel module: ${detail}`, {
    hint: "report this: Debian's kernel has changed",
  });
}
