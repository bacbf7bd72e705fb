/**
 * The blocks of the files that a machine begins with, by content: disk bases, kernel, initramfs. A
 * guest's RAM holds much of them, page by page, and the target has the same files.
 *
 * Blocks are found by the first 8 bytes of their sha256: two different blocks of one file with the
 * same 8 bytes do not happen by accident, and what was made to collide shows as a wrong digest.
 *
 * A sha256 takes a tenth of what moving a page takes, and most pages are in no file: a mark, made
 * of a few of their words, tells nearly all of those.
 *
 * A file is hashed once: what was found is kept in the user's cache, under the file's sha256.
 *
 *     "DJBI", version u32, count u32, { prefix u64, block u32, mark u32 } [count]; little-endian
 */
import { hash, randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { ByteReader, ByteWriter } from "@dejavm/base";
import { fingerprint } from "@dejavm/vm";
import { prefixOf } from "./known-contents.ts";

const BLOCK_BYTES = 4096;
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
const READ_BYTES = 1024 * 1024;
const MAGIC = 0x49424a44;
const VERSION = 2;
const ENTRY_BYTES = 16;
/** Bytes from one word that a mark is made of to the next. */
const MARK_STEP = 128;
/** As a power of two: bits of the table of marks. 64 K blocks of files set one in 64. */
const MARK_BITS = 22;

/** Where a block is. */
export interface BlockPlace {
  /** Which file, in the order in which they were given. */
  readonly disk: number;
  /** Byte offset / 4,096. */
  readonly block: number;
}

/** See the head of this file. */
export class BlockIndex {
  /**
   * The index of these files; empty names are no files. A file that cannot be read is left out,
   * which costs bytes on the link and nothing else.
   */
  static async of(paths: readonly string[], cacheFolder = defaultFolder()): Promise<BlockIndex> {
    const index = new BlockIndex();
    for (const [disk, path] of paths.entries()) {
      if (path === "") continue;
      try {
        for (const [prefix, { block, mark }] of await blocksOf(path, cacheFolder)) {
          if (!index.#places.has(prefix)) index.#places.set(prefix, { disk, block });
          index.#note(mark);
        }
      } catch {
        // Whoever runs the machine will hear of it from the file itself.
      }
    }
    return index;
  }

  readonly #places = new Map<bigint, BlockPlace>();
  /** One bit for many marks each. */
  readonly #marks = new Uint8Array(2 ** (MARK_BITS - 3));

  get size(): number {
    return this.#places.size;
  }

  /** False: `page` is certainly no block of a file. */
  mayHave(page: Uint8Array): boolean {
    const bit = bitOf(markOf(page));
    return ((this.#marks[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }

  #note(mark: number): void {
    const bit = bitOf(mark);
    this.#marks[bit >>> 3] = (this.#marks[bit >>> 3] ?? 0) | (1 << (bit & 7));
  }

  find(prefix: bigint): BlockPlace | undefined {
    return this.#places.get(prefix);
  }
}

type Blocks = ReadonlyMap<bigint, { readonly block: number; readonly mark: number }>;

/** A number that equal pages have in common, and different ones hardly ever. */
function markOf(page: Uint8Array): number {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  let mark = 0;
  for (let at = 0; at < BLOCK_BYTES; at += MARK_STEP) {
    mark = Math.imul(mark ^ view.getUint32(at, true), 0x9e3779b1);
    mark ^= mark >>> 15;
  }
  return mark >>> 0;
}

function bitOf(mark: number): number {
  return mark >>> (32 - MARK_BITS);
}

async function blocksOf(path: string, cacheFolder: string): Promise<Blocks> {
  const sha256 = await fingerprint(path);
  const cached = join(cacheFolder, `${Buffer.from(sha256).toString("hex")}.blocks${VERSION}`);
  const known = await read(cached);
  if (known !== undefined) return known;
  const blocks = await scan(path);
  await write(cached, blocks);
  return blocks;
}

async function scan(path: string): Promise<Blocks> {
  const blocks = new Map<bigint, { block: number; mark: number }>();
  const file = await open(path, "r");
  try {
    const buffer = new Uint8Array(READ_BYTES);
    for (let at = 0; ; at += READ_BYTES) {
      const { bytesRead } = await file.read(buffer, 0, READ_BYTES, at);
      for (let offset = 0; offset + BLOCK_BYTES <= bytesRead; offset += BLOCK_BYTES) {
        const bytes = buffer.subarray(offset, offset + BLOCK_BYTES);
        // Zero pages are not sent anyway, and a disk is full of such blocks.
        if (bytes[0] === 0 && ZERO_BLOCK.equals(bytes)) continue;
        const prefix = prefixOf(hash("sha256", bytes, "buffer"));
        if (blocks.has(prefix)) continue;
        blocks.set(prefix, { block: (at + offset) / BLOCK_BYTES, mark: markOf(bytes) });
      }
      if (bytesRead < READ_BYTES) return blocks;
    }
  } finally {
    await file.close();
  }
}

/** What is not there or not as it should be counts as not there: it is only a cache. */
async function read(path: string): Promise<Blocks | undefined> {
  try {
    const bytes = await readFile(path);
    const reader = new ByteReader(bytes, () => new Error("shorter than it says"));
    if (reader.u32() !== MAGIC || reader.u32() !== VERSION) return undefined;
    const count = reader.u32();
    if (reader.remaining !== count * ENTRY_BYTES) return undefined;
    const blocks = new Map<bigint, { block: number; mark: number }>();
    for (let i = 0; i < count; i++) {
      blocks.set(reader.u64(), { block: reader.u32(), mark: reader.u32() });
    }
    return blocks;
  } catch {
    return undefined;
  }
}

async function write(path: string, blocks: Blocks): Promise<void> {
  const writer = new ByteWriter();
  writer.u32(MAGIC);
  writer.u32(VERSION);
  writer.u32(blocks.size);
  for (const [prefix, { block, mark }] of blocks) {
    writer.u64(prefix);
    writer.u32(block);
    writer.u32(mark);
  }
  try {
    await mkdir(dirname(path), { recursive: true });
    const partial = `${path}.${randomUUID()}`;
    await writeFile(partial, writer.finish());
    await rename(partial, path);
  } catch {
    // Next time it is computed again.
  }
}

function defaultFolder(): string {
  const base = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(base, "dejavm", "blocks");
}
