/**
 * What the guest changed on its disks: which chunk is in which slot of a storage, in which
 * generation it was written, and which old contents somebody still reads. Sans-IO: the storage is
 * handed in.
 */
import { assert } from "@dejavm/base";
import { CHUNK_BYTES, type ChunkEntry, type DirtyBlock, type MissingBlock } from "@dejavm/machine";
import type { HeldChunks } from "./runnable-machine.ts";

/** Room for chunks, numbered from 0. */
export interface SlotStorage {
  read(slot: number, into: Uint8Array): void;
  write(slot: number, bytes: Uint8Array): void;
}

/** A chunk of zeros, which takes no room. */
const ZERO_SLOT = -1;
/** The chunk's content is still to come. */
const EXPECTED_SLOT = -2;

interface Entry {
  readonly slot: number;
  readonly generation: number;
}

type Hold = Map<string, number>;

/** See the head of this file. */
export class ChunkOverlay {
  readonly #storage: SlotStorage;
  /** Per disk, by chunk number. */
  readonly #disks: Map<number, Entry>[] = [];
  readonly #free: number[] = [];
  /** Readers of former contents: the slots of chunks that were written since they began. */
  readonly #holds = new Set<Hold>();
  /** How many holds need a slot that is not current any more. */
  readonly #pins = new Map<number, number>();
  #slotCount = 0;
  #generation = 0;
  #expected = 0;

  constructor(storage: SlotStorage) {
    this.#storage = storage;
  }

  get expectedCount(): number {
    return this.#expected;
  }

  /** `base`: not in the overlay; `expected`: not here yet. The bytes are the caller's. */
  read(block: MissingBlock): Uint8Array | "base" | "expected" {
    const entry = this.#disk(block.disk).get(block.chunk);
    if (entry === undefined) return "base";
    if (entry.slot === EXPECTED_SLOT) return "expected";
    return this.#content(entry.slot) ?? new Uint8Array(CHUNK_BYTES);
  }

  write({ disk, chunk, bytes }: DirtyBlock): void {
    const chunks = this.#disk(disk);
    const old = chunks.get(chunk);
    const pinned = old !== undefined && old.slot !== EXPECTED_SLOT && this.#pin(disk, chunk, old);
    if (old?.slot === EXPECTED_SLOT) this.#expected--;
    let slot = ZERO_SLOT;
    if (bytes === undefined) {
      if (!pinned) this.#release(old?.slot);
    } else {
      assert(bytes.length === CHUNK_BYTES, `a chunk takes ${bytes.length} bytes`);
      const usable = old !== undefined && old.slot >= 0 && !pinned;
      slot = usable ? old.slot : (this.#free.pop() ?? this.#slotCount++);
      this.#storage.write(slot, bytes);
    }
    chunks.set(chunk, { slot, generation: this.#generation });
  }

  /** Gives an expected chunk the content that it had all the time; others are left alone. */
  supply(chunk: DirtyBlock): void {
    const entry = this.#disk(chunk.disk).get(chunk.chunk);
    if (entry?.slot !== EXPECTED_SLOT) return;
    this.write(chunk);
    const written = this.#disk(chunk.disk).get(chunk.chunk);
    if (written === undefined) return;
    this.#disk(chunk.disk).set(chunk.chunk, { ...written, generation: 0 });
  }

  /** Exactly these chunks have content; those that are not here come later. */
  expect(blocks: readonly MissingBlock[]): void {
    const wanted = new Set(blocks.map(({ disk, chunk }) => `${disk}:${chunk}`));
    for (const [disk, chunks] of this.#disks.entries()) {
      for (const [chunk, { slot }] of chunks) {
        if (slot === ZERO_SLOT || wanted.has(`${disk}:${chunk}`)) continue;
        this.write({ disk, chunk, bytes: undefined });
      }
    }
    for (const { disk, chunk } of blocks) {
      const slot = this.#disk(disk).get(chunk)?.slot;
      if (slot !== undefined && slot !== ZERO_SLOT) continue;
      this.#disk(disk).set(chunk, { slot: EXPECTED_SLOT, generation: 0 });
      this.#expected++;
    }
  }

  /** Every chunk with content, ascending by disk and chunk. */
  *entries(): Generator<ChunkEntry, void, undefined> {
    for (const block of this.writtenSince(0)) {
      const bytes = this.read(block);
      assert(bytes !== "base" && bytes !== "expected", "the whole overlay is here");
      yield { ...block, bytes };
    }
  }

  nextGeneration(): number {
    return ++this.#generation;
  }

  writtenSince(generation: number): MissingBlock[] {
    return this.#disks.flatMap((chunks, disk) =>
      [...chunks]
        .filter(([, entry]) => entry.generation >= generation)
        .map(([chunk]) => ({ disk, chunk }))
        .sort((a, b) => a.chunk - b.chunk),
    );
  }

  hold(): HeldChunks {
    const hold: Hold = new Map();
    this.#holds.add(hold);
    return {
      read: ({ disk, chunk }) => {
        const slot = hold.get(`${disk}:${chunk}`) ?? this.#disk(disk).get(chunk)?.slot;
        assert(slot !== undefined && slot !== EXPECTED_SLOT, `chunk ${disk}:${chunk} was held`);
        return this.#content(slot);
      },
      close: () => {
        if (!this.#holds.delete(hold)) return;
        for (const slot of hold.values()) this.#unpin(slot);
      },
    };
  }

  /** The old content is about to be replaced; gives whether somebody still needs it. */
  #pin(disk: number, chunk: number, { slot }: Entry): boolean {
    const key = `${disk}:${chunk}`;
    for (const hold of this.#holds) {
      if (hold.has(key)) continue;
      hold.set(key, slot);
      this.#pins.set(slot, (this.#pins.get(slot) ?? 0) + 1);
    }
    return (this.#pins.get(slot) ?? 0) > 0;
  }

  #unpin(slot: number): void {
    const pins = (this.#pins.get(slot) ?? 0) - 1;
    if (pins > 0) {
      this.#pins.set(slot, pins);
      return;
    }
    this.#pins.delete(slot);
    this.#release(slot);
  }

  #release(slot: number | undefined): void {
    if (slot !== undefined && slot >= 0) this.#free.push(slot);
  }

  #content(slot: number): Uint8Array | undefined {
    if (slot === ZERO_SLOT) return undefined;
    const bytes = new Uint8Array(CHUNK_BYTES);
    this.#storage.read(slot, bytes);
    return bytes;
  }

  #disk(index: number): Map<number, Entry> {
    let chunks = this.#disks[index];
    if (chunks === undefined) {
      chunks = new Map();
      this.#disks[index] = chunks;
    }
    return chunks;
  }
}
