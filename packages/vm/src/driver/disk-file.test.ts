import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Prng } from "@dejavm/base";
import { CHUNK_BYTES, type MissingBlock } from "@dejavm/machine";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FileBlockStore, inspectDiskFile } from "./disk-file.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-disk-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function makeDisk(bytes: Uint8Array): string {
  const path = join(directory, "disk.img");
  writeFileSync(path, bytes);
  return path;
}

const coded = (code: string): unknown => expect.objectContaining({ code });

function thrownBy(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return error;
  }
}

describe("disk image", () => {
  test.each([
    [0, "E_DISK_SIZE"],
    [511, "E_DISK_SIZE"],
    [513, "E_DISK_SIZE"],
  ])("of %i bytes is %s", (size, code) => {
    expect(thrownBy(() => inspectDiskFile(makeDisk(new Uint8Array(size))))).toEqual(coded(code));
  });

  test("of 512 bytes is a disk", () => {
    const path = makeDisk(new Uint8Array(512));
    expect(inspectDiskFile(path)).toEqual({ path, sizeBytes: 512 });
  });

  test("that is qcow2 is named as such", () => {
    const bytes = new Uint8Array(1024);
    bytes.set([0x51, 0x46, 0x49, 0xfb]);
    const error = thrownBy(() => inspectDiskFile(makeDisk(bytes)));
    expect(error).toEqual(coded("E_DISK_FORMAT"));
    expect(String(error)).toContain("qcow2");
  });

  test("that is not there or a directory is a coded error", () => {
    const missing = thrownBy(() => inspectDiskFile(join(directory, "none")));
    expect(missing).toEqual(coded("E_FILE_NOT_FOUND"));
    expect(thrownBy(() => inspectDiskFile(directory))).toEqual(coded("E_FILE_ACCESS"));
  });
});

function readChunk(store: FileBlockStore, block: MissingBlock): Uint8Array {
  const bytes = store.read(block);
  if (bytes === undefined) throw new Error("the chunk is expected");
  return bytes;
}

describe("block store", () => {
  const content = new Prng(1).fill(new Uint8Array(CHUNK_BYTES + 512));

  test("reads the base, zero beyond its end, as the caller's own bytes", () => {
    const store = new FileBlockStore([inspectDiskFile(makeDisk(content))]);
    const first = readChunk(store, { disk: 0, chunk: 0 });
    const last = readChunk(store, { disk: 0, chunk: 1 });
    expect(Buffer.compare(first, content.subarray(0, CHUNK_BYTES))).toBe(0);
    expect(Buffer.compare(last.subarray(0, 512), content.subarray(CHUNK_BYTES))).toBe(0);
    expect(last.subarray(512).every((byte) => byte === 0)).toBe(true);
    expect(last.length).toBe(CHUNK_BYTES);
    store.close();
  });

  test("what was written is read again and the base stays; no file is left", () => {
    const path = makeDisk(content);
    const store = new FileBlockStore([inspectDiskFile(path)]);
    const block = { disk: 0, chunk: 1 };
    for (const fill of [1, 2]) {
      store.write({ ...block, bytes: new Uint8Array(CHUNK_BYTES).fill(fill) });
      expect(readChunk(store, block).every((byte) => byte === fill)).toBe(true);
    }
    store.write({ ...block, bytes: undefined });
    expect(readChunk(store, block).every((byte) => byte === 0)).toBe(true);
    expect([...store.overlay()].map(({ disk, chunk }) => [disk, chunk])).toEqual([[0, 1]]);
    expect(Buffer.compare(readFileSync(path), content)).toBe(0);
    expect(readdirSync(directory)).toEqual(["disk.img"]);
    store.close();
  });

  test("the overlay comes ascending, zero chunks too", () => {
    const store = new FileBlockStore([]);
    for (const [disk, chunk] of [
      [1, 5],
      [0, 9],
      [1, 2],
      [0, 3],
    ] as const) {
      const bytes = chunk === 2 ? undefined : new Uint8Array(CHUNK_BYTES).fill(chunk);
      store.write({ disk, chunk, bytes });
    }
    expect([...store.overlay()].map(({ disk, chunk, bytes }) => [disk, chunk, bytes[0]])).toEqual([
      [0, 3, 3],
      [0, 9, 9],
      [1, 2, 0],
      [1, 5, 5],
    ]);
    store.close();
  });

  test("a base that shrinks while it is used is E_DISK_CHANGED", () => {
    const path = makeDisk(content);
    const disk = inspectDiskFile(path);
    const store = new FileBlockStore([disk]);
    truncateSync(path, 1024);
    expect(thrownBy(() => readChunk(store, { disk: 0, chunk: 0 }))).toEqual(
      coded("E_DISK_CHANGED"),
    );
    store.close();
    expect(thrownBy(() => new FileBlockStore([disk]))).toEqual(coded("E_DISK_CHANGED"));
  });
});
