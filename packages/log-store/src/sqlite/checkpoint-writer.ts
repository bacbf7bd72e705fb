/** Writes one checkpoint into the database; each put is a commit of its own. */
import { assert } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import {
  type ContentPack,
  compressPack,
  HASH_BYTES,
  MAX_PACK_BYTES,
  MAX_PACK_ITEMS,
  sha256,
} from "../content-pack.ts";
import type {
  CheckpointId,
  CheckpointInfo,
  CheckpointWriter,
  ChunkChange,
  ChunkName,
  LineageId,
} from "../log-store.ts";
import { chunkPlace, pagePlace } from "../places.ts";
import { checkChunk, checkPages } from "../rules.ts";
import { storeError, unknownCheckpointError } from "../store-errors.ts";
import {
  checkpointInfo,
  checkpointRow,
  insertManifest,
  removeCheckpoint,
} from "./checkpoint-table.ts";
import type { ContentTable } from "./content-table.ts";
import type { StoreDatabase } from "./database.ts";
import { failPoint } from "./fail-point.ts";
import { type ManifestEntry, ZERO_CONTENT } from "./manifest-codec.ts";

/** Items of one commit: 4 MiB of pages. Bounds how long others wait for the database. */
const PUT_BYTES = 4 << 20;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** What a checkpoint's writer works on. */
export interface CheckpointWriterParts {
  readonly database: StoreDatabase;
  readonly contents: ContentTable;
  readonly lineage: LineageId;
  readonly id: CheckpointId;
  readonly memoryPages: number;
  /** Throws unless the lineage's writer may still write. */
  readonly checkHeld: () => void;
  /** What the checkpoint goes on from is in the database, too. */
  readonly beforeCommit: () => void;
  /** It is committed or abandoned. */
  readonly done: () => void;
}

/** Items of equal size that are about to be put. */
interface Items {
  readonly itemBytes: number;
  readonly places: readonly number[];
  readonly item: (index: number) => Uint8Array;
}

/** A `CheckpointWriter` on SQLite. */
export class SqliteCheckpointWriter implements CheckpointWriter {
  readonly #parts: CheckpointWriterParts;
  #state: "open" | "committed" | "abandoned" = "open";
  /** Of the puts that are one commit. */
  #together: ManifestEntry[] | undefined;

  constructor(parts: CheckpointWriterParts) {
    this.#parts = parts;
  }

  get id(): CheckpointId {
    return this.#parts.id;
  }

  putPages(pages: Uint32Array, bytes: Uint8Array): void {
    this.#check();
    checkPages(pages, this.#parts.memoryPages, bytes);
    this.#putItems({
      itemBytes: PAGE_BYTES,
      places: Array.from(pages, pagePlace),
      item: (i) => bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES),
    });
  }

  putZeroPages(pages: Uint32Array): void {
    this.#check();
    checkPages(pages, this.#parts.memoryPages);
    this.#put(() => Array.from(pages, (page) => [pagePlace(page), ZERO_CONTENT]));
  }

  putChunks(chunks: readonly ChunkChange[]): void {
    this.#check();
    for (const change of chunks) checkChunk(change);
    this.#putItems({
      itemBytes: CHUNK_BYTES,
      places: chunks.map(placeOfChunk),
      item: (i) => chunks[i]?.bytes ?? ZEROS,
    });
  }

  putPackedPages(pages: Uint32Array, pack: ContentPack): void {
    this.#check();
    checkPages(pages, this.#parts.memoryPages);
    assert(pack.itemBytes === PAGE_BYTES, "the pack has pages");
    this.#putPack(Array.from(pages, pagePlace), pack);
  }

  putPackedChunks(chunks: readonly ChunkName[], pack: ContentPack): void {
    this.#check();
    for (const name of chunks) checkChunk({ ...name, bytes: undefined });
    assert(pack.itemBytes === CHUNK_BYTES, "the pack has chunks");
    this.#putPack(chunks.map(placeOfChunk), pack);
  }

  together(puts: () => void): void {
    this.#check();
    assert(this.#together === undefined, "puts are put together once");
    const entries: ManifestEntry[] = [];
    this.#put(() => {
      this.#together = entries;
      try {
        puts();
      } finally {
        this.#together = undefined;
      }
      return entries;
    });
  }

  referPages(pages: Uint32Array, hashes: Uint8Array): Uint32Array {
    this.#check();
    checkPages(pages, this.#parts.memoryPages);
    const known = this.#refer(Array.from(pages, pagePlace), hashes, PAGE_BYTES);
    return pages.filter((_, i) => known[i] === undefined);
  }

  referChunks(chunks: readonly ChunkName[], hashes: Uint8Array): ChunkName[] {
    this.#check();
    for (const name of chunks) checkChunk({ ...name, bytes: undefined });
    const known = this.#refer(chunks.map(placeOfChunk), hashes, CHUNK_BYTES);
    return chunks.filter((_, i) => known[i] === undefined);
  }

  commit(): CheckpointInfo {
    this.#check();
    const { database, id, beforeCommit, done } = this.#parts;
    beforeCommit();
    const info = database.writing("cannot commit a checkpoint", (sqlite) => {
      const row = checkpointRow(database, id);
      if (row === undefined) throw unknownCheckpointError(id);
      const parent = row.parent === null ? undefined : checkpointRow(database, Number(row.parent));
      if (parent !== undefined && parent.committed === 0n) foldOpen(database, Number(parent.id));
      sqlite
        .prepare(
          `UPDATE checkpoints SET committed = 1, changes =
           (SELECT coalesce(sum(entry_count), 0) FROM manifests WHERE checkpoint = @id)
           WHERE id = @id`,
        )
        .run({ id });
      failPoint("checkpoint.before-commit");
      return checkpointRow(database, id);
    });
    failPoint("checkpoint.committed");
    if (info === undefined) throw unknownCheckpointError(id);
    this.#state = "committed";
    done();
    return checkpointInfo(info);
  }

  abandon(): void {
    if (this.#state !== "open") return;
    this.#state = "abandoned";
    const { database, id, done } = this.#parts;
    done();
    database.writing("cannot abandon a checkpoint", () => removeCheckpoint(database, id));
  }

  /** An increment that was based on this one has taken it over. */
  takenOver(): void {
    this.#state = "abandoned";
    this.#parts.done();
  }

  #putPack(places: readonly number[], pack: ContentPack): void {
    const { itemBytes, hashes } = pack;
    assert(hashes.length === places.length * HASH_BYTES, "a place for each item of the pack");
    assert(places.length <= MAX_PACK_ITEMS, "a pack within its limits");
    const { contents } = this.#parts;
    this.#put(() => {
      const known = contents.findAll(hashes, itemBytes);
      const isNew = known.includes(undefined);
      const added = isNew ? contents.add(pack) : { content: 0, storedBytes: 0 };
      this.#addStored(added.storedBytes);
      return places.map((place, i) => [place, known[i] ?? added.content + i]);
    });
  }

  /** Puts those that are known; answers the content of each. */
  #refer(
    places: readonly number[],
    hashes: Uint8Array,
    itemBytes: number,
  ): readonly (number | undefined)[] {
    assert(hashes.length === places.length * HASH_BYTES, "a hash for each place");
    const { contents } = this.#parts;
    let known: readonly (number | undefined)[] = [];
    this.#put(() => {
      known = contents.findAll(hashes, itemBytes);
      return places.flatMap((place, i) => {
        const content = known[i];
        return content === undefined ? [] : [[place, content] as const];
      });
    });
    return known;
  }

  #putItems(items: Items): void {
    const perCommit = Math.floor(PUT_BYTES / items.itemBytes);
    for (let from = 0; from < items.places.length; from += perCommit) {
      this.#putSome(items, from, Math.min(from + perCommit, items.places.length));
    }
  }

  #putSome({ itemBytes, places, item }: Items, from: number, to: number): void {
    const zeros = ZEROS.subarray(0, itemBytes);
    const found = places.slice(from, to).map((place, i) => {
      const bytes = item(from + i);
      if (zeros.equals(bytes)) return { place };
      const hash = sha256(bytes);
      return { place, content: { key: keyOf(hash), hash, bytes } };
    });
    const { contents } = this.#parts;
    this.#put(() => {
      const entries: ManifestEntry[] = [];
      const fresh = new Fresh(itemBytes);
      for (const { place, content } of found) {
        if (content === undefined) {
          entries.push([place, ZERO_CONTENT]);
          continue;
        }
        const isNew = !fresh.has(content.key);
        const known = isNew ? contents.find(content.hash, itemBytes) : undefined;
        if (known === undefined) fresh.add(place, content);
        else entries.push([place, known]);
      }
      for (const { pack, users } of fresh.packs()) {
        const { content, storedBytes } = contents.add(pack);
        this.#addStored(storedBytes);
        for (const [place, slot] of users) entries.push([place, content + slot]);
      }
      return entries;
    });
  }

  /** One commit: `prepare` says which contents lie where. */
  #put(prepare: () => ManifestEntry[]): void {
    if (this.#together !== undefined) {
      for (const entry of prepare()) this.#together.push(entry);
      return;
    }
    const { database, contents, id } = this.#parts;
    try {
      database.writing("cannot write a checkpoint", () => {
        contents.refresh();
        insertManifest(database, id, prepare());
        contents.flushIndex();
      });
    } catch (error) {
      contents.forget();
      throw error;
    }
    contents.indexFlushed();
    failPoint("checkpoint.pages-put");
  }

  #addStored(bytes: number): void {
    if (bytes === 0) return;
    this.#parts.database
      .statement("UPDATE checkpoints SET stored_bytes = stored_bytes + ? WHERE id = ?")
      .run(bytes, this.id);
  }

  #check(): void {
    this.#parts.checkHeld();
    if (this.#state === "open") return;
    const message = `cannot write to checkpoint ${this.id}: it is ${this.#state}`;
    throw storeError("E_STORE_CHECKPOINT", message);
  }
}

/** A page or chunk that is not zero. */
interface NewContent {
  /** Its hash as a string, to look it up. */
  readonly key: string;
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
}

/** Contents that the store has not, each once, in packs. */
class Fresh {
  readonly #itemBytes: number;
  readonly #items: NewContent[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #users: [place: number, item: number][] = [];

  constructor(itemBytes: number) {
    this.#itemBytes = itemBytes;
  }

  has(key: string): boolean {
    return this.#numbers.has(key);
  }

  add(place: number, content: NewContent): void {
    let number = this.#numbers.get(content.key);
    if (number === undefined) {
      number = this.#items.push(content) - 1;
      this.#numbers.set(content.key, number);
    }
    this.#users.push([place, number]);
  }

  /** Packs, and who uses which of their items. */
  packs(): { readonly pack: ContentPack; readonly users: [place: number, slot: number][] }[] {
    const perPack = Math.min(MAX_PACK_ITEMS, Math.floor(MAX_PACK_BYTES / this.#itemBytes));
    const packs = [];
    for (let from = 0; from < this.#items.length; from += perPack) {
      const items = this.#items.slice(from, from + perPack);
      const pack = compressPack({
        itemBytes: this.#itemBytes,
        hashes: Buffer.concat(items.map(({ hash }) => hash)),
        bytes: together(items.map(({ bytes }) => bytes)),
      });
      packs.push({ pack, users: new Array<[place: number, slot: number]>() });
    }
    for (const [place, item] of this.#users) {
      packs[Math.floor(item / perPack)]?.users.push([place, item % perPack]);
    }
    return packs;
  }
}

/** Pieces one after the other; as they are where they stand so already. */
function together(pieces: readonly Uint8Array[]): Uint8Array {
  const [first] = pieces;
  let end = first?.byteOffset ?? 0;
  let size = 0;
  const adjacent = pieces.every((piece) => {
    const follows = piece.buffer === first?.buffer && piece.byteOffset === end;
    end += piece.length;
    size += piece.length;
    return follows;
  });
  if (first === undefined || !adjacent) return Buffer.concat(pieces);
  return new Uint8Array(first.buffer, first.byteOffset, size);
}

function placeOfChunk({ disk, chunk }: ChunkName): number {
  return chunkPlace(disk, chunk);
}

function keyOf(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, HASH_BYTES).toString("latin1");
}

/** What an open parent and its open ancestors have put becomes part of its children. */
function foldOpen(database: StoreDatabase, parent: number): void {
  const above = checkpointRow(database, parent)?.parent ?? null;
  const grandparent = above === null ? undefined : checkpointRow(database, Number(above));
  if (grandparent?.committed === 0n) foldOpen(database, Number(above));
  removeCheckpoint(database, parent);
}
