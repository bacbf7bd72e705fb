/**
 * Unpacks pages of one migration: decompresses groups, reads blocks of the files that the machine
 * began with, hashes all of it for the store. Synchronous and slow: it runs on a thread of its own
 * (`unpack-worker.ts`).
 */
import { closeSync, openSync, readSync } from "node:fs";
import { zstdDecompressSync } from "node:zlib";
import { CodedError } from "@dejavm/base";
import { type ContentPack, hashItems, MAX_PACK_ITEMS, makePack } from "@dejavm/log-store";
import type { BulkMessage } from "@dejavm/protocol";

const PAGE_BYTES = 4096;

/** What it unpacks. */
export type PageMessage = Extract<BulkMessage, { kind: "page-group" | "image-refs" }>;

/** Pages that came, as the machine and as the store take them. */
export interface UnpackedPages {
  readonly pages: Uint32Array;
  /** One after the other. */
  readonly bytes: Uint8Array;
  readonly packs: readonly { readonly pages: Uint32Array; readonly pack: ContentPack }[];
  /** Referred to, and not here. */
  readonly unknown: readonly number[];
}

/** See the head of this file. `close` it. */
export class Unpacking {
  readonly #bases: readonly string[];
  readonly #files = new Map<number, number>();

  /** `bases`: the files that the machine began with here, as `image-refs` counts them. */
  constructor(bases: readonly string[]) {
    this.#bases = bases;
  }

  /** Throws E_PROTOCOL_MALFORMED for data that is not what was announced. */
  unpack(message: PageMessage): UnpackedPages {
    return message.kind === "page-group" ? unpackGroup(message) : this.#readBlocks(message);
  }

  close(): void {
    for (const file of this.#files.values()) closeSync(file);
    this.#files.clear();
  }

  #readBlocks({ refs }: Extract<PageMessage, { kind: "image-refs" }>): UnpackedPages {
    const bytes = new Uint8Array(refs.length * PAGE_BYTES);
    const pages: number[] = [];
    const unknown: number[] = [];
    for (const { page, disk, block } of refs) {
      const into = bytes.subarray(pages.length * PAGE_BYTES, (pages.length + 1) * PAGE_BYTES);
      if (this.#readBlock(disk, block, into)) pages.push(page);
      else unknown.push(page);
    }
    const whole = unknown.length === 0 ? bytes : bytes.slice(0, pages.length * PAGE_BYTES);
    const packs = packsOf(pages, whole);
    return { pages: Uint32Array.from(pages), bytes: whole, packs, unknown };
  }

  #readBlock(disk: number, block: number, into: Uint8Array): boolean {
    const path = this.#bases[disk] ?? "";
    if (path === "") return false;
    try {
      let file = this.#files.get(disk);
      if (file === undefined) {
        file = openSync(path, "r");
        this.#files.set(disk, file);
      }
      return readSync(file, into, 0, PAGE_BYTES, block * PAGE_BYTES) === PAGE_BYTES;
    } catch {
      return false;
    }
  }
}

function unpackGroup(message: Extract<PageMessage, { kind: "page-group" }>): UnpackedPages {
  const { pages, codec, data } = message;
  const bytes = inflate(codec, data, pages.length * PAGE_BYTES);
  // What came over the wire is stored as it is: nothing is compressed twice.
  const numbers = Uint32Array.from(pages);
  if (pages.length > MAX_PACK_ITEMS) {
    return { pages: numbers, bytes, packs: packsOf(pages, bytes), unknown: [] };
  }
  const hashes = hashItems(PAGE_BYTES, bytes);
  const pack: ContentPack = { itemBytes: PAGE_BYTES, hashes, codec, data };
  return { pages: numbers, bytes, packs: [{ pages: numbers, pack }], unknown: [] };
}

function packsOf(pages: readonly number[], bytes: Uint8Array): UnpackedPages["packs"] {
  const packs: { pages: Uint32Array; pack: ContentPack }[] = [];
  for (let from = 0; from < pages.length; from += MAX_PACK_ITEMS) {
    const some = pages.slice(from, from + MAX_PACK_ITEMS);
    const theirs = bytes.subarray(from * PAGE_BYTES, (from + some.length) * PAGE_BYTES);
    const pack = makePack(PAGE_BYTES, theirs, "quick");
    // The machine is given `bytes`; the store gets its own.
    const data = pack.codec === "raw" ? pack.data.slice() : pack.data;
    packs.push({ pages: Uint32Array.from(some), pack: { ...pack, data } });
  }
  return packs;
}

/** Bounded by what the header promises. */
function inflate(codec: "raw" | "zstd", data: Uint8Array, rawBytes: number): Uint8Array {
  if (codec === "raw") return data.slice();
  try {
    const bytes = zstdDecompressSync(data, { maxOutputLength: rawBytes, chunkSize: rawBytes });
    if (bytes.length === rawBytes) {
      return new Uint8Array(bytes.buffer, bytes.byteOffset, rawBytes);
    }
  } catch {
    // Whatever zlib says: the peer promised something else.
  }
  throw new CodedError(
    "E_PROTOCOL_MALFORMED",
    `cannot unpack a bulk message: it does not hold ${rawBytes} bytes`,
  );
}
