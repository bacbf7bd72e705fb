/**
 * Frees what no checkpoint needs. Marks what the manifests tell of, then goes through the packs, a
 * few to a commit. Whoever refers to a content does so by a new part of a manifest in the commit
 * in which it was found; so each commit here first marks what new parts tell of, and nothing is
 * freed that came into use meanwhile.
 */
import type Database from "better-sqlite3";
import { compressPack, HASH_BYTES, MAX_PACK_ITEMS } from "../content-pack.ts";
import type { GcReport, StoreProgress } from "../log-store.ts";
import {
  consolidateManifest,
  entriesOf,
  type ManifestRow,
  ownPlaces,
  removeCheckpoint,
} from "./checkpoint-table.ts";
import { codecNumber, hashPrefix, liveSlots, type PackRow, unpackRow } from "./content-table.ts";
import type { StoreDatabase } from "./database.ts";
import { failPoint } from "./fail-point.ts";
import { ZERO_CONTENT } from "./manifest-codec.ts";

/** Packs of one commit. */
const SWEEP_PACKS = 64;
/** Parts of a manifest that are not made one. */
const FEW_PARTS = 8;
/** Free database pages that one commit gives back to the file system: 8 MiB. */
const VACUUM_PAGES = 1024;
/** A pack with fewer than this share of its contents in use is written anew. */
const WORTH_REWRITING = 0.5;

/** What only the store knows. */
export interface GcSurroundings {
  /** Whether nobody writes to that lineage: its open checkpoints are leftovers then. */
  readonly mayDrop: (lineage: number) => boolean;
  /** Contents that readers of this process may still want, of checkpoints that are gone, too. */
  readonly pinned: () => Iterable<number>;
}

/** See the head of the file. */
export function* collectGarbage(
  database: StoreDatabase,
  { mayDrop, pinned }: GcSurroundings,
): Generator<StoreProgress, GcReport> {
  dropLeftovers(database, mayDrop);
  failPoint("gc.leftovers-dropped");
  yield { phase: "checkpoints", done: 0, total: 1 };
  const marks = new Marks(database);
  yield* marks.markAll(pinned());

  const total = packCount(database);
  const report = { contentsRemoved: 0, bytesFreed: 0 };
  let [last, done] = [0, 0];
  for (;;) {
    const swept = database.writing("cannot free contents", (sqlite) => {
      marks.markNew();
      const result = sweep(sqlite, last, marks);
      failPoint("gc.before-commit");
      return result;
    });
    failPoint("gc.swept");
    report.contentsRemoved += swept.contentsRemoved;
    report.bytesFreed += swept.bytesFreed;
    if (swept.last === undefined) break;
    last = swept.last;
    done += SWEEP_PACKS;
    yield { phase: "contents", done: Math.min(done, total), total };
  }
  yield* vacuum(database);
  return report;
}

/** Drops open checkpoints of writers that have died. */
function dropLeftovers(database: StoreDatabase, mayDrop: (lineage: number) => boolean): void {
  const open = database.reading("cannot list checkpoints", (sqlite) =>
    sqlite
      .prepare<[], { id: number; lineage: number }>(
        "SELECT id, lineage FROM checkpoints WHERE committed = 0 ORDER BY id DESC",
      )
      .all(),
  );
  const free = new Map<number, boolean>();
  for (const { id, lineage } of open) {
    if (!free.has(lineage)) free.set(lineage, mayDrop(lineage));
    if (free.get(lineage) !== true) continue;
    database.writing("cannot drop a checkpoint", () => removeCheckpoint(database, id));
  }
}

/** Slots of one pack: two words of bits, which are many times faster than one bigint. */
class SlotSet {
  #low = 0;
  #high = 0;

  has(slot: number): boolean {
    const word = slot < 32 ? this.#low : this.#high;
    return (word & (1 << (slot & 31))) !== 0;
  }

  add(slot: number): void {
    if (slot < 32) this.#low |= 1 << slot;
    else this.#high |= 1 << (slot & 31);
  }
}

/** Which contents are in use. */
class Marks {
  readonly #database: StoreDatabase;
  readonly #packs = new Map<number, SlotSet>();
  #lastPart = 0;

  constructor(database: StoreDatabase) {
    this.#database = database;
  }

  /**
   * Marks all that checkpoints have now, each by what counts of it, and corrects what each is said
   * to take up: the contents that no older one has.
   */
  *markAll(pinned: Iterable<number>): Generator<StoreProgress> {
    const database = this.#database;
    // What comes after this part is marked by `markNew`, whatever counts of it.
    this.#lastPart = database.reading("cannot read manifests", newestPart);
    const checkpoints = database.reading("cannot list checkpoints", (sqlite) =>
      sqlite
        .prepare<[], { id: number; parts: number }>(
          "SELECT checkpoint AS id, count(*) AS parts FROM manifests GROUP BY checkpoint",
        )
        .all(),
    );
    const sizes = itemSizes(database);
    for (const [i, { id, parts }] of checkpoints.entries()) {
      const places = database.writing("cannot tidy a manifest", () => {
        if (parts > FEW_PARTS && isCommitted(database, id)) consolidateManifest(database, id);
        return ownPlaces(database, id);
      });
      let fresh = 0;
      for (const content of places.values()) {
        if (this.#mark(content)) fresh += sizes.get(Math.floor(content / MAX_PACK_ITEMS)) ?? 0;
      }
      database.writing("cannot tidy a checkpoint", (sqlite) =>
        sqlite
          .prepare("UPDATE checkpoints SET stored_bytes = length(state) + ? WHERE id = ?")
          .run(Math.round(fresh), id),
      );
      yield { phase: "checkpoints", done: i + 1, total: checkpoints.length };
    }
    for (const content of pinned) this.#mark(content);
  }

  /** Marks what parts tell of that came since. Within a transaction. */
  markNew(): void {
    const parts = this.#database.sqlite
      .prepare<[number], ManifestRow>("SELECT * FROM manifests WHERE id > ? ORDER BY id")
      .all(this.#lastPart);
    for (const part of parts) {
      for (const [, content] of entriesOf(part)) this.#mark(content);
      this.#lastPart = part.id;
    }
  }

  has(pack: number, slot: number): boolean {
    return this.#packs.get(pack)?.has(slot) === true;
  }

  /** Answers whether it is the first to mark it. */
  #mark(content: number): boolean {
    if (content === ZERO_CONTENT) return false;
    const pack = Math.floor(content / MAX_PACK_ITEMS);
    const slot = content % MAX_PACK_ITEMS;
    let slots = this.#packs.get(pack);
    if (slots === undefined) this.#packs.set(pack, (slots = new SlotSet()));
    if (slots.has(slot)) return false;
    slots.add(slot);
    return true;
  }
}

/** Stored bytes of an item of each pack, on average. */
function itemSizes(database: StoreDatabase): Map<number, number> {
  const rows = database.reading("cannot measure packs", (sqlite) =>
    sqlite
      .prepare<[], { id: number; bytes: number; items: number }>(
        `SELECT id, length(data) + length(hashes) AS bytes, length(hashes) / ${HASH_BYTES} AS items
         FROM packs`,
      )
      .all(),
  );
  return new Map(rows.map(({ id, bytes, items }) => [id, bytes / Math.max(1, items)]));
}

function newestPart(sqlite: Database.Database): number {
  const row = sqlite
    .prepare<[], { id: number }>("SELECT coalesce(max(id), 0) AS id FROM manifests")
    .get();
  return row?.id ?? 0;
}

function isCommitted(database: StoreDatabase, checkpoint: number): boolean {
  const row = database.sqlite
    .prepare<[number], { committed: number }>("SELECT committed FROM checkpoints WHERE id = ?")
    .get(checkpoint);
  return row?.committed === 1;
}

function packCount(database: StoreDatabase): number {
  const row = database.reading("cannot count packs", (sqlite) =>
    sqlite.prepare<[], { n: number }>("SELECT count(*) AS n FROM packs").get(),
  );
  return row?.n ?? 0;
}

/** Goes through some packs after `after`; `last` undefined: there are no more. */
function sweep(
  sqlite: Database.Database,
  after: number,
  marks: Marks,
): GcReport & { readonly last: number | undefined } {
  const packs = sqlite
    .prepare<[number], { id: number; hashes: Buffer; bytes: number }>(
      `SELECT id, hashes, length(data) + length(hashes) AS bytes FROM packs WHERE id > ?
       ORDER BY id LIMIT ${SWEEP_PACKS}`,
    )
    .all(after);
  let [contentsRemoved, bytesFreed] = [0, 0];
  for (const { id, hashes, bytes } of packs) {
    const live = liveSlots(hashes);
    const dead = live.filter((slot) => !marks.has(id, slot));
    if (dead.length === 0) continue;
    const left = live.length - dead.length;
    if (left > live.length * WORTH_REWRITING) continue;
    contentsRemoved += dead.length;
    forget(sqlite, id, hashes, dead);
    if (left > 0) {
      bytesFreed += bytes - rewrite(sqlite, id, new Set(dead));
      continue;
    }
    sqlite.prepare<[number]>("DELETE FROM packs WHERE id = ?").run(id);
    bytesFreed += bytes;
  }
  return { contentsRemoved, bytesFreed, last: packs.at(-1)?.id };
}

/** Takes contents out of the index. */
function forget(
  sqlite: Database.Database,
  pack: number,
  hashes: Uint8Array,
  slots: readonly number[],
): void {
  const remove = sqlite.prepare<[number, number]>(
    "DELETE FROM content_index WHERE prefix = ? AND content = ?",
  );
  for (const slot of slots) {
    remove.run(hashPrefix(hashes.subarray(slot * HASH_BYTES)), pack * MAX_PACK_ITEMS + slot);
  }
}

/** Writes a pack anew without some of its contents; answers the bytes that it takes now. */
function rewrite(sqlite: Database.Database, id: number, dead: ReadonlySet<number>): number {
  const row = sqlite
    .prepare<[number], PackRow>(
      "SELECT id, item_bytes, codec, hashes, data FROM packs WHERE id = ?",
    )
    .get(id);
  if (row === undefined) return 0;
  const bytes = unpackRow(row);
  const hashes = Buffer.from(row.hashes);
  const kept: Uint8Array[] = [];
  for (const [index, slot] of liveSlots(row.hashes).entries()) {
    const item = bytes.subarray(index * row.item_bytes, (index + 1) * row.item_bytes);
    if (dead.has(slot)) hashes.fill(0, slot * HASH_BYTES, (slot + 1) * HASH_BYTES);
    else kept.push(item);
  }
  const whole = Buffer.concat(kept);
  const { codec, data } = compressPack({ itemBytes: row.item_bytes, hashes, bytes: whole });
  sqlite
    .prepare("UPDATE packs SET codec = ?, hashes = ?, data = ? WHERE id = ?")
    .run(codecNumber(codec), hashes, data, id);
  return hashes.length + data.length;
}

/** Gives free pages of the database back to the file system. */
function* vacuum(database: StoreDatabase): Generator<StoreProgress> {
  const count = (): number =>
    database.reading("cannot count free pages", (sqlite) =>
      Number(sqlite.pragma("freelist_count", { simple: true })),
    );
  const total = count();
  for (let free = total; free > 0; ) {
    database.reading("cannot give space back", (sqlite) =>
      sqlite.pragma(`incremental_vacuum(${VACUUM_PAGES})`),
    );
    failPoint("gc.vacuumed");
    const left = count();
    yield { phase: "space", done: total - left, total };
    if (left >= free) return;
    free = left;
  }
}
