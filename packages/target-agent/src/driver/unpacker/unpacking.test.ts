import { hash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { checkPack } from "@dejavm/log-store";
import { afterAll, describe, expect, it } from "vitest";
import { Unpacking } from "./unpacking.ts";

const PAGE = 4096;
const folder = mkdtempSync(join(tmpdir(), "unpacking-"));
afterAll(() => rmSync(folder, { recursive: true }));

function filled(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * PAGE);
  for (const [i, value] of values.entries()) bytes.fill(value, i * PAGE, (i + 1) * PAGE);
  return bytes;
}

describe("unpacking", () => {
  const codecs = ["zstd", "raw"] as const;
  it.each(codecs)("gives a group to the machine, and to the store as it came: %s", (codec) => {
    const raw = filled(1, 2, 3);
    const data = codec === "zstd" ? new Uint8Array(zstdCompressSync(raw)) : raw;
    const group = { kind: "page-group", checkpoint: 0, codec, pages: [9, 8, 7], data } as const;
    const { pages, bytes, packs, unknown } = new Unpacking([]).unpack(group);
    expect([...pages]).toEqual([9, 8, 7]);
    expect(bytes).toEqual(raw);
    expect(unknown).toEqual([]);
    expect(packs).toHaveLength(1);
    expect(packs[0]?.pack.data).toEqual(data);
    for (const { pack } of packs) checkPack(pack);
    const second = packs[0]?.pack.hashes.subarray(32, 64) ?? new Uint8Array(0);
    expect(Buffer.from(second)).toEqual(hash("sha256", filled(2), "buffer"));
  });

  it("divides a group that is larger than a pack", () => {
    const raw = filled(...Array.from({ length: 100 }, (_, i) => i));
    const pages = Array.from({ length: 100 }, (_, i) => i);
    const data = new Uint8Array(zstdCompressSync(raw));
    const group = { kind: "page-group", checkpoint: 0, codec: "zstd", pages, data } as const;
    const { packs } = new Unpacking([]).unpack(group);
    expect(packs.map(({ pages: own }) => own.length)).toEqual([64, 36]);
    for (const { pack } of packs) checkPack(pack);
  });

  it("[PR5] refuses data that is not what was announced", () => {
    for (const raw of [filled(1), filled(1, 2, 3), new Uint8Array(0)]) {
      const data = new Uint8Array(zstdCompressSync(raw));
      const group = {
        kind: "page-group",
        checkpoint: 0,
        codec: "zstd",
        pages: [1, 2],
        data,
      } as const;
      expect(() => new Unpacking([]).unpack(group)).toThrow("does not hold 8192 bytes");
    }
  });

  it("reads blocks of files, and names those that are not there", () => {
    const path = join(folder, "disk");
    writeFileSync(path, filled(4, 5, 6));
    const unpacking = new Unpacking(["", path, join(folder, "none")]);
    const refs = [
      { page: 1, disk: 1, block: 2 },
      { page: 2, disk: 0, block: 0 },
      { page: 3, disk: 1, block: 3 },
      { page: 4, disk: 2, block: 0 },
      { page: 5, disk: 1, block: 0 },
      { page: 6, disk: 7, block: 0 },
    ];
    const made = unpacking.unpack({ kind: "image-refs", checkpoint: 0, refs });
    unpacking.close();
    expect([...made.pages]).toEqual([1, 5]);
    expect(made.bytes).toEqual(filled(6, 4));
    expect(made.unknown).toEqual([2, 3, 4, 6]);
    for (const { pack } of made.packs) checkPack(pack);
  });
});
