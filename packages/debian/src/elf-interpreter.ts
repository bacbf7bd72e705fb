/**
 * Gives an ELF program another dynamic loader, so that programs of one Debian release run on a host
 * with another: the loader and libc must be of one build. The new path is appended to the file and
 * PT_INTERP's offset points there; the kernel reads it by offset, nothing maps it.
 * (System V ABI, ELF-64 object file format; Linux fs/binfmt_elf.c.)
 */
import { type FileHandle, open } from "node:fs/promises";

const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
/** ELFCLASS64, ELFDATA2LSB after the magic number. */
const ELF64_LITTLE_ENDIAN = [0x7f, 0x45, 0x4c, 0x46, 2, 1];
const PT_INTERP = 3;
/** Programs have a dozen program headers; a damaged count must not make us read a whole file. */
const MAX_PROGRAM_HEADERS = 64;

/** Returns whether the file was a 64-bit ELF program with a dynamic loader, and so was changed. */
export async function setElfInterpreter(path: string, interpreter: string): Promise<boolean> {
  const file = await open(path, "r+");
  try {
    return await patch(file, interpreter);
  } finally {
    await file.close();
  }
}

async function patch(file: FileHandle, interpreter: string): Promise<boolean> {
  const header = Buffer.alloc(ELF_HEADER_BYTES);
  const { bytesRead } = await file.read(header, 0, header.length, 0);
  if (bytesRead < header.length) return false;
  if (ELF64_LITTLE_ENDIAN.some((byte, index) => header[index] !== byte)) return false;
  const tableOffset = Number(header.readBigUInt64LE(32));
  const count = Math.min(header.readUInt16LE(56), MAX_PROGRAM_HEADERS);
  if (header.readUInt16LE(54) !== PROGRAM_HEADER_BYTES) return false;
  const table = Buffer.alloc(count * PROGRAM_HEADER_BYTES);
  const got = await file.read(table, 0, table.length, tableOffset);
  if (got.bytesRead < table.length) return false;
  for (let at = 0; at < table.length; at += PROGRAM_HEADER_BYTES) {
    if (table.readUInt32LE(at) !== PT_INTERP) continue;
    const text = Buffer.from(`${interpreter}\0`);
    const { size } = await file.stat();
    const entry = table.subarray(at, at + PROGRAM_HEADER_BYTES);
    // p_offset, p_filesz, p_memsz; p_vaddr stays, ld.so knows itself by the string there.
    entry.writeBigUInt64LE(BigInt(size), 8);
    entry.writeBigUInt64LE(BigInt(text.length), 32);
    entry.writeBigUInt64LE(BigInt(text.length), 40);
    await file.write(text, 0, text.length, size);
    await file.write(entry, 0, entry.length, tableOffset + at);
    return true;
  }
  return false;
}
