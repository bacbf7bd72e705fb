/** Rows of checkpoints and of the parts of their manifests. */
import { position, ticks } from "@dejavm/machine";
import { compress, decompress } from "../content-pack.ts";
import { MAX_STATE_BYTES } from "../limits.ts";
import type { CheckpointId, CheckpointInfo, LineageId, NewCheckpoint } from "../log-store.ts";
import { storeError, unknownCheckpointError } from "../store-errors.ts";
import type { StoreDatabase } from "./database.ts";
import {
  decodeEntries,
  encodeEntries,
  type ManifestEntry,
  ZERO_CONTENT,
} from "./manifest-codec.ts";
import { rowCheck } from "./row-check.ts";

/** A row of `checkpoints` without its state. */
export interface CheckpointRow {
  readonly id: bigint;
  readonly lineage: bigint;
  readonly uid: LineageId;
  readonly parent: bigint | null;
  readonly committed: bigint;
  readonly position: bigint;
  readonly ticks: bigint;
  readonly trace_sequence: bigint;
  readonly trace_position: bigint;
  readonly trace_ticks: bigint;
  readonly trace_chain: Buffer;
  readonly memory_pages: bigint;
  readonly created_at_ms: bigint;
  readonly changes: bigint;
  readonly stored_bytes: bigint;
  readonly state_bytes: bigint;
  readonly crc: bigint;
}

/** A row of `manifests`, as it is. */
export interface ManifestRow {
  readonly id: number;
  readonly checkpoint: number;
  readonly ordinal: number;
  readonly entry_count: number;
  readonly entries: Buffer;
  readonly crc: number;
}

const COLUMNS = `checkpoints.id, lineage, lineages.uid, parent, committed, position, ticks,
  trace_sequence, trace_position, trace_ticks, trace_chain, memory_pages,
  checkpoints.created_at_ms, changes, stored_bytes, state_bytes, checkpoints.crc`;
const FROM = "FROM checkpoints JOIN lineages ON lineages.id = checkpoints.lineage";
/** A checkpoint's ancestors are fewer than the ring has entries; this stops a damaged circle. */
const MAX_DEPTH = 10_000;

/**
 * What `crc` of a row must be. It covers what never changes; parent, commit and sizes change, and
 * `verify` checks them against what they tell of.
 */
function checkpointCheck(row: CheckpointRow, state: Uint8Array): number {
  return rowCheck([
    row.id,
    row.lineage,
    row.position,
    row.ticks,
    row.trace_sequence,
    row.trace_position,
    row.trace_ticks,
    row.trace_chain,
    row.memory_pages,
    row.created_at_ms,
    row.state_bytes,
    state,
  ]);
}

/** What `crc` of a part must be. */
function manifestCheck(entryCount: number, entries: Uint8Array): number {
  return rowCheck([entryCount, entries]);
}

/** A row as lists show it. */
export function checkpointInfo(row: CheckpointRow): CheckpointInfo {
  return {
    id: Number(row.id) as CheckpointId,
    lineage: row.uid,
    parent: row.parent === null ? undefined : (Number(row.parent) as CheckpointId),
    position: position(row.position),
    ticks: ticks(row.ticks),
    trace: {
      sequence: Number(row.trace_sequence),
      position: position(row.trace_position),
      ticks: ticks(row.trace_ticks),
      chain: new Uint8Array(row.trace_chain),
    },
    memoryPages: Number(row.memory_pages),
    createdAtMs: Number(row.created_at_ms),
    changes: Number(row.changes),
  };
}

/** Adds a checkpoint that is not committed. Within a transaction. */
export function insertCheckpoint(
  database: StoreDatabase,
  lineage: number,
  checkpoint: NewCheckpoint,
  nowMs: number,
): CheckpointId {
  const { trace, parent, state } = checkpoint;
  const packed = compress(state);
  const { sqlite } = database;
  const { lastInsertRowid } = sqlite
    .prepare(
      `INSERT INTO checkpoints (lineage, parent, committed, position, ticks, trace_sequence,
       trace_position, trace_ticks, trace_chain, memory_pages, created_at_ms, changes,
       stored_bytes, state_bytes, state, crc)
       VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, 0)`,
    )
    .run(
      lineage,
      parent ?? null,
      checkpoint.position,
      checkpoint.ticks,
      trace.sequence,
      trace.position,
      trace.ticks,
      trace.chain,
      checkpoint.memoryPages,
      nowMs,
      packed.length,
      state.length,
      packed,
    );
  const id = Number(lastInsertRowid) as CheckpointId;
  const row = checkpointRow(database, id);
  if (row === undefined) throw unknownCheckpointError(id);
  sqlite
    .prepare("UPDATE checkpoints SET crc = ? WHERE id = ?")
    .run(checkpointCheck(row, packed), id);
  return id;
}

/** One checkpoint, committed or not. */
export function checkpointRow(database: StoreDatabase, id: number): CheckpointRow | undefined {
  return database.reading("cannot read a checkpoint", (sqlite) =>
    sqlite
      .prepare<[number], CheckpointRow>(`SELECT ${COLUMNS} ${FROM} WHERE checkpoints.id = ?`)
      .safeIntegers(true)
      .get(id),
  );
}

/** A lineage's checkpoints, committed or not, oldest first. */
export function checkpointRows(database: StoreDatabase, lineage: number): CheckpointRow[] {
  return database.reading("cannot list checkpoints", (sqlite) =>
    sqlite
      .prepare<[number], CheckpointRow>(
        `SELECT ${COLUMNS} ${FROM} WHERE lineage = ? ORDER BY checkpoints.id`,
      )
      .safeIntegers(true)
      .all(lineage),
  );
}

/** The state as it is stored, and unpacked. Throws E_STORE_CORRUPT. */
export function readState(
  database: StoreDatabase,
  row: CheckpointRow,
): { readonly stored: Uint8Array; readonly state: Uint8Array } {
  const found = database.reading("cannot read a checkpoint", (sqlite) =>
    sqlite
      .prepare<[bigint], { state: Buffer }>("SELECT state FROM checkpoints WHERE id = ?")
      .get(row.id),
  );
  if (found === undefined) throw unknownCheckpointError(Number(row.id));
  const stored = found.state;
  const bytes = Number(row.state_bytes);
  if (bytes > MAX_STATE_BYTES || BigInt(checkpointCheck(row, stored)) !== row.crc) {
    throw storeError("E_STORE_CORRUPT", `checkpoint ${row.id} is damaged`);
  }
  const state = bytes === 0 ? new Uint8Array(0) : decompress(stored, bytes);
  return { stored, state: new Uint8Array(state) };
}

/** The parts of one checkpoint's manifest, in order: later ones count. */
function manifestRows(database: StoreDatabase, checkpoint: number): ManifestRow[] {
  return database.reading("cannot read a checkpoint", (sqlite) =>
    sqlite
      .prepare<[number], ManifestRow>(
        "SELECT * FROM manifests WHERE checkpoint = ? ORDER BY ordinal",
      )
      .all(checkpoint),
  );
}

/** A part's entries. Throws E_STORE_CORRUPT. */
export function entriesOf(row: ManifestRow): ManifestEntry[] {
  if (manifestCheck(row.entry_count, row.entries) !== row.crc) {
    throw storeError("E_STORE_CORRUPT", `part ${row.id} of a manifest is damaged`);
  }
  return decodeEntries(row.entries, row.entry_count);
}

/** What one checkpoint itself has put: content by place. */
export function ownPlaces(database: StoreDatabase, checkpoint: number): Map<number, number> {
  const places = new Map<number, number>();
  for (const row of manifestRows(database, checkpoint)) {
    for (const [place, content] of entriesOf(row)) places.set(place, content);
  }
  return places;
}

/** All of a checkpoint: content by place, ancestors included. */
export function resolvePlaces(database: StoreDatabase, checkpoint: number): Map<number, number> {
  const ancestry: number[] = [];
  for (let id: number | undefined = checkpoint; id !== undefined; ) {
    ancestry.push(id);
    if (ancestry.length > MAX_DEPTH) {
      throw storeError("E_STORE_CORRUPT", `checkpoint ${checkpoint} is its own ancestor`);
    }
    const row = checkpointRow(database, id);
    if (row === undefined) throw unknownCheckpointError(id);
    id = row.parent === null ? undefined : Number(row.parent);
  }
  const places = new Map<number, number>();
  for (const id of ancestry.toReversed()) {
    for (const [place, content] of ownPlaces(database, id)) places.set(place, content);
  }
  return places;
}

/** Adds a part after those that are there. Within a transaction. */
export function insertManifest(
  database: StoreDatabase,
  checkpoint: number,
  entries: readonly ManifestEntry[],
): void {
  if (entries.length === 0) return;
  const sorted = [...new Map(entries)].toSorted(([a], [b]) => a - b);
  const bytes = encodeEntries(sorted);
  database
    .statement(
      `INSERT INTO manifests (checkpoint, ordinal, entry_count, entries, crc) VALUES (@checkpoint,
       (SELECT coalesce(max(ordinal), 0) + 1 FROM manifests WHERE checkpoint = @checkpoint),
       @count, @bytes, @crc)`,
    )
    .run({
      checkpoint,
      count: sorted.length,
      bytes,
      crc: manifestCheck(sorted.length, bytes),
    });
}

/**
 * Takes a checkpoint out of the line of its descendants: what it has put becomes part of each
 * child, beneath the child's own. Its row and what nobody inherits are gone. Within a transaction.
 */
export function removeCheckpoint(database: StoreDatabase, id: number): void {
  const { sqlite } = database;
  const row = checkpointRow(database, id);
  if (row === undefined) return;
  const children = sqlite
    .prepare<[number], { id: number }>("SELECT id FROM checkpoints WHERE parent = ? ORDER BY id")
    .all(id);
  const parts = manifestRows(database, id);
  const only = children.length === 1 ? children[0]?.id : undefined;
  const inherited = Math.round(Number(row.stored_bytes) * inheritedShare(database, id, only));
  for (const [index, child] of children.entries()) {
    inheritParts(database, parts, child.id, index === 0);
    const bytes = index === 0 ? inherited : 0;
    sqlite
      .prepare(
        `UPDATE checkpoints SET parent = ?, changes = changes + ?, stored_bytes = stored_bytes + ?
         WHERE id = ?`,
      )
      .run(row.parent, row.changes, bytes, child.id);
  }
  sqlite.prepare("DELETE FROM manifests WHERE checkpoint = ?").run(id);
  sqlite.prepare("DELETE FROM checkpoints WHERE id = ?").run(id);
}

/** How much of what a checkpoint has put its only child has not put itself, as a share. */
function inheritedShare(database: StoreDatabase, id: number, only: number | undefined): number {
  if (only === undefined) return 1;
  const above = ownPlaces(database, only);
  let [all, left] = [0, 0];
  for (const [place, content] of ownPlaces(database, id)) {
    if (content === ZERO_CONTENT) continue;
    all++;
    if (!above.has(place)) left++;
  }
  return all === 0 ? 1 : left / all;
}

/** Puts parts beneath those of `child`: moved for the first one, copied for others. */
function inheritParts(
  database: StoreDatabase,
  parts: readonly ManifestRow[],
  child: number,
  move: boolean,
): void {
  const { sqlite } = database;
  const lowest = sqlite
    .prepare<[number], { ordinal: number }>(
      "SELECT coalesce(min(ordinal), 1) AS ordinal FROM manifests WHERE checkpoint = ?",
    )
    .get(child);
  const first = (lowest?.ordinal ?? 1) - parts.length;
  for (const [i, part] of parts.entries()) {
    const statement = move
      ? "UPDATE manifests SET checkpoint = @child, ordinal = @ordinal WHERE id = @id"
      : `INSERT INTO manifests (checkpoint, ordinal, entry_count, entries, crc)
         SELECT @child, @ordinal, entry_count, entries, crc FROM manifests WHERE id = @id`;
    sqlite.prepare(statement).run({ child, ordinal: first + i, id: part.id });
  }
}

/** Makes one part of the many of a checkpoint. Within a transaction. */
export function consolidateManifest(database: StoreDatabase, checkpoint: number): void {
  const row = checkpointRow(database, checkpoint);
  const places = ownPlaces(database, checkpoint);
  const root = row?.parent === null;
  // Without a parent beneath, zero pages go without saying.
  const entries = [...places].filter(
    ([place, content]) => !root || content !== ZERO_CONTENT || place >= 2 ** 32,
  );
  const { sqlite } = database;
  sqlite.prepare("DELETE FROM manifests WHERE checkpoint = ?").run(checkpoint);
  insertManifest(database, checkpoint, entries);
  sqlite.prepare("UPDATE checkpoints SET changes = ? WHERE id = ?").run(entries.length, checkpoint);
}
