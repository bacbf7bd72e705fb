/**
 * Which chunks of a disk differ from its base, their hashes, and the running digest over them.
 * Knows no contents. Sized for disks of 16 million chunks: a byte per chunk, and 16 bytes of hash
 * in leaves that exist only where there is data.
 */
import type { FieldReader } from "../snapshot/fields.ts";
import type { State } from "./device.ts";

/** Where a chunk's content comes from; see `Disk`. */
export type ChunkKind = "base" | "data" | "zero";

/** A chunk that differs from the base. */
export interface OverlayChunk {
  readonly chunk: number;
  /** The hash of its content; undefined: the chunk is all zero and nobody stores it. */
  readonly hash: bigint | undefined;
}

const KINDS: readonly ChunkKind[] = ["base", "data", "zero"];
/** Layout of a chunk's byte: its kind's index, and two flags. */
const KIND_MASK = 3;
/** The chunk is in `#changed`. */
const CHANGED = 4;
/** The chunk is in `#stale`, its hash is out of date and not part of the sum. */
const STALE = 8;

const LEAF_CHUNKS = 4096;
const CHUNK_NUMBER_BYTES = 4;
const HASH_BYTES = 16;
const MASK_128 = (1n << 128n) - 1n;
/** Odd constants from the fractional part of the golden ratio and of pi. */
const MIX_CHUNK = 0x9e3779b97f4a7c15f39cc0605cedc835n;
const MIX_FINAL = 0x243f6a8885a308d313198a2e03707345n;

/** The kinds and hashes of a disk's chunks. Chunk numbers lie within the disk. */
export class DiskOverlay {
  readonly #table: Uint8Array;
  readonly #hashes: (BigUint64Array | undefined)[] = [];
  #changed: number[] = [];
  #stale: number[] = [];
  #sum = 0n;

  constructor(chunkCount: number) {
    this.#table = new Uint8Array(chunkCount);
  }

  /** Order-independent 128-bit sum over all settled overlay chunks. */
  get sum(): bigint {
    return this.#sum;
  }

  has(chunk: number): boolean {
    return Number.isInteger(chunk) && chunk >= 0 && chunk < this.#table.length;
  }

  kind(chunk: number): ChunkKind {
    return KINDS[this.#table[chunk] & KIND_MASK];
  }

  /** The chunk has new content of this kind. */
  change(chunk: number, kind: "data" | "zero"): void {
    const old = this.#table[chunk];
    if ((old & STALE) === 0) {
      this.#sum = (this.#sum - this.#contribution(chunk)) & MASK_128;
      this.#stale.push(chunk);
    }
    if ((old & CHANGED) === 0) this.#changed.push(chunk);
    this.#table[chunk] = KINDS.indexOf(kind) | CHANGED | STALE;
  }

  /** Brings hashes and sum up to date; `hash` gives the hash of a data chunk. */
  settle(hash: (chunk: number) => bigint): void {
    for (const chunk of this.#stale) {
      this.#table[chunk] &= ~STALE;
      if (this.kind(chunk) === "data") this.#setHash(chunk, hash(chunk) & MASK_128);
      this.#sum = (this.#sum + this.#contribution(chunk)) & MASK_128;
    }
    this.#stale = [];
  }

  /** The chunks that changed since the last call. */
  takeChanged(): number[] {
    const changed = this.#changed;
    for (const chunk of changed) this.#table[chunk] &= ~CHANGED;
    this.#changed = [];
    return changed;
  }

  /** Every overlay chunk, ascending. */
  *chunks(): Generator<OverlayChunk> {
    for (let chunk = 0; chunk < this.#table.length; chunk++) {
      const kind = this.kind(chunk);
      if (kind !== "base") yield { chunk, hash: kind === "data" ? this.#hash(chunk) : undefined };
    }
  }

  save(): State {
    const data: number[] = [];
    const zero: number[] = [];
    for (const { chunk, hash } of this.chunks()) (hash === undefined ? zero : data).push(chunk);
    const hashes = new DataView(new ArrayBuffer(data.length * HASH_BYTES));
    for (const [i, chunk] of data.entries()) {
      const hash = this.#hash(chunk);
      hashes.setBigUint64(i * HASH_BYTES, hash, true);
      hashes.setBigUint64(i * HASH_BYTES + 8, hash >> 64n, true);
    }
    return {
      dataChunks: packNumbers(data),
      dataHashes: new Uint8Array(hashes.buffer),
      zeroChunks: packNumbers(zero),
    };
  }

  restore(f: FieldReader): void {
    this.#table.fill(0);
    this.#hashes.length = 0;
    this.#changed = [];
    this.#stale = [];
    this.#sum = 0n;
    const data = this.#readNumbers(f, "dataChunks");
    const bytes = f.bytes("dataHashes", { length: data.length * HASH_BYTES });
    const hashes = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const [i, chunk] of data.entries()) {
      this.#table[chunk] = KINDS.indexOf("data");
      const low = hashes.getBigUint64(i * HASH_BYTES, true);
      this.#setHash(chunk, (hashes.getBigUint64(i * HASH_BYTES + 8, true) << 64n) | low);
    }
    for (const chunk of this.#readNumbers(f, "zeroChunks")) {
      if (this.kind(chunk) !== "base") throw f.invalid("zeroChunks", "chunks not in dataChunks");
      this.#table[chunk] = KINDS.indexOf("zero");
    }
    f.end();
    for (const { chunk } of this.chunks()) this.#sum += this.#contribution(chunk);
    this.#sum &= MASK_128;
  }

  /** Chunk numbers, which must ascend and lie within the disk. */
  #readNumbers(f: FieldReader, name: string): Uint32Array {
    const bytes = f.bytes(name, { maxLength: this.#table.length * CHUNK_NUMBER_BYTES });
    if (bytes.length % CHUNK_NUMBER_BYTES !== 0) throw f.invalid(name, "numbers of 4 bytes");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const numbers = new Uint32Array(bytes.length / CHUNK_NUMBER_BYTES);
    let previous = -1;
    for (let i = 0; i < numbers.length; i++) {
      const chunk = view.getUint32(i * CHUNK_NUMBER_BYTES, true);
      if (chunk <= previous || chunk >= this.#table.length) {
        throw f.invalid(name, `ascending chunk numbers below ${this.#table.length}`);
      }
      numbers[i] = chunk;
      previous = chunk;
    }
    return numbers;
  }

  /** What a settled chunk adds to the sum: nothing for the base. */
  #contribution(chunk: number): bigint {
    const kind = this.kind(chunk);
    if (kind === "base") return 0n;
    const content = kind === "data" ? this.#hash(chunk) : 0n;
    const name = BigInt(chunk * KINDS.length + KINDS.indexOf(kind));
    let mixed = (content + name * MIX_CHUNK) & MASK_128;
    for (let round = 0; round < 2; round++) {
      mixed = ((mixed ^ (mixed >> 61n)) * MIX_FINAL) & MASK_128;
    }
    return mixed ^ (mixed >> 67n);
  }

  #hash(chunk: number): bigint {
    const leaf = this.#hashes[Math.floor(chunk / LEAF_CHUNKS)];
    if (leaf === undefined) return 0n;
    const at = (chunk % LEAF_CHUNKS) * 2;
    return leaf[at] | (leaf[at + 1] << 64n);
  }

  #setHash(chunk: number, hash: bigint): void {
    const index = Math.floor(chunk / LEAF_CHUNKS);
    const leaf = this.#hashes[index] ?? new BigUint64Array(LEAF_CHUNKS * 2);
    this.#hashes[index] = leaf;
    const at = (chunk % LEAF_CHUNKS) * 2;
    leaf[at] = BigInt.asUintN(64, hash);
    leaf[at + 1] = hash >> 64n;
  }
}

function packNumbers(numbers: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(numbers.length * CHUNK_NUMBER_BYTES));
  for (const [i, value] of numbers.entries()) view.setUint32(i * CHUNK_NUMBER_BYTES, value, true);
  return new Uint8Array(view.buffer);
}
