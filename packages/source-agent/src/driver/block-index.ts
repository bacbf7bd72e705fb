/**
 * The blocks of disk bases by content. A guest's page cache holds what it read from its disk, page
 * by page, and the target has that disk's base, too.
 *
 * Blocks are found by the first 8 bytes of their sha256: two different blocks of one disk with the
 * same 8 bytes do not happen by accident, and what was made to collide shows as a wrong digest.
 */
import { hash } from "node:crypto";
import { open } from "node:fs/promises";
import { prefixOf } from "./known-contents.ts";

const BLOCK_BYTES = 4096;
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
/** Bytes read at once, hashed without a pause: about a millisecond of CPU. */
const READ_BYTES = 1024 * 1024;

/** Where a block is. */
export interface BlockPlace {
  readonly disk: number;
  /** Byte offset / 4,096. */
  readonly block: number;
}

/** Indexes that were begun in this process, by the paths of their disks. */
const shared = new Map<string, BlockIndex>();

/** See the head of this file. */
export class BlockIndex {
  /**
   * The index of these disks, the same for all who ask. It fills in the background; a base that
   * cannot be read is left out, which costs bytes on the link and nothing else.
   */
  static of(paths: readonly string[]): BlockIndex {
    const key = JSON.stringify(paths);
    let index = shared.get(key);
    if (index === undefined) {
      index = new BlockIndex();
      shared.set(key, index);
      void index.#addAll(paths);
    }
    return index;
  }

  readonly #places = new Map<bigint, BlockPlace>();

  /** Blocks known by now. */
  get size(): number {
    return this.#places.size;
  }

  find(prefix: bigint): BlockPlace | undefined {
    return this.#places.get(prefix);
  }

  /** Reads a base once, leaving the event loop its turns. Throws what the file system says. */
  async add(disk: number, path: string): Promise<void> {
    const file = await open(path, "r");
    try {
      const buffer = new Uint8Array(READ_BYTES);
      for (let at = 0; ; ) {
        const { bytesRead } = await file.read(buffer, 0, READ_BYTES, at);
        for (let offset = 0; offset + BLOCK_BYTES <= bytesRead; offset += BLOCK_BYTES) {
          this.#note(buffer.subarray(offset, offset + BLOCK_BYTES), {
            disk,
            block: (at + offset) / BLOCK_BYTES,
          });
        }
        if (bytesRead < READ_BYTES) return;
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  }

  async #addAll(paths: readonly string[]): Promise<void> {
    for (const [disk, path] of paths.entries()) {
      try {
        await this.add(disk, path);
      } catch {
        // Whoever runs the machine will hear of it from the disk itself.
      }
    }
  }

  #note(bytes: Uint8Array, place: BlockPlace): void {
    // Zero pages are not sent anyway, and a disk is full of such blocks.
    if (bytes[0] === 0 && ZERO_BLOCK.equals(bytes)) return;
    const prefix = prefixOf(hash("sha256", bytes, "buffer"));
    if (!this.#places.has(prefix)) this.#places.set(prefix, place);
  }
}
