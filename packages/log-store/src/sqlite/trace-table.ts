/**
 * Rows of trace segments. `id` is the lineage's number and the number of the first unit together,
 * so that an append touches one place of one tree.
 */
import { CodedError } from "@dejavm/base";
import { position, ticks } from "@dejavm/machine";
import {
  canMerge,
  MAX_SEGMENT_UNITS,
  mergeSegments,
  type Segment,
  type SegmentPlace,
  type TracePoint,
} from "@dejavm/trace";
import type Database from "better-sqlite3";
import { compressIfWorth } from "../content-pack.ts";
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

/** The bits of `trace.id` that are the number of a unit. */
export const SEQUENCE_MASK = (1n << BigInt(TRACE_KEY_BITS)) - 1n;
/** Rows that one query reads ahead. */
const READ_AHEAD = 16;
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
  return {
    header: {
      ...placeOf(row),
      compressed: (row.bytes[2] ?? 0) !== 0,
      chain: new Uint8Array(row.chain),
    },
    bytes: new Uint8Array(row.bytes),
  };
}

function placeOf(row: HeaderRow): SegmentPlace {
  return {
    sequence: Number(row.id & SEQUENCE_MASK),
    unitCount: Number(row.unit_count),
    from: { position: position(row.from_position), ticks: ticks(row.from_ticks) },
    to: { position: position(row.to_position), ticks: ticks(row.to_ticks) },
    plainBytes: Number(row.plain_bytes),
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

  /** In one commit; many small ones are merged first, which spares writing them twice. */
  append(lineage: number, segments: readonly Segment[]): void {
    const rows = mergeMany(segments);
    this.#database.writing("cannot append to the trace", () => {
      for (const { header, bytes } of rows) this.insert(lineage, header, bytes);
      failPoint("absorb.before-commit");
    });
    failPoint("absorb.done");
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

/** The same with runs of small neighbours as one segment each; a short last one may grow yet. */
function mergeMany(segments: readonly Segment[]): readonly Segment[] {
  const merged: Segment[] = [];
  for (let from = 0; from < segments.length; ) {
    const rest = segments.slice(from, from + MERGE_SEGMENTS);
    const count = mergeableCount(rest.map(({ header }) => header));
    const run = rest.slice(0, count);
    const isShort = count === 1 || (from + count === segments.length && count < MERGE_FROM);
    const whole = isShort ? undefined : unlessDamaged(() => merge(run.map(({ bytes }) => bytes)));
    merged.push(...(whole === undefined ? run : [whole]));
    from += count;
  }
  return merged;
}

function merge(segments: readonly Uint8Array[]): Segment {
  return mergeSegments(segments, { ...HOST_CODECS, compress: compressIfWorth });
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

const DAMAGED = ["E_TRACE_CORRUPT", "E_TRACE_GAP", "E_TRACE_VERSION"];

/** A row without its bytes. */
type HeaderRow = Omit<TraceRow, "chain" | "bytes">;

const HEADER_COLUMNS = `id, unit_count, from_position, from_ticks, to_position, to_ticks,
  plain_bytes`;

/** The unit from which on a trace may have segments to merge: behind the last big one. */
export function compactFrom(database: StoreDatabase, lineage: number): number {
  const row = database.reading("cannot read the trace", (sqlite) =>
    sqlite
      .prepare<[bigint, bigint], HeaderRow>(
        `SELECT ${HEADER_COLUMNS} FROM trace WHERE id >= ? AND id < ?
         AND plain_bytes >= ${BIG_SEGMENT_BYTES} ORDER BY id DESC LIMIT 1`,
      )
      .safeIntegers(true)
      .get(traceKey(lineage, 0), traceKey(lineage + 1, 0)),
  );
  return row === undefined ? 0 : Number((row.id & SEQUENCE_MASK) + row.unit_count);
}

/**
 * Merges small neighbours from unit `fromSequence` on, a group to a commit. Answers the unit to go
 * on from next time.
 */
export function compactTrace(
  database: StoreDatabase,
  appender: TraceAppender,
  lineage: number,
  fromSequence: number,
): number {
  for (let next = fromSequence; ; ) {
    const rows = database.reading("cannot read the trace", (sqlite) =>
      sqlite
        .prepare<[bigint, bigint], HeaderRow>(
          `SELECT ${HEADER_COLUMNS} FROM trace WHERE id >= ? AND id < ?
           ORDER BY id LIMIT ${MERGE_SEGMENTS}`,
        )
        .safeIntegers(true)
        .all(traceKey(lineage, next), traceKey(lineage + 1, 0)),
    );
    const count = mergeableCount(rows.map(placeOf));
    const last = rows[count - 1];
    const mayGrow = count === rows.length && count < MERGE_FROM;
    if (last === undefined || mayGrow) return next;
    const end = last.id + last.unit_count;
    if (count > 1)
      unlessDamaged(() => mergeRows(database, appender, lineage, rows[0]?.id ?? end, end));
    next = Number(end & SEQUENCE_MASK);
  }
}

/** How many of the first ones can become one; at least one, if there is one. */
function mergeableCount(headers: readonly SegmentPlace[]): number {
  let bytes = 0;
  let units = 0;
  for (const [count, header] of headers.entries()) {
    const before = headers[count - 1];
    const all = bytes + header.plainBytes;
    units += header.unitCount;
    const fits = all <= MERGED_BYTES && units <= MAX_SEGMENT_UNITS;
    // Gaps and the begin of another stretch keep segments apart.
    if (before !== undefined && !(fits && canMerge(before, header))) return count;
    if (header.plainBytes >= BIG_SEGMENT_BYTES) return count + 1;
    bytes = all;
  }
  return headers.length;
}

/** A damaged segment stays as it is: `verify` tells of it, and the trace goes on behind it. */
function unlessDamaged<Result>(merging: () => Result): Result | undefined {
  try {
    return merging();
  } catch (error) {
    const coded: CodedError | undefined = error instanceof CodedError ? error : undefined;
    if (coded === undefined || !DAMAGED.includes(coded.code)) throw error;
    return undefined;
  }
}

/** Makes one segment of the rows from `first` to before `end`. */
function mergeRows(
  database: StoreDatabase,
  appender: TraceAppender,
  lineage: number,
  first: bigint,
  end: bigint,
): void {
  database.writing("cannot compact the trace", (sqlite) => {
    const rows = sqlite
      .prepare<[bigint, bigint], { bytes: Buffer }>(
        "SELECT bytes FROM trace WHERE id >= ? AND id < ? ORDER BY id",
      )
      .all(first, end);
    const merged = merge(rows.map(({ bytes }) => new Uint8Array(bytes)));
    sqlite.prepare("DELETE FROM trace WHERE id >= ? AND id < ?").run(first, end);
    appender.insert(lineage, merged.header, merged.bytes);
    failPoint("compact.before-commit");
  });
  failPoint("compact.done");
}
