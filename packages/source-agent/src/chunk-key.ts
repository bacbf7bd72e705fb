/** Disk chunks as numbers, for tables that pages and chunks share. */
import type { ChunkName } from "@dejavm/vm";

/** Chunks of one disk at most: 1 TiB in pieces of 64 KiB. */
const CHUNKS_PER_DISK = 2 ** 24;

/** One number for a chunk. */
export function chunkKey({ disk, chunk }: ChunkName): number {
  return disk * CHUNKS_PER_DISK + chunk;
}

/** The chunk that a key stands for. */
export function chunkOfKey(key: number): ChunkName {
  return { disk: Math.floor(key / CHUNKS_PER_DISK), chunk: key % CHUNKS_PER_DISK };
}
