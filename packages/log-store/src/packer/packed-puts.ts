/**
 * Puts pages and chunks of an open checkpoint while other threads hash and compress them. What is
 * zeros or what the store has costs a hash; several puts may be under way, and they take effect in
 * their order, each whole. Those that are ready together are one commit; while they are written
 * down, the next ones are being packed.
 */
import { assert } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import { type ContentPack, HASH_BYTES, hexHash, sha256 } from "../content-pack.ts";
import type { CheckpointWriter, ChunkName, LogStore } from "../log-store.ts";
import type { HashedItems } from "./packer.ts";

/**
 * Puts that are worth having under way, 6 MiB of pages: while a commit and the next are written
 * down, which takes the thread that sorts, the threads that pack go on with others.
 */
export const PUTS_UNDER_WAY = 24;
/** About 400 KiB on disk, and a few ms in which nothing else happens on the thread. */
const PUTS_PER_COMMIT = 4;

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

/** A put that was begun and is not written down yet. */
interface Waiting {
  /** Once it is packed: writes it down, a part of a commit. */
  ready: (() => void) | undefined;
  /** After the commit: what has to be done before the next one. */
  readonly repair: () => Promise<void>;
  readonly written: PromiseWithResolvers<void>;
}

/** See the head of this file. Puts reject with what the store throws. */
export class PackedPuts {
  readonly #checkpoint: CheckpointWriter;
  readonly #store: Pick<LogStore, "packer" | "hasContents">;
  readonly #pages: Kind<number>;
  readonly #chunks: Kind<ChunkName>;
  /** Contents that are being packed by their hashes: nobody else needs to. */
  readonly #underWay = new Set<string>();
  /** The last put that was begun is sorted. */
  #sorted: Promise<unknown> = Promise.resolve();
  /** In the order in which they were begun. */
  readonly #waiting: Waiting[] = [];
  #isWriting = false;

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

  async #put<Name>(kind: Kind<Name>, names: readonly Name[], bytes: Uint8Array): Promise<void> {
    assert(bytes.length === names.length * kind.itemBytes, "bytes for each name");
    if (names.length === 0) return;
    const hashing = this.#store.packer.hash(kind.itemBytes, bytes);
    const sorting = this.#sort(settled(this.#sorted), kind, hashing);
    this.#sorted = sorting;
    await this.#write(kind, names, sorting);
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
    kind: Kind<Name>,
    names: readonly Name[],
    sorting: Promise<Sorted>,
  ): Promise<void> {
    let unknown = new Set<Name>();
    const waiting: Waiting = {
      ready: undefined,
      repair: async () => {
        if (unknown.size === 0) return;
        // `gc` has taken them away meanwhile, or the put that packed them has failed.
        const { hashed, full } = await sorting;
        const gone = full.filter((i) => pick(names, [i]).some((name) => unknown.has(name)));
        kind.putPack(pick(names, gone), await hashed.pack(gone));
      },
      written: Promise.withResolvers(),
    };
    this.#waiting.push(waiting);
    try {
      const { hashed, zeros, full, firsts, packing } = await sorting;
      const pack = await packing;
      waiting.ready = () => {
        if (zeros.length > 0) kind.putZeros(pick(names, zeros));
        if (pack !== undefined) kind.putPack(pick(names, firsts), pack);
        const others = full.filter((i) => !firsts.includes(i));
        if (others.length === 0) return;
        unknown = new Set(kind.refer(pick(names, others), pickHashes(hashed.hashes, others)));
      };
    } catch (error) {
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      waiting.written.reject(error);
    }
    void this.#writeDown();
    try {
      await waiting.written.promise;
    } finally {
      await this.#release(sorting);
    }
  }

  async #release(sorting: Promise<Sorted>): Promise<void> {
    const sorted = await sorting.catch(() => undefined);
    for (const key of sorted?.keys ?? []) this.#underWay.delete(key);
    sorted?.hashed.forget();
  }

  /** Writes down what is ready, until what comes next is not. */
  async #writeDown(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    for (let some = this.#takeReady(); some.length > 0; some = this.#takeReady()) {
      if (await this.#commit(some)) continue;
      // One of them fails: the others do not have to.
      for (const one of some) await this.#commit([one]);
    }
    this.#isWriting = false;
  }

  /** The next commit's; none: it is better to wait for more, which are being packed. */
  #takeReady(): Waiting[] {
    const end = this.#waiting.findIndex(({ ready }) => ready === undefined);
    const count = end === -1 ? this.#waiting.length : end;
    const areAll = count === this.#waiting.length;
    return areAll || count >= PUTS_PER_COMMIT ? this.#waiting.splice(0, PUTS_PER_COMMIT) : [];
  }

  /** False: nothing has happened, and each may be tried alone. */
  async #commit(some: readonly Waiting[]): Promise<boolean> {
    try {
      this.#checkpoint.together(() => {
        for (const { ready } of some) ready?.();
      });
    } catch (error) {
      if (some.length > 1) return false;
      for (const { written } of some) written.reject(error);
      return true;
    }
    for (const { repair, written } of some) await repair().then(written.resolve, written.reject);
    return true;
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
