/** The one who may write to a lineage of the database. */
import { setImmediate } from "node:timers/promises";
import type { Segment, TracePoint } from "@dejavm/trace";
import { MAX_CONFIG_BYTES } from "../limits.ts";
import type {
  CheckpointId,
  CheckpointWriter,
  LineageId,
  LineageWriter,
  NewCheckpoint,
  NewOwnershipRecord,
  RetentionLimits,
  RetentionReport,
  StoredReport,
} from "../log-store.ts";
import {
  checkAppend,
  checkName,
  checkNewCheckpoint,
  checkOwnership,
  checkReport,
  checkSize,
} from "../rules.ts";
import { storeError, unknownCheckpointError } from "../store-errors.ts";
import { checkpointRow, insertCheckpoint } from "./checkpoint-table.ts";
import { SqliteCheckpointWriter } from "./checkpoint-writer.ts";
import type { ContentTable } from "./content-table.ts";
import type { StoreDatabase } from "./database.ts";
import { failPoint } from "./fail-point.ts";
import type { FileLock } from "./file-lock.ts";
import { insertOwnership, insertReport, newestOwnership, updateLineage } from "./lineage-table.ts";
import { retainLineage } from "./retain.ts";
import { compactFrom, compactTrace, TraceAppender, traceEndOf } from "./trace-table.ts";
import {
  type AbsorbedTail,
  following,
  MAX_TAIL_APPEND_BYTES,
  MAX_TAIL_BYTES,
  readTail,
  removeTail,
  TraceTail,
} from "./trace-tail.ts";

/** What a writer works on. */
export interface LineageWriterParts {
  readonly database: StoreDatabase;
  readonly contents: ContentTable;
  readonly lineage: LineageId;
  /** Its number in the other tables. */
  readonly key: number;
  readonly lease: FileLock;
  readonly now: () => number;
  readonly released: () => void;
  /** There are contents that nobody needs. */
  readonly tidyLater: () => void;
}

/** A `LineageWriter` on SQLite. */
export class SqliteLineageWriter implements LineageWriter {
  readonly #parts: LineageWriterParts;
  readonly #appender: TraceAppender;
  readonly #tail: TraceTail;
  readonly #unsync: () => void;
  /** Files that can go once the database is durable. */
  readonly #absorbed = new Set<AbsorbedTail>();
  readonly tornBytes: number;
  readonly #open = new Map<CheckpointId, SqliteCheckpointWriter>();
  #end: TracePoint | undefined;
  /** Up to here the trace is merged as far as it can be. */
  #compacted: number | undefined;
  #held = true;

  constructor(parts: LineageWriterParts) {
    this.#parts = parts;
    const { database, lineage, key } = parts;
    this.#appender = new TraceAppender(database);
    const left = readTail(database.directory, lineage);
    const rest = following(left.segments, traceEndOf(database, key)?.sequence);
    if (rest.length > 0) this.#appender.append(key, rest);
    if (left.paths.length > 0) {
      database.syncNow();
      removeTail(database.directory, lineage);
    }
    this.tornBytes = left.tornBytes;
    this.#end = traceEndOf(database, key);
    const { directory } = database;
    this.#tail = new TraceTail({ directory, lineage, number: left.nextNumber });
    this.#unsync = database.syncBeside(this.#tail);
  }

  get lineage(): LineageId {
    return this.#parts.lineage;
  }

  get traceEnd(): TracePoint | undefined {
    return this.#end;
  }

  append(segments: readonly Segment[], options: { readonly afterGap?: boolean } = {}): void {
    this.#checkHeld();
    checkAppend(this.#end, segments, options.afterGap === true);
    const last = segments.at(-1)?.header;
    if (last === undefined) return;
    const isGap = this.#end !== undefined && segments[0]?.header.sequence !== this.#end.sequence;
    const bytes = segments.reduce((sum, segment) => sum + segment.bytes.length, 0);
    // A transaction costs little beside much.
    if (isGap || bytes > MAX_TAIL_APPEND_BYTES) {
      this.#absorb();
      this.#appender.append(this.#parts.key, segments);
    } else {
      if (this.#tail.bytes >= MAX_TAIL_BYTES) this.#absorb();
      this.#tail.append(segments);
    }
    const { sequence, unitCount, to, chain } = last;
    this.#end = { sequence: sequence + unitCount, ...to, chain };
  }

  async prepareOwnership(): Promise<void> {
    this.#checkHeld();
    for (;;) {
      const { oldest, segments } = this.#tail;
      if (oldest.length === segments.length) break;
      this.#appender.append(this.#parts.key, oldest);
      this.#tail.partAbsorbed(oldest.length);
      await setImmediate();
      this.#checkHeld();
    }
    this.#absorb();
    await this.#parts.database.sync();
  }

  recordOwnership(record: NewOwnershipRecord): void {
    this.#checkHeld();
    const { database, key, now } = this.#parts;
    checkOwnership(newestOwnership(database, key), record);
    this.#absorb();
    insertOwnership(database, key, { ...record, atMs: now() });
    failPoint("ownership.committed");
    database.syncNow();
    failPoint("ownership.synced");
  }

  addReport(report: Omit<StoredReport, "atMs">): void {
    this.#checkHeld();
    checkReport(report);
    this.#absorb();
    const { database, key, now } = this.#parts;
    insertReport(database, key, { ...report, atMs: now() });
  }

  setConfig(config: Uint8Array): void {
    this.#checkHeld();
    checkSize("configuration", config.length, MAX_CONFIG_BYTES);
    this.#absorb();
    updateLineage(this.#parts.database, this.lineage, { config });
  }

  setName(name: string): void {
    this.#checkHeld();
    checkName(name);
    this.#absorb();
    updateLineage(this.#parts.database, this.lineage, { name });
  }

  beginCheckpoint(checkpoint: NewCheckpoint): CheckpointWriter {
    this.#checkHeld();
    checkNewCheckpoint(checkpoint);
    const { database, contents, lineage, key, now } = this.#parts;
    const { parent, memoryPages } = checkpoint;
    const id = database.writing("cannot begin a checkpoint", () => {
      if (parent !== undefined && !this.#open.has(parent)) {
        const row = checkpointRow(database, parent);
        if (row === undefined || row.committed === 0n) throw unknownCheckpointError(parent);
      }
      return insertCheckpoint(database, key, checkpoint, now());
    });
    failPoint("checkpoint.begun");
    const writer = new SqliteCheckpointWriter({
      database,
      contents,
      lineage,
      id,
      memoryPages,
      checkHeld: () => this.#checkHeld(),
      beforeCommit: () => this.#absorb(),
      done: () => {
        this.#open.delete(id);
        this.#dropFolded();
      },
    });
    this.#open.set(id, writer);
    return writer;
  }

  compact(): void {
    this.#checkHeld();
    this.#absorb();
    const { database, key } = this.#parts;
    const from = this.#compacted ?? compactFrom(database, key);
    this.#compacted = compactTrace(database, this.#appender, key, from);
  }

  retain(limits: RetentionLimits): RetentionReport {
    this.#checkHeld();
    this.#absorb();
    const report = retainLineage(this.#parts.database, this.#parts.key, limits);
    if (report.checkpointsRemoved > 0) this.#parts.tidyLater();
    return report;
  }

  release(): void {
    if (!this.#held) return;
    const { database, lease, released } = this.#parts;
    try {
      if (database.isOpen) {
        for (const writer of this.#open.values()) writer.abandon();
        this.#absorb();
        this.#removeAbsorbed();
      }
    } finally {
      this.#held = false;
      for (const absorbed of this.#absorbed) absorbed.keep();
      this.#unsync();
      this.#tail.close();
      lease.release();
      released();
    }
  }

  /** Moves the tail into the database. Its file goes once that is durable. */
  #absorb(): void {
    const { segments } = this.#tail;
    // The file may hold only what was absorbed in parts.
    if (segments.length > 0) this.#appender.append(this.#parts.key, segments);
    const absorbed = this.#tail.absorbed();
    if (absorbed === undefined) return;
    this.#absorbed.add(absorbed);
    void this.#removeLater(absorbed);
  }

  /** A sync that fails is told to whoever asks for the next one; the file is then kept. */
  async #removeLater(absorbed: AbsorbedTail): Promise<void> {
    try {
      await this.#parts.database.sync();
      absorbed.remove();
    } catch {
      absorbed.keep();
    }
    this.#absorbed.delete(absorbed);
  }

  #removeAbsorbed(): void {
    if (this.#absorbed.size === 0) return;
    this.#parts.database.syncNow();
    for (const absorbed of this.#absorbed) absorbed.remove();
  }

  /** Open checkpoints whose rows are gone: an increment has taken them over. */
  #dropFolded(): void {
    for (const [id, writer] of this.#open) {
      if (checkpointRow(this.#parts.database, id) !== undefined) continue;
      this.#open.delete(id);
      writer.takenOver();
    }
  }

  #checkHeld(): void {
    void this.#parts.database.sqlite;
    if (this.#held) return;
    throw storeError("E_STORE_CLOSED", `cannot write to ${this.lineage}: it was released`);
  }
}
