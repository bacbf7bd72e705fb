/**
 * A disk: an immutable base from outside, overlaid by what the guest wrote, in chunks of 64 KiB.
 * Chunk contents live with the disk's owner (the base image, the store); the disk caches some and
 * keeps, until the owner takes them, those that the guest changed. What is cached is not visible:
 * an absent chunk is asked for, and equals what it would have been.
 *
 * - base chunk: never written. Its content comes from the base image.
 * - data chunk: written. Its content comes from the store once the owner has taken it.
 * - zero chunk: discarded or zeroed as a whole; has no content anywhere.
 */
import { assert } from "@dejavm/base";
import { fields } from "../snapshot/fields.ts";
import { CHUNK_BYTES, type State } from "./device.ts";
import { type ChunkKind, DiskOverlay, type OverlayChunk } from "./disk-overlay.ts";

/** Largest disk in bytes: bounds the table of chunk kinds to 16 MiB. */
const MAX_DISK_BYTES = 2 ** 40;
/**
 * Chunks that are cached although the owner has them (32 MiB). More than a virtio batch can need
 * at once (MAX_BATCH_BYTES plus one largest request: 385 chunks), so that asking ends.
 */
export const MAX_CLEAN_CHUNKS = 512;
/**
 * Changed chunks that wait for the owner (64 MiB). A write beyond asks for one of them: the
 * machine stops, and the owner takes them all before it supplies anything.
 */
export const MAX_DIRTY_CHUNKS = 1024;

/** A 128-bit hash of a chunk, as an unsigned bigint. */
export type ChunkHash = (bytes: Uint8Array) => bigint;

/** What a disk is made of. */
export interface DiskOptions {
  /** Position among the machine's disks; part of every `MissingBlock`. */
  readonly index: number;
  /** A multiple of 512, at most MAX_DISK_BYTES. */
  readonly sizeBytes: number;
  readonly hash: ChunkHash;
}

/** A chunk that changed. `bytes` is immutable from now on; undefined: the chunk is all zero. */
export interface ChangedChunk {
  readonly chunk: number;
  readonly bytes: Uint8Array | undefined;
}

const ZEROS = new Uint8Array(CHUNK_BYTES);

/** One disk. Offsets and lengths are in bytes and lie within the disk. */
export class Disk {
  readonly index: number;
  readonly sizeBytes: number;
  readonly #hash: ChunkHash;
  readonly #overlay: DiskOverlay;
  /** Contents that only we have. */
  readonly #dirty = new Map<number, Uint8Array>();
  /** Contents that the owner has too, least recently used first; never written to. */
  readonly #clean = new Map<number, Uint8Array>();

  constructor(options: DiskOptions) {
    const { sizeBytes } = options;
    assert(sizeBytes >= 0 && sizeBytes % 512 === 0 && sizeBytes <= MAX_DISK_BYTES, "disk size");
    this.index = options.index;
    this.sizeBytes = sizeBytes;
    this.#hash = options.hash;
    this.#overlay = new DiskOverlay(Math.ceil(sizeBytes / CHUNK_BYTES));
  }

  /** Changed chunks with content that the owner has not taken yet. */
  get dirtyCount(): number {
    return this.#dirty.size;
  }

  get cleanCount(): number {
    return this.#clean.size;
  }

  /** Adds to `absent` the chunks that reading the range needs. */
  probeRead(offset: number, length: number, absent: Set<number>): void {
    forChunks(offset, length, (chunk) => this.#probe(chunk, absent));
  }

  /** Adds to `absent` the chunks that writing the range needs: those it covers only in part. */
  probeWrite(offset: number, length: number, absent: Set<number>): void {
    forChunks(offset, length, (chunk, from, to) => {
      if (!this.#covers(chunk, from, to)) this.#probe(chunk, absent);
    });
  }

  /**
   * Adds to `absent` a chunk that makes the owner take the changed ones, if `count` more would
   * pass MAX_DIRTY_CHUNKS.
   */
  probeRoom(count: number, absent: Set<number>): void {
    if (this.#dirty.size + count <= MAX_DIRTY_CHUNKS) return;
    for (const chunk of this.#dirty.keys()) {
      absent.add(chunk);
      return;
    }
  }

  /** What is at `offset`, at most `maxLength` bytes and not beyond the chunk's end. Read only. */
  view(offset: number, maxLength: number): Uint8Array {
    const chunk = Math.floor(offset / CHUNK_BYTES);
    const start = offset - chunk * CHUNK_BYTES;
    return this.#content(chunk).subarray(start, Math.min(start + maxLength, CHUNK_BYTES));
  }

  /** Writes `parts` one after the other from `offset` on; together they are `length` bytes. */
  write(offset: number, length: number, parts: readonly Uint8Array[]): void {
    forChunks(offset, length, (chunk, from, to) => {
      this.#openChunk(chunk, this.#covers(chunk, from, to));
    });
    let at = offset;
    for (const part of parts) {
      let done = 0;
      forChunks(at, part.length, (chunk, from, to) => {
        const bytes = this.#dirty.get(chunk);
        assert(bytes !== undefined, "the parts of a write are longer than announced");
        bytes.set(part.subarray(done, done + to - from), from);
        done += to - from;
      });
      at += part.length;
    }
  }

  /** Makes the range zero. Chunks covered in part must be present. */
  writeZeroes(offset: number, length: number): void {
    forChunks(offset, length, (chunk, from, to) => {
      if (this.#covers(chunk, from, to)) this.#zeroChunk(chunk);
      else if (this.#overlay.kind(chunk) !== "zero")
        this.#openChunk(chunk, false).fill(0, from, to);
    });
  }

  /** Forgets the chunks that lie wholly in the range: they read as zero. Others stay. */
  discard(offset: number, length: number): void {
    forChunks(offset, length, (chunk, from, to) => {
      if (this.#covers(chunk, from, to)) this.#zeroChunk(chunk);
    });
  }

  /**
   * Supplies a chunk of the base or, for a data chunk, what `takeDirty` gave last. `bytes` are
   * 65,536, zero beyond the disk's end, and must not change any more.
   */
  supply(chunk: number, bytes: Uint8Array): void {
    assert(this.#overlay.has(chunk), "a supplied chunk lies within the disk");
    assert(bytes.length === CHUNK_BYTES, "a supplied chunk is whole");
    if (!this.#isPresent(chunk)) this.#cache(chunk, bytes);
  }

  /**
   * The chunks that changed since the last call, each once. The owner must be able to supply
   * them from now on.
   */
  takeDirty(): ChangedChunk[] {
    this.#settle();
    const changed = this.#overlay.takeChanged().map((chunk) => {
      return { chunk, bytes: this.#dirty.get(chunk) };
    });
    for (const { chunk, bytes } of changed) {
      if (bytes === undefined) continue;
      this.#dirty.delete(chunk);
      this.#cache(chunk, bytes);
    }
    assert(this.#dirty.size === 0, "every chunk with new content is a changed chunk");
    return changed;
  }

  /** Every chunk that differs from the base, ascending. */
  overlay(): Iterable<OverlayChunk> {
    this.#settle();
    return this.#overlay.chunks();
  }

  /**
   * A 128-bit value over the numbers and hashes of all chunks that differ from the base. It does
   * not depend on the order in which they came to be; it costs one hash per chunk changed.
   */
  overlayDigest(): bigint {
    this.#settle();
    return this.#overlay.sum;
  }

  /**
   * Which chunks differ from the base, with their hashes. Contents travel apart: call `takeDirty`
   * first, or they are lost.
   */
  save(): State {
    this.#settle();
    return this.#overlay.save();
  }

  /** Takes what `save` gave; forgets every cached and every untaken content. */
  restore(state: State): void {
    this.#dirty.clear();
    this.#clean.clear();
    this.#overlay.restore(fields(state, `disk.${this.index}`));
  }

  /** Hashes what changed since it was last hashed. */
  #settle(): void {
    this.#overlay.settle((chunk) => this.#hash(this.#content(chunk)));
  }

  #covers(chunk: number, from: number, to: number): boolean {
    const end = Math.min(CHUNK_BYTES, this.sizeBytes - chunk * CHUNK_BYTES);
    return from === 0 && to >= end;
  }

  #isPresent(chunk: number): boolean {
    return this.#dirty.has(chunk) || this.#clean.has(chunk) || this.#overlay.kind(chunk) === "zero";
  }

  #probe(chunk: number, absent: Set<number>): void {
    const clean = this.#clean.get(chunk);
    // What a request needs becomes the most recently used, so supplying the rest keeps it.
    if (clean !== undefined) this.#cache(chunk, clean);
    else if (!this.#isPresent(chunk)) absent.add(chunk);
  }

  #content(chunk: number): Uint8Array {
    const kind: ChunkKind = this.#overlay.kind(chunk);
    if (kind === "zero") return ZEROS;
    const bytes = this.#dirty.get(chunk) ?? this.#clean.get(chunk);
    assert(bytes !== undefined, "a chunk that was probed is present");
    return bytes;
  }

  /** A chunk's content for writing; `whole`: the old content does not matter. */
  #openChunk(chunk: number, whole: boolean): Uint8Array {
    let bytes = this.#dirty.get(chunk);
    if (bytes === undefined) {
      bytes = whole ? new Uint8Array(CHUNK_BYTES) : this.#content(chunk).slice();
      this.#clean.delete(chunk);
      this.#dirty.set(chunk, bytes);
    }
    this.#overlay.change(chunk, "data");
    return bytes;
  }

  #zeroChunk(chunk: number): void {
    if (this.#overlay.kind(chunk) === "zero") return;
    this.#dirty.delete(chunk);
    this.#clean.delete(chunk);
    this.#overlay.change(chunk, "zero");
  }

  #cache(chunk: number, bytes: Uint8Array): void {
    this.#clean.delete(chunk);
    this.#clean.set(chunk, bytes);
    if (this.#clean.size <= MAX_CLEAN_CHUNKS) return;
    for (const oldest of this.#clean.keys()) {
      this.#clean.delete(oldest);
      return;
    }
  }
}

/** Number of chunks that a byte range touches. */
export function chunkCount(offset: number, length: number): number {
  if (length === 0) return 0;
  return Math.floor((offset + length - 1) / CHUNK_BYTES) - Math.floor(offset / CHUNK_BYTES) + 1;
}

/** Visits the chunks of a byte range, each with the part of it, `from` .. `to`, in the range. */
function forChunks(
  offset: number,
  length: number,
  visit: (chunk: number, from: number, to: number) => void,
): void {
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const chunk = Math.floor(at / CHUNK_BYTES);
    const start = chunk * CHUNK_BYTES;
    const stop = Math.min(end, start + CHUNK_BYTES);
    visit(chunk, at - start, stop - start);
    at = stop;
  }
}
