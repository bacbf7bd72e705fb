/**
 * Puts pages and chunks of an open checkpoint while another thread hashes and compresses them. What
 * is zeros or what the store has costs a hash; several puts may be under way, and they take effect
 * in their order.
 */
import { assert } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import { type ContentPack, HASH_BYTES, hexHash, sha256 } from "../content-pack.ts";
import type { CheckpointWriter, ChunkName } from "../log-store.ts";
import type { HashedItems, Packer } from "./packer.ts";

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

/** See the head of this file. Puts reject with what the store throws. */
export class PackedPuts {
  readonly #packer: Packer;
  readonly #pages: Kind<number>;
  readonly #chunks: Kind<ChunkName>;
  /** The last put that was begun. */
  #last: Promise<void> = Promise.resolve();

  constructor({ checkpoint, packer }: { checkpoint: CheckpointWriter; packer: Packer }) {
    this.#packer = packer;
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
    const hashing = this.#packer.hash(kind.itemBytes, bytes);
    const before = this.#last.catch(() => undefined);
    this.#last = storeAfter(before, kind, names, hashing);
    // Whoever put it hears of a failure; the next one only waits for the end.
    this.#last.catch(() => undefined);
    return this.#last;
  }
}

async function storeAfter<Name>(
  before: Promise<void>,
  kind: Kind<Name>,
  names: readonly Name[],
  hashing: Promise<HashedItems>,
): Promise<void> {
  const hashed = await hashing;
  await before;
  await store(kind, names, hashed);
}

async function store<Name>(
  kind: Kind<Name>,
  names: readonly Name[],
  hashed: HashedItems,
): Promise<void> {
  const keys = names.map((_, i) => hexHash(hashed.hashes, i));
  let missing: number[] = [];
  try {
    const [zeros, full] = parted([...names.keys()], (i) => keys[i] === kind.zeroHash);
    if (zeros.length > 0) kind.putZeros(pick(names, zeros));
    const unknown = new Set(kind.refer(pick(names, full), pickHashes(hashed.hashes, full)));
    missing = full.filter((i) => pick(names, [i]).some((name) => unknown.has(name)));
  } finally {
    if (missing.length === 0) hashed.forget();
  }
  if (missing.length === 0) return;
  const [firsts, others] = parted(missing, (i) => keys.indexOf(keys[i] ?? "") === i);
  kind.putPack(pick(names, firsts), await hashed.pack(firsts));
  if (others.length > 0) kind.refer(pick(names, others), pickHashes(hashed.hashes, others));
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
