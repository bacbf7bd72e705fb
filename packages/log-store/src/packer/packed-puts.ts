/**
 * Puts pages and chunks of an open checkpoint while another thread hashes and compresses them. What
 * is zeros or what the store has costs a hash; several puts may be under way, and they take effect
 * in their order, each in one commit. While one is written down, the next ones are being packed.
 */
import { assert } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import { type ContentPack, HASH_BYTES, hexHash, sha256 } from "../content-pack.ts";
import type { CheckpointWriter, ChunkName, LogStore } from "../log-store.ts";
import type { HashedItems } from "./packer.ts";

const ZERO_PAGE = Buffer.from(sha256(new Uint8Array(PAGE_BYTES))).toString("hex");
const ZERO_CHUNK = Buffer.from(sha256(new Uint8Array(CHUNK_BYTES))).toString("hex");

/** How contents of one kind get into the checkpoint; names are theirs, in order of the bytes. */
interface Kind<Name> {
  readonly itemBytes: number;
  /** The hash of one that is all zeros. */
  readonly zeroHash: string;
  readonly putZeros: (names: readonly Name[]) => void;
  /** Answers those that the store has not. */
  readonly refer: (names: readonly Name[], hashes: Uint8Array) => readonly Name[];
  readonly putPack: (names: readonly Name[], pack: ContentPack) => void;
}

/** What there is to do for a put; items are indices of its names. */
interface Sorted {
  readonly hashed: HashedItems;
  readonly zeros: readonly number[];
  readonly full: readonly number[];
  /** Those of `full` that are packed: the first with each content that nobody has. */
  readonly firsts: readonly number[];
  /** Their hashes. */
  readonly keys: readonly string[];
  readonly packing: Promise<ContentPack | undefined>;
}

/** See the head of this file. Puts reject with what the store throws. */
export class PackedPuts {
  readonly #checkpoint: CheckpointWriter;
  readonly #store: Pick<LogStore, "packer" | "hasContents">;
  readonly #pages: Kind<number>;
  readonly #chunks: Kind<ChunkName>;
  /** Contents that are being packed by their hashes: nobody else needs to. */
  readonly #underWay = new Set<string>();
  /** The last put that was begun: it is sorted; it is put. */
  #sorted: Promise<unknown> = Promise.resolve();
  #last: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly checkpoint: CheckpointWriter;
    readonly store: Pick<LogStore, "packer" | "hasContents">;
  }) {
    const { checkpoint, store } = options;
    this.#checkpoint = checkpoint;
    this.#store = store;
    this.#pages = {
      itemBytes: PAGE_BYTES,
      zeroHash: ZERO_PAGE,
      putZeros: (pages) => checkpoint.putZeroPages(Uint32Array.from(pages)),
      refer: (pages, hashes) => [...checkpoint.referPages(Uint32Array.from(pages), hashes)],
      putPack: (pages, pack) => checkpoint.putPackedPages(Uint32Array.from(pages), pack),
    };
    this.#chunks = {
      itemBytes: CHUNK_BYTES,
      zeroHash: ZERO_CHUNK,
      putZeros: (chunks) =>
        checkpoint.putChunks(chunks.map((name) => ({ ...name, bytes: undefined }))),
      refer: (chunks, hashes) => checkpoint.referChunks(chunks, hashes),
      putPack: (chunks, pack) => checkpoint.putPackedChunks(chunks, pack),
    };
  }

  /**
   * At most MAX_PACK_ITEMS pages, each once; `bytes` has them one after the other, and its buffer
   * is given away if they fill it.
   */
  putPages(pages: Uint32Array, bytes: Uint8Array): Promise<void> {
    return this.#put(this.#pages, [...pages], bytes);
  }

  /** The same with at most MAX_PACK_BYTES of chunks. */
  putChunks(chunks: readonly ChunkName[], bytes: Uint8Array): Promise<void> {
    return this.#put(this.#chunks, chunks, bytes);
  }

  #put<Name>(kind: Kind<Name>, names: readonly Name[], bytes: Uint8Array): Promise<void> {
    assert(bytes.length === names.length * kind.itemBytes, "bytes for each name");
    if (names.length === 0) return this.#last;
    const hashing = this.#store.packer.hash(kind.itemBytes, bytes);
    const sorting = this.#sort(settled(this.#sorted), kind, hashing);
    this.#sorted = sorting;
    this.#last = this.#write(settled(this.#last), kind, names, sorting);
    // Whoever put it hears of a failure; the next one only waits for the end.
    this.#last.catch(() => undefined);
    return this.#last;
  }

  /** Begins to pack what nobody has, behind the put before, whose contents are then known. */
  async #sort<Name>(
    before: Promise<void>,
    kind: Kind<Name>,
    hashing: Promise<HashedItems>,
  ): Promise<Sorted> {
    const hashed = await hashing;
    await before;
    try {
      const { hashes } = hashed;
      const all = Array.from({ length: hashes.length / HASH_BYTES }, (_, i) => hexHash(hashes, i));
      const [zeros, full] = parted([...all.keys()], (i) => all[i] === kind.zeroHash);
      const has = this.#store.hasContents(pickHashes(hashes, full));
      const firsts = full.filter((i, at) => {
        const key = all[i] ?? "";
        return has[at] !== true && !this.#underWay.has(key) && all.indexOf(key) === i;
      });
      const packing = firsts.length === 0 ? Promise.resolve(undefined) : hashed.pack(firsts);
      packing.catch(() => undefined);
      const keys = pick(all, firsts);
      for (const key of keys) this.#underWay.add(key);
      return { hashed, zeros, full, firsts, keys, packing };
    } catch (error) {
      hashed.forget();
      throw error;
    }
  }

  async #write<Name>(
    before: Promise<void>,
    kind: Kind<Name>,
    names: readonly Name[],
    sorting: Promise<Sorted>,
  ): Promise<void> {
    const { hashed, zeros, full, firsts, keys, packing } = await sorting;
    try {
      await before;
      const pack = await packing;
      let unknown = new Set<Name>();
      this.#checkpoint.together(() => {
        if (zeros.length > 0) kind.putZeros(pick(names, zeros));
        if (pack !== undefined) kind.putPack(pick(names, firsts), pack);
        const others = full.filter((i) => !firsts.includes(i));
        if (others.length === 0) return;
        unknown = new Set(kind.refer(pick(names, others), pickHashes(hashed.hashes, others)));
      });
      // `gc` has taken them away meanwhile, or the put that packed them has failed.
      const gone = full.filter((i) => pick(names, [i]).some((name) => unknown.has(name)));
      if (gone.length > 0) kind.putPack(pick(names, gone), await hashed.pack(gone));
    } finally {
      for (const key of keys) this.#underWay.delete(key);
      hashed.forget();
    }
  }
}

/** Once it has ended, however it did. */
async function settled(promise: Promise<unknown>): Promise<void> {
  await promise.catch(() => undefined);
}

/** Those that pass, and the others. */
function parted(items: readonly number[], test: (item: number) => boolean): [number[], number[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}

function pick<Name>(names: readonly Name[], items: readonly number[]): Name[] {
  return items.flatMap((i) => names.slice(i, i + 1));
}

function pickHashes(hashes: Uint8Array, items: readonly number[]): Uint8Array {
  const some = new Uint8Array(items.length * HASH_BYTES);
  for (const [at, i] of items.entries()) {
    some.set(hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES), at * HASH_BYTES);
  }
  return some;
}
