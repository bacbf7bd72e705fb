/**
 * Packs: pages or chunks that are hashed and compressed together. Making one needs no store, so any
 * thread can do it; a pack can be sent and stored as it is.
 */
import { hash } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { assert } from "@dejavm/base";
import { storeError } from "./store-errors.ts";

/** Items of one pack: 64 pages are 256 KiB, where zstd has most of its effect. */
export const MAX_PACK_ITEMS = 64;
/** Bytes of one pack before compression: bounds what a reader of one page unpacks. */
export const MAX_PACK_BYTES = 256 << 10;
/** Bytes of a sha256. */
export const HASH_BYTES = 32;

/** zstd's fastest level: about 500 MB/s, and RAM shrinks to less than a third. */
const LEVEL = 1;
/** Given by itself it makes that level a third faster, and what comes out a little smaller. */
const HASH_LOG = 15;
/** For what has to be stored at once: 300 MB/s more, a third less saved. */
const QUICK_LEVEL = -7;
/** The least that Node's zlib takes as the size of a piece. */
const MIN_CHUNK = 64;
/** Compression that saves less is not worth unpacking. */
const WORTH_IT = 0.95;
/** What of something large is tried first: what a guest receives is mostly compressed already. */
const SAMPLE_BYTES = 32 << 10;

/** Contents of equal size, hashed and compressed. Plain data: it may cross to another thread. */
export interface ContentPack {
  /** Bytes of each item: a page's or a chunk's. */
  readonly itemBytes: number;
  /** sha256 of each item, 32 bytes each; 1 to MAX_PACK_ITEMS of them. */
  readonly hashes: Uint8Array;
  /** How `data` holds the items, one after the other. */
  readonly codec: "raw" | "zstd";
  readonly data: Uint8Array;
}

/** sha256 of `bytes`. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return plain(hash("sha256", bytes, "buffer"));
}

/** The i-th of some hashes, in hexadecimal. */
export function hexHash(hashes: Uint8Array, index: number): string {
  const bytes = hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
  assert(bytes.length === HASH_BYTES, "a whole hash");
  return Buffer.from(bytes).toString("hex");
}

/**
 * Hashes and compresses items that stand one after the other; at most MAX_PACK_BYTES. `quick`:
 * compresses little, because somebody waits.
 */
export function makePack(itemBytes: number, bytes: Uint8Array, how?: "quick"): ContentPack {
  return compressPack({ itemBytes, hashes: hashItems(itemBytes, bytes), bytes }, how);
}

/** sha256 of each of the items that stand one after the other. */
export function hashItems(itemBytes: number, bytes: Uint8Array): Uint8Array {
  const count = bytes.length / itemBytes;
  const hashes = Buffer.alloc(count * HASH_BYTES);
  for (let i = 0; i < count; i++) {
    const item = bytes.subarray(i * itemBytes, (i + 1) * itemBytes);
    // A string costs less than a buffer of its own: an eighth of the whole.
    hashes.write(hash("sha256", item, "latin1"), i * HASH_BYTES, "latin1");
  }
  return plain(hashes);
}

/** The same for items whose hashes are known. */
export function compressPack(
  items: {
    readonly itemBytes: number;
    readonly hashes: Uint8Array;
    readonly bytes: Uint8Array;
  },
  how?: "quick",
): ContentPack {
  const { itemBytes, hashes, bytes } = items;
  const data = compress(bytes, how === "quick" ? QUICK_LEVEL : LEVEL);
  if (data.length < bytes.length * WORTH_IT) return { itemBytes, hashes, codec: "zstd", data };
  return { itemBytes, hashes, codec: "raw", data: bytes };
}

/** The items of a pack, one after the other. Throws E_STORE_CORRUPT. */
export function unpack({ itemBytes, hashes, codec, data }: ContentPack): Uint8Array {
  const wanted = (hashes.length / HASH_BYTES) * itemBytes;
  const bytes = codec === "raw" ? data : decompress(data, wanted);
  if (bytes.length === wanted) return bytes;
  throw storeError("E_STORE_CORRUPT", `a pack has ${bytes.length} bytes, expected ${wanted}`);
}

/** Throws E_STORE_CORRUPT unless the items have those hashes: for packs that come from outside. */
export function checkPack(pack: ContentPack): void {
  const { itemBytes, hashes } = pack;
  const bytes = unpack(pack);
  for (let i = 0; i * HASH_BYTES < hashes.length; i++) {
    const item = bytes.subarray(i * itemBytes, (i + 1) * itemBytes);
    const hash = hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES);
    if (Buffer.compare(sha256(item), hash) === 0) continue;
    throw storeError("E_STORE_CORRUPT", `item ${i} of a pack has another hash`);
  }
}

/** zstd, at the store's level if no other is given. */
export function compress(bytes: Uint8Array, level = LEVEL): Uint8Array {
  const packed = zstdCompressSync(bytes, {
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      ...(level === LEVEL ? { [constants.ZSTD_c_hashLog]: HASH_LOG } : {}),
    },
    pledgedSrcSize: bytes.length,
    // All of it in one piece: joining pieces costs more than the room.
    chunkSize: Math.max(MIN_CHUNK, bytes.length),
  });
  return plain(packed);
}

/** The same, or `bytes` as they are where a piece of them shows that it is not worth it. */
export function compressIfWorth(bytes: Uint8Array): Uint8Array {
  const from = Math.floor((bytes.length - SAMPLE_BYTES) / 2);
  if (from < SAMPLE_BYTES) return compress(bytes);
  const sample = bytes.subarray(from, from + SAMPLE_BYTES);
  return compress(sample).length < sample.length * WORTH_IT ? compress(bytes) : bytes;
}

/** Undoes `compress`; never makes more than `maxBytes`. Throws E_STORE_CORRUPT. */
export function decompress(bytes: Uint8Array, maxBytes: number): Uint8Array {
  try {
    return plain(
      zstdDecompressSync(bytes, {
        maxOutputLength: Math.max(1, maxBytes),
        chunkSize: Math.min(MAX_PACK_BYTES, Math.max(MIN_CHUNK, maxBytes)),
      }),
    );
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw storeError("E_STORE_CORRUPT", `cannot decompress stored bytes: ${reason}`, { cause });
  }
}

/** The same bytes without Node's subclass, whose `slice` does not copy. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}
