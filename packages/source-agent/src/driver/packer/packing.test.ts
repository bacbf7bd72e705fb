import { hash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { Prng } from "@dejavm/base";
import type { BulkMessage } from "@dejavm/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BlockIndex } from "./block-index.ts";
import { Packing } from "./packing.ts";

const PAGE = 4096;
const random = new Prng(1);
const folder = mkdtempSync(join(tmpdir(), "packing-"));
const bases = [join(folder, "disk"), "", join(folder, "kernel")];
const disk = random.fill(new Uint8Array(8 * PAGE));
const kernel = random.fill(new Uint8Array(5 * PAGE));
const other = random.fill(new Uint8Array(PAGE));

beforeAll(() => {
  disk.fill(0, 3 * PAGE, 4 * PAGE);
  writeFileSync(join(folder, "disk"), disk);
  writeFileSync(join(folder, "kernel"), kernel);
});
afterAll(() => rmSync(folder, { recursive: true }));

function page(bytes: Uint8Array, index: number): Uint8Array {
  return bytes.subarray(index * PAGE, (index + 1) * PAGE);
}

function joined(...pages: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(pages));
}

async function packing(): Promise<Packing> {
  const made = new Packing(bases);
  made.known.image = await BlockIndex.of(bases, join(folder, "cache"));
  return made;
}

function contents(messages: readonly BulkMessage[]): [number, Uint8Array][] {
  return messages.flatMap((message) => {
    if (message.kind !== "page-group") return [];
    const raw =
      message.codec === "raw" ? message.data : new Uint8Array(zstdDecompressSync(message.data));
    return message.pages.map((number, i): [number, Uint8Array] => [number, page(raw, i)]);
  });
}

describe("block index", () => {
  it("finds blocks of every file but zeros, read or from the cache", async () => {
    for (let n = 0; n < 2; n++) {
      const index = await BlockIndex.of([...bases, join(folder, "none")], join(folder, "cache"));
      const find = (bytes: Uint8Array) =>
        index.find(Buffer.from(hash("sha256", bytes, "buffer")).readBigUInt64BE());
      expect(index.size).toBe(7 + 5);
      for (let i = 0; i < 5; i++) expect(index.mayHave(page(kernel, i))).toBe(true);
      const strangers = Array.from({ length: 100 }, () => random.fill(new Uint8Array(PAGE)));
      expect(strangers.filter((bytes) => index.mayHave(bytes)).length).toBeLessThan(5);
      expect(find(page(disk, 7))).toEqual({ disk: 0, block: 7 });
      expect(find(page(kernel, 2))).toEqual({ disk: 2, block: 2 });
      expect(find(page(disk, 3))).toBeUndefined();
      // The second time nothing is read but the cache.
      writeFileSync(join(folder, "cache", "junk"), "");
    }
  });
});

describe("packing", () => {
  it("refers to what the target has, compresses the rest in groups", async () => {
    const made = await packing();
    made.known.add(hash("sha256", page(other, 0), "buffer").subarray(0, 8));
    const fresh = Array.from({ length: 10 }, (_, i) => new Uint8Array(PAGE).fill(i + 1));
    const pages = Uint32Array.from({ length: 13 }, (_, i) => 100 + i);
    const bytes = joined(page(kernel, 4), page(disk, 1), other, ...fresh);
    const { messages, referenced } = made.pages({
      checkpoint: 2,
      pages,
      bytes,
      groupPages: 4,
      isFast: false,
    });
    expect(referenced).toBe(3);
    expect(messages.map(({ kind }) => kind)).toEqual([
      "page-refs",
      "image-refs",
      "page-group",
      "page-group",
      "page-group",
    ]);
    expect(messages[1]).toMatchObject({
      refs: [
        { page: 100, disk: 2, block: 4 },
        { page: 101, disk: 0, block: 1 },
      ],
    });
    expect(messages[0]).toMatchObject({ refs: [{ page: 102 }] });
    expect(contents(messages)).toEqual(fresh.map((content, i) => [103 + i, content]));
  });

  it("sends whole what it had referred to, once", async () => {
    const made = await packing();
    made.known.add(hash("sha256", page(other, 0), "buffer").subarray(0, 8));
    const pages = Uint32Array.of(5, 6);
    const bytes = joined(page(disk, 2), other);
    made.pages({ checkpoint: 0, pages, bytes, groupPages: 16, isFast: true });
    // Whoever gave the bytes releases them.
    bytes.fill(0);
    const { messages } = made.again({ checkpoint: 0, pages, groupPages: 16, isFast: true });
    expect(contents(messages)).toEqual([
      [5, page(disk, 2)],
      [6, page(other, 0)],
    ]);
    expect(made.again({ checkpoint: 0, pages, groupPages: 16, isFast: true }).messages).toEqual([]);
  });

  it("packs chunks, and refers to stored ones only", async () => {
    const made = await packing();
    const chunk = new Uint8Array(65_536).fill(7);
    const wanted = { checkpoint: 1, chunks: [{ disk: 0, chunk: 9 }], bytes: chunk };
    expect(made.chunks(wanted).messages).toMatchObject([{ kind: "chunk-group" }]);
    made.known.add(hash("sha256", chunk, "buffer").subarray(0, 8));
    expect(made.chunks(wanted)).toMatchObject({
      messages: [{ kind: "chunk-refs", refs: [{ disk: 0, chunk: 9 }] }],
      referenced: 1,
    });
  });
});
