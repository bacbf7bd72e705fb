/** The store on SQLite, in a directory of its own; docs/LOG_STORE.md describes it. */
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { pointAfter, type Segment, type TracePoint } from "@dejavm/trace";
import type {
  CheckpointId,
  CheckpointInfo,
  CheckpointReader,
  GcReport,
  LineageId,
  LineageInfo,
  LineageWriter,
  LogStore,
  NewLineage,
  OwnershipRecord,
  StoredReport,
  StoreProgress,
  VerifyReport,
} from "../log-store.ts";
import { Packer } from "../packer/packer.ts";
import { checkNewLineage } from "../rules.ts";
import { storeError } from "../store-errors.ts";
import { SqliteCheckpointReader } from "./checkpoint-reader.ts";
import { checkpointInfo, checkpointRows, removeCheckpoint } from "./checkpoint-table.ts";
import { ContentTable } from "./content-table.ts";
import { OldFormError, type OpenMode, StoreDatabase } from "./database.ts";
import { failPoint } from "./fail-point.ts";
import { type FileLock, leaseHeldError, lockHolder, tryFileLock } from "./file-lock.ts";
import { collectGarbage } from "./gc.ts";
import {
  findLineageRow,
  insertLineage,
  lineageInfo,
  lineageKey,
  lineageRows,
  ownershipRecord,
  ownershipRows,
  reportCheck,
  reportRows,
} from "./lineage-table.ts";
import { SqliteLineageWriter } from "./lineage-writer.ts";
import { storedBytes } from "./retain.ts";
import { readSegments } from "./trace-reading.ts";
import { traceEndOf, traceKey } from "./trace-table.ts";
import { following, readTail, removeTail } from "./trace-tail.ts";
import { verifyDatabase } from "./verify.ts";
import type { TornTail } from "./wal-tail.ts";

/** Between two steps of collecting garbage in the background: leaves nine tenths of the time. */
const TIDY_PAUSE_MS = 20;

/** How a store is opened. */
export interface LogStoreOptions {
  /** `write` (the default) makes the store where there is none; `read` changes nothing in it. */
  readonly mode?: OpenMode;
  /** Wall time, milliseconds since 1970. */
  readonly now?: () => number;
  /** Pages of the write-ahead log after which they are moved into the database. */
  readonly walPages?: number;
}

/**
 * Opens the store in a directory. Throws E_STORE_FOREIGN, E_STORE_NEWER, E_STORE_UNWRITABLE,
 * E_STORE_CORRUPT, E_STORE_BUSY (another process uses it in an older form), E_DISK_FULL, and for
 * reading E_STORE_UNKNOWN if there is none.
 */
export function openLogStore(directory: string, options: LogStoreOptions = {}): SqliteLogStore {
  const { mode = "write", now = Date.now, walPages } = options;
  return new SqliteLogStore(openDatabase(directory, mode, walPages), now);
}

/** A database of an older form is renewed first, for reading, too. */
function openDatabase(directory: string, mode: OpenMode, walPages?: number): StoreDatabase {
  try {
    return new StoreDatabase(directory, mode, walPages);
  } catch (error) {
    if (!(error instanceof OldFormError)) throw error;
    new StoreDatabase(directory, "write", walPages).close();
    return new StoreDatabase(directory, mode, walPages);
  }
}

/** A `LogStore` on SQLite; `openLogStore` makes it. */
export class SqliteLogStore implements LogStore {
  readonly packer = new Packer();
  readonly #database: StoreDatabase;
  readonly #contents: ContentTable;
  readonly #now: () => number;
  readonly #writers = new Set<SqliteLineageWriter>();
  /** Readers that somebody may still use; what they read stays. */
  readonly #readers = new Set<WeakRef<SqliteCheckpointReader>>();
  #tidying = false;
  #tidyAgain = false;

  constructor(database: StoreDatabase, now: () => number) {
    this.#database = database;
    this.#now = now;
    this.#contents = new ContentTable(database.sqlite);
  }

  /** What an interrupted write had left behind when the store was opened. */
  get tornTail(): TornTail | undefined {
    return this.#database.tornTail;
  }

  prepare(): void {
    this.packer.prepare();
    this.#database.prepare();
  }

  lineages(): readonly LineageInfo[] {
    return lineageRows(this.#database).map((row) => lineageInfo(this.#database, row));
  }

  findLineage(reference: string): LineageInfo | undefined {
    const row = findLineageRow(this.#database, reference);
    return row === undefined ? undefined : lineageInfo(this.#database, row);
  }

  createLineage(lineage: NewLineage): LineageInfo {
    checkNewLineage(lineage);
    const { id } = lineage;
    // A lineage of that id was removed, and its tail was not.
    if (id !== undefined && findLineageRow(this.#database, id) === undefined) {
      removeTail(this.#database.directory, id);
    }
    return lineageInfo(this.#database, insertLineage(this.#database, lineage, this.#now()));
  }

  removeLineage(lineage: LineageId): void {
    const key = lineageKey(this.#database, lineage);
    const lease = this.#lease(lineage);
    try {
      this.#database.writing(`cannot remove ${lineage}`, (sqlite) => {
        for (const row of checkpointRows(this.#database, key).toReversed()) {
          removeCheckpoint(this.#database, Number(row.id));
        }
        sqlite
          .prepare("DELETE FROM trace WHERE id >= ? AND id < ?")
          .run(traceKey(key, 0), traceKey(key + 1, 0));
        for (const table of ["ownership", "reports"]) {
          sqlite.prepare(`DELETE FROM ${table} WHERE lineage = ?`).run(key);
        }
        sqlite.prepare("DELETE FROM lineages WHERE id = ?").run(key);
        failPoint("remove.before-commit");
      });
      removeTail(this.#database.directory, lineage);
    } finally {
      lease.release();
    }
  }

  isInUse(lineage: LineageId): boolean {
    return lockHolder(this.#leasePath(lineage)) !== "";
  }

  openLineage(lineage: LineageId): LineageWriter {
    const key = lineageKey(this.#database, lineage);
    const lease = this.#lease(lineage);
    try {
      this.#dropLeftovers(key);
      const writer: SqliteLineageWriter = new SqliteLineageWriter({
        database: this.#database,
        contents: this.#contents,
        lineage,
        key,
        lease,
        now: this.#now,
        released: () => this.#writers.delete(writer),
        tidyLater: () => this.#tidyLater(),
      });
      this.#writers.add(writer);
      return writer;
    } catch (error) {
      lease.release();
      throw error;
    }
  }

  ownershipHistory(lineage: LineageId): readonly OwnershipRecord[] {
    const key = lineageKey(this.#database, lineage);
    return ownershipRows(this.#database, key).map((row) => ownershipRecord(key, row));
  }

  reports(lineage: LineageId): readonly StoredReport[] {
    const key = lineageKey(this.#database, lineage);
    return reportRows(this.#database, key).map((row) => {
      if (row.crc !== reportCheck(key, row)) {
        throw storeError("E_STORE_CORRUPT", `report ${row.id} is damaged`);
      }
      return { kind: row.kind, json: row.json, atMs: row.at_ms };
    });
  }

  traceEnd(lineage: LineageId): TracePoint | undefined {
    const key = lineageKey(this.#database, lineage);
    // The tail first: what is moved into the database meanwhile is then found there.
    const { segments } = readTail(this.#database.directory, lineage);
    const end = traceEndOf(this.#database, key);
    const last = following(segments, end?.sequence).at(-1);
    return last === undefined ? end : pointAfter(last.header);
  }

  *readTrace(lineage: LineageId, fromSequence: number): Generator<Segment> {
    const key = lineageKey(this.#database, lineage);
    yield* readSegments(this.#database, { key, lineage }, fromSequence);
  }

  checkpoints(lineage: LineageId): readonly CheckpointInfo[] {
    const rows = checkpointRows(this.#database, lineageKey(this.#database, lineage));
    return rows.filter(({ committed }) => committed !== 0n).map(checkpointInfo);
  }

  openCheckpoint(checkpoint: CheckpointId): CheckpointReader {
    const reader = new SqliteCheckpointReader(this.#database, this.#contents, checkpoint);
    this.#readers.add(new WeakRef(reader));
    return reader;
  }

  hasContents(hashes: Uint8Array): boolean[] {
    return this.#database.reading("cannot look for contents", () => {
      this.#contents.refresh();
      return this.#contents.findAll(hashes, undefined).map((content) => content !== undefined);
    });
  }

  readContent(hash: Uint8Array): Uint8Array | undefined {
    return this.#database.reading("cannot read a content", () => {
      this.#contents.refresh();
      const content = this.#contents.find(hash, undefined);
      return content === undefined ? undefined : new Uint8Array(this.#contents.read(content));
    });
  }

  lineageBytes(lineage: LineageId): number {
    const stored = storedBytes(this.#database, lineageKey(this.#database, lineage));
    const { segments } = readTail(this.#database.directory, lineage);
    return stored + segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  async sync(): Promise<void> {
    await this.#database.sync();
  }

  syncNow(): void {
    this.#database.syncNow();
  }

  /** Moves what the write-ahead log holds into the database file, durably. Blocks. */
  settle(): void {
    this.#database.settle();
  }

  verify(): Generator<StoreProgress, VerifyReport> {
    return verifyDatabase(this.#database);
  }

  gc(): Generator<StoreProgress, GcReport> {
    return collectGarbage(this.#database, {
      mayDrop: (key) => this.#nobodyWrites(key),
      pinned: () => this.#pinned(),
    });
  }

  close(): void {
    this.packer.close();
    try {
      for (const writer of this.#writers) writer.release();
    } finally {
      this.#database.close();
    }
  }

  /** Collects garbage a step at a time; one collection runs, and one more may wait for it. */
  #tidyLater(): void {
    if (this.#tidying) {
      this.#tidyAgain = true;
      return;
    }
    this.#tidying = true;
    const steps = this.gc();
    const turn = (): void => {
      if (!this.#database.isOpen) return;
      if (!this.#tidyStep(steps)) {
        setTimeout(turn, TIDY_PAUSE_MS).unref();
        return;
      }
      this.#tidying = false;
      const again = this.#tidyAgain;
      this.#tidyAgain = false;
      if (again) this.#tidyLater();
    };
    setTimeout(turn, TIDY_PAUSE_MS).unref();
  }

  /** True once it is over. A store that fails says so to whoever writes; this can wait. */
  #tidyStep(steps: Generator<StoreProgress, GcReport>): boolean {
    try {
      return steps.next().done === true;
    } catch (error) {
      if (error instanceof CodedError) return true;
      throw error;
    }
  }

  #lease(lineage: LineageId): FileLock {
    const path = this.#leasePath(lineage);
    const lease = tryFileLock(path, "exclusive");
    if (lease !== undefined) return lease;
    throw leaseHeldError(findLineageRow(this.#database, lineage)?.name ?? lineage, path);
  }

  #leasePath(lineage: LineageId): string {
    return join(this.#database.directory, "leases", `${lineage}.lock`);
  }

  /** Open checkpoints of a writer that has died. */
  #dropLeftovers(key: number): void {
    const left = checkpointRows(this.#database, key).filter(({ committed }) => committed === 0n);
    if (left.length === 0) return;
    this.#database.writing("cannot drop open checkpoints", () => {
      for (const { id } of left.toReversed()) removeCheckpoint(this.#database, Number(id));
    });
  }

  *#pinned(): Generator<number> {
    for (const reference of this.#readers) {
      const reader = reference.deref();
      if (reader === undefined) this.#readers.delete(reference);
      else yield* reader.contents();
    }
  }

  #nobodyWrites(key: number): boolean {
    const row = lineageRows(this.#database).find(({ id }) => Number(id) === key);
    if (row === undefined) return true;
    const lease = tryFileLock(this.#leasePath(row.uid), "exclusive");
    lease?.release();
    return lease !== undefined;
  }
}
