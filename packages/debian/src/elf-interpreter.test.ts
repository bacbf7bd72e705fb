import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { setElfInterpreter } from "./elf-interpreter.ts";

const LOADER = "/somewhere/else/ld.so";

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "dejavm-elf-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

/** An ELF-64 file with two program headers, the second of `type`. */
function elf(type: number): Buffer {
  const file = Buffer.alloc(64 + 2 * 56 + 16, 0xaa);
  file.fill(0, 0, 64 + 2 * 56);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  file.writeUInt32LE(1, 64);
  file.writeUInt32LE(type, 64 + 56);
  file.writeBigUInt64LE(0x1234n, 64 + 56 + 16);
  return file;
}

async function patched(content: Buffer): Promise<{ changed: boolean; file: Buffer }> {
  const path = join(directory, "program");
  await writeFile(path, content);
  const changed = await setElfInterpreter(path, LOADER);
  return { changed, file: await readFile(path) };
}

test("PT_INTERP points to the new path at the end; everything else stays", async () => {
  const before = elf(3);
  const { changed, file } = await patched(before);
  expect(changed).toBe(true);
  const at = Number(file.readBigUInt64LE(64 + 56 + 8));
  const size = Number(file.readBigUInt64LE(64 + 56 + 32));
  expect(at).toBe(before.length);
  expect(file.toString("latin1", at, at + size)).toBe(`${LOADER}\0`);
  expect(file.readBigUInt64LE(64 + 56 + 16)).toBe(0x1234n);
  expect(file.subarray(0, 64 + 56)).toEqual(before.subarray(0, 64 + 56));
  expect(file.subarray(64 + 2 * 56, before.length)).toEqual(before.subarray(64 + 2 * 56));
});

test.each([
  ["a static program", elf(1)],
  ["a script", Buffer.from("#!/bin/sh\n".repeat(20))],
  ["an empty file", Buffer.alloc(0)],
  ["a truncated program", elf(3).subarray(0, 100)],
])("%s is left alone", async (_what, content) => {
  const { changed, file } = await patched(content);
  expect(changed).toBe(false);
  expect(file).toEqual(content);
});
