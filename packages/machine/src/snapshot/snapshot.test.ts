import { createHash } from "node:crypto";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES, PAGE_BYTES } from "../device/device.ts";
import {
  CHUNKS_PER_SECTION,
  HEADER_BYTES,
  PAGES_PER_SECTION,
  SECTION_HEAD_BYTES,
  type SnapshotCodecs,
  type SnapshotItem,
} from "./format.ts";
import { type ByteSource, SnapshotReader } from "./read.ts";
import { type SnapshotContent, writeSnapshot } from "./write.ts";

const codecs: SnapshotCodecs = {
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  compress: (bytes) => zstdCompressSync(bytes),
  decompress: (bytes, plainBytes) => zstdDecompressSync(bytes, { maxOutputLength: plainBytes }),
};

const MEMORY_BYTES = 4 * 1024 * 1024;

function content(pageCount = 3, chunkCount = 2): SnapshotContent {
  const prng = new Prng(0x5a5a);
  return {
    header: { semantics: 1, memoryBytes: MEMORY_BYTES },
    description: { image: "debian" },
    state: { hart: { pc: 0x8020_0000n } },
    pages: Array.from({ length: pageCount }, (_, index) => ({
      page: index * 2,
      bytes:
        index === 1 ? prng.fill(new Uint8Array(PAGE_BYTES)) : new Uint8Array(PAGE_BYTES).fill(3),
    })),
    chunks: Array.from({ length: chunkCount }, (_, index) => ({
      disk: index % 2,
      chunk: index >> 1,
      bytes: new Uint8Array(CHUNK_BYTES).fill(index + 1),
    })).sort((a, b) => a.disk - b.disk || a.chunk - b.chunk),
  };
}

function encode(from: SnapshotContent): Uint8Array {
  return Buffer.concat([...writeSnapshot(from, codecs)]);
}

function sourceOf(bytes: Uint8Array): ByteSource {
  let at = 0;
  const buffer = Buffer.alloc(bytes.length);
  return {
    read(count) {
      const taken = bytes.subarray(at, at + count);
      at += taken.length;
      buffer.set(taken);
      return buffer.subarray(0, taken.length);
    },
  };
}

function decode(bytes: Uint8Array): { reader: SnapshotReader; items: SnapshotItem[] } {
  const reader = SnapshotReader.open(sourceOf(bytes), codecs);
  return { reader, items: [...reader.contents()] };
}

function codeOf(bytes: Uint8Array): unknown {
  try {
    decode(bytes);
  } catch (error) {
    return error instanceof Error && "code" in error ? error.code : error;
  }
  return "none";
}

/** Where sections begin. */
function sectionStarts(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const starts: number[] = [];
  for (let at = HEADER_BYTES; at < bytes.length; ) {
    starts.push(at);
    at += SECTION_HEAD_BYTES + view.getUint32(at + 4, true);
  }
  return starts;
}

describe("snapshot file", () => {
  test.each([
    [0, 0],
    [3, 2],
    [PAGES_PER_SECTION, CHUNKS_PER_SECTION],
    [PAGES_PER_SECTION + 1, CHUNKS_PER_SECTION + 1],
  ])("%i pages and %i chunks come back", (pages, chunks) => {
    const from = content(pages, chunks);
    const { reader, items } = decode(encode(from));
    expect(reader.header).toEqual(from.header);
    expect(reader.description).toEqual(from.description);
    expect(reader.state).toEqual(from.state);
    expect(items.map((item) => ({ ...item, bytes: Buffer.from(item.bytes) }))).toEqual([
      ...[...from.pages].map((page) => ({ kind: "page", ...page, bytes: Buffer.from(page.bytes) })),
      ...[...from.chunks].map((c) => ({ kind: "chunk", ...c, bytes: Buffer.from(c.bytes) })),
    ]);
  });

  test("the layout keeps its bytes", () => {
    const plain: SnapshotCodecs = {
      sha256: (bytes) => new Uint8Array(32).fill(bytes.length & 0xff),
      compress: (bytes) => bytes,
      decompress: (bytes) => bytes,
    };
    const from = { ...content(0, 0), description: {}, state: { a: true } };
    const bytes = Buffer.concat([...writeSnapshot(from, plain)]).toString("hex");
    expect(bytes).toBe(
      "8944564d0d0a1a0a" +
        "01000000" +
        "00000000" +
        "01000000" +
        "00000000" +
        "0000400000000000" +
        `010000000500000005000000${"05".repeat(32)}` +
        "0800000000" +
        `020000000800000008000000${"08".repeat(32)}` +
        "0801000000016101" +
        `050000003400000034000000${"34".repeat(32)}` +
        `02000000${"00".repeat(16)}${"78".repeat(32)}`,
    );
  });

  test("every truncation is E_SNAPSHOT_TRUNCATED", () => {
    const bytes = encode(content());
    for (let length = 1; length < bytes.length; length += length < 700 ? 1 : 13) {
      expect([length, codeOf(bytes.subarray(0, length))]).toEqual([length, "E_SNAPSHOT_TRUNCATED"]);
    }
  });

  test("every flipped bit is an E_SNAPSHOT error", () => {
    const bytes = encode(content());
    const prng = new Prng(0xb17);
    const seen = new Set<unknown>();
    for (let i = 0; i < 3000; i++) {
      const at = i < 700 ? i : prng.below(bytes.length);
      const copy = Uint8Array.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ (1 << prng.below(8));
      const code = codeOf(copy);
      expect(String(code)).toMatch(/^E_SNAPSHOT_/);
      seen.add(code);
    }
    expect(seen).toContain("E_SNAPSHOT_FORMAT");
    expect(seen).toContain("E_SNAPSHOT_VERSION");
    expect(seen).toContain("E_SNAPSHOT_CORRUPT");
  });

  test("a section dropped, doubled or moved is E_SNAPSHOT_CORRUPT", () => {
    const bytes = encode(content(PAGES_PER_SECTION * 2, 0));
    const starts = sectionStarts(bytes);
    expect(starts).toHaveLength(5);
    const [, , first = 0, second = 0, end = 0] = starts;
    const head = bytes.subarray(0, first);
    const a = bytes.subarray(first, second);
    const b = bytes.subarray(second, end);
    const tail = bytes.subarray(end);
    expect(codeOf(Buffer.concat([head, a, b, tail]))).toBe("none");
    for (const parts of [
      [head, a, tail],
      [head, a, b, b, tail],
      [head, b, a, tail],
      [head, b, tail],
    ]) {
      expect(codeOf(Buffer.concat(parts))).toBe("E_SNAPSHOT_CORRUPT");
    }
  });

  test("bytes after the end are E_SNAPSHOT_CORRUPT", () => {
    expect(codeOf(Buffer.concat([encode(content()), Buffer.of(0)]))).toBe("E_SNAPSHOT_CORRUPT");
  });

  test("other files are E_SNAPSHOT_FORMAT", () => {
    expect(codeOf(Buffer.from("#!/bin/sh\n"))).toBe("E_SNAPSHOT_FORMAT");
    expect(codeOf(new Uint8Array(0))).toBe("E_SNAPSHOT_FORMAT");
    expect(codeOf(new Uint8Array(4096))).toBe("E_SNAPSHOT_FORMAT");
  });

  test("a section above its limit is refused before it is read", () => {
    const bytes = encode(content());
    const [start = 0] = sectionStarts(bytes);
    const copy = Uint8Array.from(bytes);
    const view = new DataView(copy.buffer);
    copy[start + 1] = 1;
    view.setUint32(start + 4, 0x7fff_ffff, true);
    view.setUint32(start + 8, 0xffff_ffff, true);
    const asked: number[] = [];
    const source = sourceOf(copy);
    const spy = { read: (count: number) => (asked.push(count), source.read(count)) };
    expect(() => SnapshotReader.open(spy, codecs)).toThrow("has sizes");
    expect(Math.max(...asked)).toBeLessThan(100);
  });

  test("a compressed section that unpacks to more than it says is E_SNAPSHOT_CORRUPT", () => {
    const lying = {
      ...codecs,
      compress: (bytes: Uint8Array) => zstdCompressSync(Buffer.concat([bytes, bytes])),
    };
    const bytes = Buffer.concat([...writeSnapshot(content(), lying)]);
    expect(codeOf(bytes)).toBe("E_SNAPSHOT_CORRUPT");
  });

  test("pages outside RAM and pages out of order are E_SNAPSHOT_CORRUPT", () => {
    const page = (number: number) => ({ page: number, bytes: new Uint8Array(PAGE_BYTES).fill(1) });
    const last = MEMORY_BYTES / PAGE_BYTES - 1;
    const withPages = (...pages: number[]) =>
      codeOf(encode({ ...content(), pages: pages.map(page) }));
    expect(withPages(0, last)).toBe("none");
    expect(withPages(last + 1)).toBe("E_SNAPSHOT_CORRUPT");
    expect(withPages(5, 5)).toBe("E_SNAPSHOT_CORRUPT");
    expect(withPages(6, 5)).toBe("E_SNAPSHOT_CORRUPT");
  });
});
