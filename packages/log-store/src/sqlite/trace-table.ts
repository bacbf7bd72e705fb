/**
 * Rows of trace segments. `id` is the lineage's number and the number of the first unit together,
 * so that an append touches one place of one tree.
 */
import { position, ticks } from "@dejavm/machine";
import { canMerge, mergeSegments, type Segment, type TracePoint } from "@dejavm/trace";
import type Database from "better-sqlite3";
import { HOST_CODECS } from "../host-codecs.ts";
import type { StoreDatabase } from "./database.ts";
import { failPoint } from "./fail-point.ts";
import { TRACE_KEY_BITS } from "./schema.ts";

/** A row of `trace`, as it is. */
export interface TraceRow {
  readonly id: bigint;
  readonly unit_count: bigint;
  readonly from_position: bigint;
  readonly from_ticks: bigint;
  readonly to_position: bigint;
  readonly to_ticks: bigint;
  readonly plain_bytes: bigint;
  readonly chain: Buffer;
  readonly bytes: Buffer;
}

const SEQUENCE_MASK = (1n << BigInt(TRACE_KEY_BITS)) - 1n;
/** Rows that one query reads ahead. */
const READ_AHEAD = 32;
/** Segments that a merge takes at most: bounds how long it holds up the thread. */
const MERGE_SEGMENTS = 512;
/** Small segments that a merge waits for: fewer shrink less. */
const MERGE_FROM = 64;
/** A segment of that many bytes of records is left as it is. */
const BIG_SEGMENT_BYTES = 256 << 10;
/** Bytes of records that a merge aims at. */
const MERGED_BYTES = 1 << 20;

/** The `id` of a unit in a lineage's trace. */
export function traceKey(lineage: number, sequence: number): bigint {
  return (BigInt(lineage) << BigInt(TRACE_KEY_BITS)) + BigInt(sequence);
}

/** A row as a segment. */
export function segmentOf(row: TraceRow): Segment {
  const plainBytes = Number(row.plain_bytes);
  return {
    header: {
      sequence: Number(row.id & SEQUENCE_MASK),
      unitCount: Number(row.unit_count),
      from: { position: position(row.from_position), ticks: ticks(row.from_ticks) },
      to: { position: position(row.to_position), ticks: ticks(row.to_ticks) },
      plainBytes,
      compressed: (row.bytes[2] ?? 0) !== 0,
      chain: new Uint8Array(row.chain),
    },
    bytes: new Uint8Array(row.bytes),
  };
}

/** Appends to the traces of one connection. */
export class TraceAppender {
  readonly #database: StoreDatabase;
  readonly #insert: Database.Statement;

  constructor(database: StoreDatabase) {
    this.#database = database;
    this.#insert = database.sqlite.prepare("INSERT INTO trace VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  }

  /** In one commit. */
  append(lineage: number, segments: readonly Segment[]): void {
    this.#database.writing("cannot append to the trace", () => {
      for (const { header, bytes } of segments) this.insert(lineage, header, bytes);
      failPoint("append.before-commit");
    });
    failPoint("append.done");
  }

  /** Adds a row; within a transaction. */
  insert(lineage: number, header: Segment["header"], bytes: Uint8Array): void {
    const { sequence, unitCount, from, to, plainBytes, chain } = header;
    this.#insert.run(
      traceKey(lineage, sequence),
      unitCount,
      from.position,
      from.ticks,
      to.position,
      to.ticks,
      plainBytes,
      chain,
      bytes,
    );
  }
}

/** The end of a lineage's trace. */
export function traceEndOf(database: StoreDatabase, lineage: number): TracePoint | undefined {
  const row = database.reading("cannot read the trace", (sqlite) =>
    sqlite
      .prepare<[bigint, bigint], TraceRow>(
        "SELECT * FROM trace WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
      )
      .safeIntegers(true)
      .get(traceKey(lineage, 0), traceKey(lineage + 1, 0)),
  );
  if (row === undefined) return undefined;
  const { sequence, unitCount, to, chain } = segmentOf(row).header;
  return { sequence: sequence + unitCount, ...to, chain };
}

/** Segments from the one with unit `fromSequence` on. */
export function* readTraceRows(
  database: StoreDatabase,
  lineage: number,
  fromSequence: number,
): Generator<TraceRow> {
  const end = traceKey(lineage + 1, 0);
  let next = traceKey(lineage, fromSequence);
  for (;;) {
    // The one that has the unit may begin before it; a merge may have moved it meanwhile.
    const rows = database.reading("cannot read the trace", (sqlite) =>
      sqlite
        .prepare<[bigint, bigint, bigint, bigint], TraceRow>(
          `SELECT * FROM trace WHERE id >= coalesce(
             (SELECT id FROM trace WHERE id >= ? AND id <= ? ORDER BY id DESC LIMIT 1), ?)
           AND id < ? ORDER BY id LIMIT ${READ_AHEAD}`,
        )
        .safeIntegers(true)
        .all(traceKey(lineage, 0), next, next, end),
    );
    const wanted = rows.filter((row) => row.id + row.unit_count > next);
    if (wanted.length === 0) return;
    for (const row of wanted) {
      yield row;
      next = row.id + row.unit_count;
    }
  }
}

/** Stored bytes of a lineage's trace. */
export function traceBytes(database: StoreDatabase, lineage: number): number {
  const row = database.reading("cannot measure the trace", (sqlite) =>
    sqlite
      .prepare<[bigint, bigint], { bytes: number }>(
        `SELECT coalesce(sum(length(bytes)), 0) AS bytes FROM trace WHERE id >= ? AND id < ?`,
      )
      .get(traceKey(lineage, 0), traceKey(lineage + 1, 0)),
  );
  return row?.bytes ?? 0;
}

/**
 * Merges small neighbours from unit `fromSequence` on, in one commit. Answers the unit to go on
 * from next time, and the bytes that the trace has shrunk by.
 */
export function compactTrace(
  database: StoreDatabase,
  appender: TraceAppender,
  lineage: number,
  fromSequence: number,
): { readonly next: number; readonly freedBytes: number } {
  let next = fromSequence;
  let freedBytes = 0;
  for (;;) {
    const segments = smallSegments(database, lineage, next);
    const group = mergeable(segments);
    const rest = segments.length - group.length;
    const waits = group.length < MERGE_FROM && rest === 0;
    if (segments.length === 0 || waits) return { next, freedBytes };
    const last = group.at(-1)?.header;
    next = (last?.sequence ?? next) + (last?.unitCount ?? 0);
    if (group.length > 1) freedBytes += mergeGroup(database, appender, lineage, group);
  }
}

function smallSegments(database: StoreDatabase, lineage: number, from: number): Segment[] {
  return database.reading("cannot read the trace", (sqlite) =>
    sqlite
      .prepare<[bigint, bigint], TraceRow>(
        `SELECT * FROM trace WHERE id >= ? AND id < ? ORDER BY id LIMIT ${MERGE_SEGMENTS}`,
      )
      .safeIntegers(true)
      .all(traceKey(lineage, from), traceKey(lineage + 1, 0))
      .map(segmentOf),
  );
}

/** The first ones that can become one; at least one. */
function mergeable(segments: readonly Segment[]): Segment[] {
  const group: Segment[] = [];
  let bytes = 0;
  for (const segment of segments) {
    const before = group.at(-1);
    const { header } = segment;
    const units = group.reduce((sum, each) => sum + each.header.unitCount, 0);
    const together = before && { ...before.header, unitCount: units, plainBytes: bytes };
    const sequence = before && before.header.sequence + before.header.unitCount - units;
    if (together !== undefined && sequence !== undefined) {
      if (bytes + header.plainBytes > MERGED_BYTES) break;
      if (!canMerge({ ...together, sequence }, header)) break;
    }
    group.push(segment);
    bytes += header.plainBytes;
    if (header.plainBytes >= BIG_SEGMENT_BYTES) break;
  }
  return group;
}

function mergeGroup(
  database: StoreDatabase,
  appender: TraceAppender,
  lineage: number,
  group: readonly Segment[],
): number {
  const merged = mergeSegments(
    group.map(({ bytes }) => bytes),
    HOST_CODECS,
  );
  const { sequence, unitCount } = merged.header;
  database.writing("cannot compact the trace", (sqlite) => {
    sqlite
      .prepare<[bigint, bigint]>("DELETE FROM trace WHERE id >= ? AND id < ?")
      .run(traceKey(lineage, sequence), traceKey(lineage, sequence + unitCount));
    appender.insert(lineage, merged.header, merged.bytes);
    failPoint("compact.before-commit");
  });
  failPoint("compact.done");
  return group.reduce((sum, { bytes }) => sum + bytes.length, 0) - merged.bytes.length;
}
