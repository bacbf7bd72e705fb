/**
 * Makes bulk messages of pages and chunks of one migration: known contents by reference, the rest
 * compressed in groups. Synchronous and slow: it runs on a thread of its own (`pack-worker.ts`).
 */
import { hash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { constants, zstdCompressSync } from "node:zlib";
import type { BulkMessage } from "@dejavm/protocol";
import type { ChunkName } from "@dejavm/vm";
import type { BlockPlace } from "./block-index.ts";
import { KnownContents } from "./known-contents.ts";

const PAGE_BYTES = 4096;
const CHUNK_BYTES = 65_536;
/**
 * zstd. On RAM level 3 saves a twentieth more than level 1 and takes half as long again: 200 MB/s.
 * A smaller table makes level 1 faster still, and what comes out a little smaller.
 */
const HARDER = { [constants.ZSTD_c_compressionLevel]: 3 };
const FAST = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_hashLog]: 15 };

/** Pages of one checkpoint, one after the other. */
export interface PagesToPack {
  readonly checkpoint: number;
  readonly pages: Uint32Array;
  readonly bytes: Uint8Array;
  /** Pages of one message: what had better not be overtaken by the trace. */
  readonly groupPages: number;
  /** The path is so fast that little compression is best. */
  readonly isFast: boolean;
}

/** Chunks of one checkpoint, one after the other. */
export interface ChunksToPack {
  readonly checkpoint: number;
  readonly chunks: readonly ChunkName[];
  readonly bytes: Uint8Array;
}

/** Messages, and how many of the items they refer to. */
export interface Packed {
  readonly messages: readonly BulkMessage[];
  readonly referenced: number;
}

interface WholePage {
  readonly page: number;
  readonly content: Uint8Array;
}

/** See the head of this file. */
export class Packing {
  readonly known = new KnownContents();
  readonly #bases: readonly string[];
  /** What was only referred to, until the target has the checkpoint. */
  readonly #referred = new Map<number, Map<number, Uint8Array | BlockPlace>>();

  /** `bases`: the files that the known contents' places are of. */
  constructor(bases: readonly string[]) {
    this.#bases = bases;
  }

  pages({ bytes, ...wanted }: PagesToPack): Packed {
    const { checkpoint, pages } = wanted;
    const stored: { page: number; sha256: Uint8Array }[] = [];
    const image: { page: number; disk: number; block: number }[] = [];
    const whole: WholePage[] = [];
    for (const [i, page] of pages.entries()) {
      const content = bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      const sha256 = this.known.mayHave(content) ? hash("sha256", content, "buffer") : undefined;
      const known = sha256 && this.known.find(sha256);
      if (known === undefined || sha256 === undefined) {
        whole.push({ page, content });
      } else if (known.kind === "stored") {
        // Few are, and what was read is released.
        this.#refer(checkpoint, page, content.slice());
        stored.push({ page, sha256 });
      } else {
        const { disk, block } = known;
        this.#refer(checkpoint, page, { disk, block });
        image.push({ page, disk, block });
      }
    }
    const messages: BulkMessage[] = [];
    if (stored.length > 0) messages.push({ kind: "page-refs", checkpoint, refs: stored });
    if (image.length > 0) messages.push({ kind: "image-refs", checkpoint, refs: image });
    messages.push(...groups(whole, wanted));
    return { messages, referenced: stored.length + image.length };
  }

  /** The target does not have what these were referred to: they are sent whole. */
  again(wanted: Omit<PagesToPack, "bytes">): Packed {
    const { checkpoint, pages } = wanted;
    const referred = this.#referred.get(checkpoint);
    const whole: WholePage[] = [];
    for (const page of pages) {
      const where = referred?.get(page);
      referred?.delete(page);
      if (where === undefined) continue;
      whole.push({ page, content: where instanceof Uint8Array ? where : this.#readBlock(where) });
    }
    return { messages: groups(whole, wanted), referenced: 0 };
  }

  chunks({ checkpoint, chunks, bytes }: ChunksToPack): Packed {
    const refs: (ChunkName & { sha256: Uint8Array })[] = [];
    const whole: { name: ChunkName; content: Uint8Array }[] = [];
    for (const [i, name] of chunks.entries()) {
      const content = bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
      const sha256 = this.known.hasStored ? hash("sha256", content, "buffer") : undefined;
      if (sha256 && this.known.find(sha256)?.kind === "stored") refs.push({ ...name, sha256 });
      else whole.push({ name, content });
    }
    const messages: BulkMessage[] = [];
    if (refs.length > 0) messages.push({ kind: "chunk-refs", checkpoint, refs });
    if (whole.length > 0) {
      const packed = compressed(
        whole.map(({ content }) => content),
        HARDER,
      );
      const names = whole.map(({ name }) => name);
      messages.push({
        kind: "chunk-group",
        checkpoint,
        layer: "overlay",
        ...packed,
        chunks: names,
      });
    }
    return { messages, referenced: refs.length };
  }

  /** The target has the checkpoint. */
  forget(checkpoint: number): void {
    this.#referred.delete(checkpoint);
  }

  #refer(checkpoint: number, page: number, where: Uint8Array | BlockPlace): void {
    let pages = this.#referred.get(checkpoint);
    if (pages === undefined) {
      pages = new Map();
      this.#referred.set(checkpoint, pages);
    }
    pages.set(page, where);
  }

  #readBlock({ disk, block }: BlockPlace): Uint8Array {
    const bytes = new Uint8Array(PAGE_BYTES);
    const file = openSync(this.#bases[disk] ?? "", "r");
    try {
      readSync(file, bytes, 0, PAGE_BYTES, block * PAGE_BYTES);
      return bytes;
    } finally {
      closeSync(file);
    }
  }
}

function groups(
  pages: readonly WholePage[],
  { checkpoint, groupPages, isFast }: Omit<PagesToPack, "bytes">,
): readonly BulkMessage[] {
  const messages: BulkMessage[] = [];
  // Of equal size: a short last one would be compressed worse.
  const count = Math.ceil(pages.length / groupPages);
  for (let i = 0; i < count; i++) {
    const from = Math.floor((i * pages.length) / count);
    const group = pages.slice(from, Math.floor(((i + 1) * pages.length) / count));
    const packed = compressed(
      group.map(({ content }) => content),
      isFast ? FAST : HARDER,
    );
    messages.push({
      kind: "page-group",
      checkpoint,
      ...packed,
      pages: group.map(({ page }) => page),
    });
  }
  return messages;
}

/** `data` has a buffer of its own, which can go to another thread. */
function compressed(
  parts: readonly Uint8Array[],
  params: Readonly<Record<number, number>>,
): { codec: "raw" | "zstd"; data: Uint8Array } {
  const raw = together(parts);
  const packed = zstdCompressSync(raw, {
    params,
    pledgedSrcSize: raw.length,
    chunkSize: raw.length,
  });
  if (packed.length >= raw.length) return { codec: "raw", data: raw.slice() };
  return { codec: "zstd", data: new Uint8Array(packed) };
}

/** Parts one after the other; as they are where they stand so already. */
function together(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (first === undefined) return new Uint8Array(0);
  let size = 0;
  let areAdjacent = true;
  for (const part of parts) {
    areAdjacent &&= part.buffer === first.buffer && part.byteOffset === first.byteOffset + size;
    size += part.length;
  }
  if (areAdjacent) return new Uint8Array(first.buffer, first.byteOffset, size);
  const raw = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    raw.set(part, at);
    at += part.length;
  }
  return raw;
}
