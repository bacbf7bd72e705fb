/**
 * Pages and chunks, each once. They lie in packs, appended by number; content `n` is item `n % 64`
 * of pack `n / 64`. The side index leads from the first 48 bits of a sha256 to contents that may
 * have it; the whole hash beside the pack decides. New contents enter the index in large sorted
 * batches (each would otherwise dirty a page of it); until then memory knows them, and whoever
 * opens the store reads the hashes of the packs that are not in the index yet.
 */
import type Database from "better-sqlite3";
import { type ContentPack, HASH_BYTES, MAX_PACK_ITEMS, unpack } from "../content-pack.ts";
import { storeError } from "../store-errors.ts";
import { failPoint } from "./fail-point.ts";

/** Contents that wait in memory for the index at most: 64 MiB of pages. */
const MAX_UNINDEXED = 16_384;
/** Packs that are kept unpacked: pages are mostly read in the order in which they were written. */
const CACHED_PACKS = 16;
const PREFIX_BYTES = 6;
/** Rows that enter the index by one statement: each alone takes 1.7 times as long. */
const ROWS_PER_INSERT = 64;

const CODECS = ["raw", "zstd"] as const;

/** A row of `packs`, as it is. */
export interface PackRow {
  readonly id: number;
  readonly item_bytes: number;
  readonly codec: number;
  readonly hashes: Buffer;
  readonly data: Buffer;
}

interface UnpackedPack {
  readonly row: PackRow;
  readonly bytes: Uint8Array;
  readonly live: readonly number[];
}

/** The slots of a pack that have contents; `gc` makes the hashes of the others zeros. */
export function liveSlots(hashes: Uint8Array): number[] {
  const live: number[] = [];
  for (let slot = 0; slot * HASH_BYTES < hashes.length; slot++) {
    const hash = hashes.subarray(slot * HASH_BYTES, (slot + 1) * HASH_BYTES);
    if (hash.some((byte) => byte !== 0)) live.push(slot);
  }
  return live;
}

/** A hash's part that the index goes by. */
export function hashPrefix(hash: Uint8Array): number {
  return Buffer.from(hash.buffer, hash.byteOffset, HASH_BYTES).readUIntBE(0, PREFIX_BYTES);
}

/** The same of each of the hashes that stand one after the other. */
function hashPrefixes(hashes: Uint8Array): number[] {
  const bytes = Buffer.from(hashes.buffer, hashes.byteOffset, hashes.length);
  return Array.from({ length: hashes.length / HASH_BYTES }, (_, i) =>
    bytes.readUIntBE(i * HASH_BYTES, PREFIX_BYTES),
  );
}

/** Everything about contents, on one connection. */
export class ContentTable {
  readonly #byPrefixes: Database.Statement<number[], { prefix: number; content: number }>;
  readonly #hashOf: Database.Statement<[number, number], { hash: Buffer; item_bytes: number }>;
  readonly #newHashes: Database.Statement<[number], { id: number; hashes: Buffer }>;
  readonly #pack: Database.Statement<[number], PackRow>;
  readonly #insert: Database.Statement<[number, number, Uint8Array, Uint8Array]>;
  readonly #insertIndex: Database.Statement<number[]>;
  readonly #insertIndexRows: Database.Statement<number[]>;
  readonly #indexed: Database.Statement<[], { pack: number }>;
  readonly #setIndexed: Database.Statement<[number]>;
  /**
   * Contents by prefix that are not in the index, or were not when they were read; nearly always
   * one alone.
   */
  readonly #recent = new Map<number, number | number[]>();
  #recentCount = 0;
  /** Packs up to this one are in `#recent` or in the index. */
  #seenPack = 0;
  /** Packs up to this one are in the index, as of the last `refresh`. */
  #indexedPack = 0;
  readonly #unpacked = new Map<number, UnpackedPack>();

  constructor(sqlite: Database.Database) {
    const prefixes = Array.from({ length: MAX_PACK_ITEMS }, () => "?").join(", ");
    this.#byPrefixes = sqlite.prepare(
      `SELECT prefix, content FROM content_index WHERE prefix IN (${prefixes})`,
    );
    this.#hashOf = sqlite.prepare(
      "SELECT substr(hashes, ?, 32) AS hash, item_bytes FROM packs WHERE id = ?",
    );
    this.#newHashes = sqlite.prepare("SELECT id, hashes FROM packs WHERE id > ? ORDER BY id");
    this.#pack = sqlite.prepare(
      "SELECT id, item_bytes, codec, hashes, data FROM packs WHERE id = ?",
    );
    this.#insert = sqlite.prepare(
      "INSERT INTO packs (item_bytes, codec, hashes, data) VALUES (?, ?, ?, ?)",
    );
    const insertRows = (count: number): Database.Statement<number[]> => {
      const rows = Array.from({ length: count }, () => "(?, ?)").join(", ");
      return sqlite.prepare(`INSERT OR IGNORE INTO content_index (prefix, content) VALUES ${rows}`);
    };
    this.#insertIndex = insertRows(1);
    this.#insertIndexRows = insertRows(ROWS_PER_INSERT);
    this.#indexed = sqlite.prepare("SELECT pack FROM indexed");
    this.#setIndexed = sqlite.prepare("UPDATE indexed SET pack = ?");
  }

  /** Takes notice of what others have added. Call it at the begin of a transaction that looks. */
  refresh(): void {
    this.#indexedPack = this.#indexed.get()?.pack ?? 0;
    if (this.#seenPack === 0) this.#seenPack = this.#indexedPack;
    for (const { id, hashes } of this.#newHashes.iterate(this.#seenPack)) {
      this.#remember(id, hashes);
    }
  }

  /** The content with that hash and size, if there is one. `refresh` comes before. */
  find(hash: Uint8Array, itemBytes: number | undefined): number | undefined {
    return this.findAll(hash.subarray(0, HASH_BYTES), itemBytes)[0];
  }

  /** The same for hashes that stand one after the other: one query for many. */
  findAll(hashes: Uint8Array, itemBytes: number | undefined): (number | undefined)[] {
    const found: (number | undefined)[] = [];
    for (let at = 0; at < hashes.length; at += MAX_PACK_ITEMS * HASH_BYTES) {
      found.push(
        ...this.#findSome(hashes.subarray(at, at + MAX_PACK_ITEMS * HASH_BYTES), itemBytes),
      );
    }
    return found;
  }

  #findSome(hashes: Uint8Array, itemBytes: number | undefined): (number | undefined)[] {
    const prefixes = hashPrefixes(hashes);
    const indexed = this.#findIndexed(prefixes);
    return prefixes.map((prefix, i) => {
      const [recent, earlier] = [this.#recent.get(prefix), indexed.get(prefix)];
      // So it is with nearly all contents that come.
      if (recent === undefined && earlier === undefined) return undefined;
      const hash = hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES);
      const known = [...listOf(recent), ...(earlier ?? [])];
      return known.find((content) => this.#isContent(content, hash, itemBytes));
    });
  }

  /** By prefix; at most MAX_PACK_ITEMS of those. */
  #findIndexed(prefixes: readonly number[]): Map<number, number[]> {
    const indexed = new Map<number, number[]>();
    if (this.#indexedPack === 0) return indexed;
    // The statement has a fixed number of places; one prefix asked for twice is found once.
    const asked = Array.from({ length: MAX_PACK_ITEMS }, (_, i) => prefixes[i] ?? prefixes[0] ?? 0);
    for (const { prefix, content } of this.#byPrefixes.all(...asked)) {
      indexed.set(prefix, [...(indexed.get(prefix) ?? []), content]);
    }
    return indexed;
  }

  #isContent(content: number, hash: Uint8Array, itemBytes: number | undefined): boolean {
    const row = this.#hashOf.get(
      (content % MAX_PACK_ITEMS) * HASH_BYTES + 1,
      Math.floor(content / MAX_PACK_ITEMS),
    );
    if (row === undefined || Buffer.compare(row.hash, hash) !== 0) return false;
    return itemBytes === undefined || row.item_bytes === itemBytes;
  }

  /** Adds a pack; answers the number of its first item, and the bytes that it takes. */
  add({ itemBytes, codec, hashes, data }: ContentPack): { content: number; storedBytes: number } {
    const { lastInsertRowid } = this.#insert.run(itemBytes, CODECS.indexOf(codec), hashes, data);
    const id = Number(lastInsertRowid);
    this.#remember(id, hashes);
    return { content: id * MAX_PACK_ITEMS, storedBytes: hashes.length + data.length };
  }

  /** Moves what waits into the index if it is much. Within a transaction. */
  flushIndex(): void {
    if (this.#recentCount < MAX_UNINDEXED) return;
    let rows: number[] = [];
    for (const prefix of Float64Array.from(this.#recent.keys()).sort()) {
      for (const content of listOf(this.#recent.get(prefix))) rows.push(prefix, content);
      if (rows.length < 2 * ROWS_PER_INSERT) continue;
      this.#insertIndexRows.run(...rows.slice(0, 2 * ROWS_PER_INSERT));
      rows = rows.slice(2 * ROWS_PER_INSERT);
    }
    for (let i = 0; i < rows.length; i += 2) this.#insertIndex.run(...rows.slice(i, i + 2));
    this.#setIndexed.run(this.#seenPack);
    this.#indexedPack = this.#seenPack;
    failPoint("index.before-commit");
  }

  /** The transaction with `flushIndex` is committed. */
  indexFlushed(): void {
    if (this.#recentCount < MAX_UNINDEXED) return;
    this.#recent.clear();
    this.#recentCount = 0;
  }

  /** A transaction that added was rolled back: forget what it added. */
  forget(): void {
    this.#recent.clear();
    this.#recentCount = 0;
    this.#seenPack = 0;
    this.#unpacked.clear();
  }

  /** The content's sha256. Throws E_STORE_CORRUPT if there is no such content. */
  hashOf(content: number): Uint8Array {
    const at = (content % MAX_PACK_ITEMS) * HASH_BYTES + 1;
    const row = this.#hashOf.get(at, Math.floor(content / MAX_PACK_ITEMS));
    if (row?.hash.some((byte) => byte !== 0) === true) return row.hash;
    throw storeError("E_STORE_CORRUPT", `content ${content} is missing`);
  }

  /** A view of the content's bytes, valid until the next call. Throws E_STORE_CORRUPT. */
  read(content: number): Uint8Array {
    const { row, bytes, index } = this.#open(content);
    return bytes.subarray(index * row.item_bytes, (index + 1) * row.item_bytes);
  }

  #open(content: number): UnpackedPack & { readonly index: number } {
    const id = Math.floor(content / MAX_PACK_ITEMS);
    const slot = content % MAX_PACK_ITEMS;
    const cached = this.#unpacked.get(id) ?? this.#load(id);
    const index = cached.live.indexOf(slot);
    if (index !== -1) return { ...cached, index };
    throw storeError("E_STORE_CORRUPT", `content ${content} is not in its pack`);
  }

  #load(id: number): UnpackedPack {
    const row = this.#pack.get(id);
    if (row === undefined) throw storeError("E_STORE_CORRUPT", `pack ${id} is missing`);
    const loaded = { row, bytes: unpackRow(row), live: liveSlots(row.hashes) };
    if (this.#unpacked.size >= CACHED_PACKS) {
      const [oldest] = this.#unpacked.keys();
      if (oldest !== undefined) this.#unpacked.delete(oldest);
    }
    this.#unpacked.set(id, loaded);
    return loaded;
  }

  #remember(id: number, hashes: Uint8Array): void {
    for (const [slot, prefix] of hashPrefixes(hashes).entries()) {
      const content = id * MAX_PACK_ITEMS + slot;
      const known = this.#recent.get(prefix);
      this.#recent.set(prefix, known === undefined ? content : [...listOf(known), content]);
      this.#recentCount++;
    }
    this.#seenPack = Math.max(this.#seenPack, id);
  }
}

function listOf(contents: number | readonly number[] | undefined): readonly number[] {
  if (contents === undefined) return [];
  return typeof contents === "number" ? [contents] : contents;
}

/** The live items of a pack, one after the other. Throws E_STORE_CORRUPT. */
export function unpackRow(row: PackRow): Uint8Array {
  const codec = CODECS[row.codec];
  const count = row.hashes.length / HASH_BYTES;
  if (codec === undefined || !Number.isInteger(count) || count < 1 || count > MAX_PACK_ITEMS) {
    throw storeError("E_STORE_CORRUPT", `pack ${row.id} is damaged`);
  }
  const hashes = row.hashes.subarray(0, liveSlots(row.hashes).length * HASH_BYTES);
  return unpack({ itemBytes: row.item_bytes, hashes, codec, data: row.data });
}

/** The number that stands for a codec in `packs.codec`. */
export function codecNumber(codec: ContentPack["codec"]): number {
  return CODECS.indexOf(codec);
}
