/**
 * The database file: opening it in its right form, transactions, durability. In WAL mode with
 * synchronous=NORMAL a commit is a write to the `-wal` file without fsync; SQLite syncs only
 * around checkpoints of the WAL, in the order that keeps the database whole. `sync` adds what
 * durability needs: an fsync of the `-wal` file covers every commit before it, because a commit is
 * either there or has been moved into the database by a checkpoint that synced both files.
 */
import {
  chmodSync,
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { assert } from "@dejavm/base";
import Database from "better-sqlite3";
import { storeError } from "../store-errors.ts";
import { failPoint } from "./fail-point.ts";
import { type FileLock, lockHolder, tryFileLock } from "./file-lock.ts";
import { createPrivateFile, translateError, translating } from "./host-errors.ts";
import { APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION } from "./schema.ts";
import { TAILS_FOLDER } from "./trace-tail.ts";
import { WalMover } from "./wal-mover.ts";
import { findTornTail, type TornTail } from "./wal-tail.ts";

/** Name of the database within the store's directory. */
const DATABASE_NAME = "store.db";
/** Bytes of a database page: fewer, larger ones suit packs; smaller ones suit small commits. */
const PAGE_SIZE = 8192;
/** WAL pages after which they are moved into the database, beside commits: 16 MiB. */
const DEFAULT_WAL_PAGES = 2048;
/** Where moving does not keep up, a commit does it at so many times that length. */
const WAL_OVERRUN = 4;
/** How long a commit waits for another process's: those last for milliseconds. */
const BUSY_TIMEOUT_MS = 10_000;
/** How long a process waits for others to renew the store, or to leave it so that it can. */
const PRESENCE_TIMEOUT_MS = 3000;
const PRESENCE_RETRY_MS = 20;
/** Memory for database pages, in KiB; the index of contents wants to stay in it. */
const CACHE_KIB = 32 * 1024;

/** What is done with the store: `read` changes nothing and needs no lease. */
export type OpenMode = "write" | "read";

const fdatasyncLater = promisify(fdatasync);

/** A file beside the database whose writes become durable with those of the database. */
export interface SyncedBeside {
  sync(): Promise<void>;
  syncNow(): void;
}

/** An open database. */
export class StoreDatabase {
  readonly directory: string;
  readonly mode: OpenMode;
  /** What an interrupted write left at the end of the WAL, and was cut off. */
  readonly tornTail: TornTail | undefined;
  readonly #sqlite: Database.Database;
  readonly #presence: FileLock | undefined;
  readonly #walFd: number | undefined;
  readonly #mover: WalMover | undefined;
  readonly #commit: Database.Transaction<(body: () => void) => void>;
  readonly #statements = new Map<string, Database.Statement>();
  /** Files beside the database that `sync` covers, too. */
  readonly #besides = new Set<SyncedBeside>();
  /** Commits, and how many of them are durable. */
  #commits = 1;
  #durable = 0;
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  /** Once a sync has failed, nobody knows what is durable. */
  #syncFailure: Error | undefined;

  /**
   * Throws E_STORE_FOREIGN, E_STORE_NEWER, E_STORE_UNWRITABLE, E_STORE_BUSY, E_STORE_UNKNOWN, and
   * for reading OldFormError.
   */
  constructor(directory: string, mode: OpenMode, walPages = DEFAULT_WAL_PAGES) {
    this.directory = directory;
    this.mode = mode;
    const path = join(directory, DATABASE_NAME);
    if (mode === "write") prepareDirectory(directory);
    else checkExists(path);
    let presence = mode === "write" ? takePresence(directory, "shared") : undefined;
    let sqlite: Database.Database | undefined;
    try {
      if (mode === "write") createPrivateFile(path);
      sqlite = translating(`cannot open ${path}`, () => openDatabase(path, mode));
      const version = checkForm(sqlite, path);
      if (mode === "write") {
        if (version < SCHEMA_VERSION) {
          presence?.release();
          migrateAlone(sqlite, directory);
          presence = takePresence(directory, "shared");
        }
        this.tornTail = findTornTail(sqlite, `${path}-wal`);
        this.#walFd = openWal(sqlite, path, walPages * WAL_OVERRUN);
        this.#mover = new WalMover(sqlite, path, walPages);
      } else if (version < SCHEMA_VERSION) {
        throw new OldFormError(path);
      }
    } catch (error) {
      sqlite?.close();
      presence?.release();
      throw translateError(error, `cannot open ${path}`);
    }
    this.#sqlite = sqlite;
    this.#commit = sqlite.transaction((body: () => void) => body());
    this.#presence = presence;
  }

  /** The connection. Throws E_STORE_CLOSED. */
  get sqlite(): Database.Database {
    if (this.#sqlite.open) return this.#sqlite;
    throw storeError("E_STORE_CLOSED", "cannot use the store: it is closed");
  }

  get isOpen(): boolean {
    return this.#sqlite.open;
  }

  get path(): string {
    return join(this.directory, DATABASE_NAME);
  }

  /** Runs `body` with errors in the store's codes. */
  reading<Result>(what: string, body: (sqlite: Database.Database) => Result): Result {
    return translating(what, () => body(this.sqlite));
  }

  /** Runs `body` as one commit; when it throws nothing has happened. */
  writing<Result>(what: string, body: (sqlite: Database.Database) => Result): Result {
    const { sqlite } = this;
    let result: { readonly value: Result } | undefined;
    if (this.mode === "read") {
      throw storeError("E_STORE_UNWRITABLE", `${what}: the store was opened for reading`);
    }
    translating(what, () =>
      this.#commit.immediate(() => {
        result = { value: body(sqlite) };
      }),
    );
    assert(result !== undefined, "a commit has run its body");
    this.#commits++;
    this.#mover?.committed();
    return result.value;
  }

  /** A statement that is prepared once, for what is done often. */
  statement(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.sqlite.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** Everything committed before the call is durable when it resolves. Calls share an fsync. */
  async sync(): Promise<void> {
    // One that runs may have begun before our commit; the next one covers it.
    this.#checkSync();
    this.#nextSync ??= this.#syncAfter(this.#syncing);
    await this.#nextSync;
  }

  /** The same, blocking. */
  syncNow(): void {
    const fd = this.#checkSync();
    try {
      const commits = this.#commits;
      if (commits !== this.#durable) fdatasyncSync(fd);
      this.#durable = commits;
      for (const beside of this.#besides) beside.syncNow();
    } catch (error) {
      throw this.#failSync(error);
    }
  }

  /** `sync` covers this one, too, until the function that it answers is called. */
  syncBeside(beside: SyncedBeside): () => void {
    this.#besides.add(beside);
    return () => this.#besides.delete(beside);
  }

  /** Starts the thread that moves the write-ahead log, before there is one to be moved. */
  prepare(): void {
    this.#mover?.prepare();
  }

  /** Moves what the write-ahead log holds into the database file. */
  settle(): void {
    this.reading("cannot settle the store", (sqlite) => sqlite.pragma("wal_checkpoint(TRUNCATE)"));
  }

  close(): void {
    if (!this.#sqlite.open) return;
    this.#mover?.close();
    this.#sqlite.close();
    if (this.#walFd !== undefined) closeSync(this.#walFd);
    this.#presence?.release();
  }

  async #syncAfter(running: Promise<void> | undefined): Promise<void> {
    await running?.catch(() => undefined);
    const now = (async () => {
      const fd = this.#checkSync();
      try {
        await Promise.all([this.#syncWal(fd), ...[...this.#besides].map((each) => each.sync())]);
      } catch (error) {
        throw this.#failSync(error);
      }
    })();
    this.#syncing = now;
    this.#nextSync = undefined;
    await now;
  }

  async #syncWal(fd: number): Promise<void> {
    const commits = this.#commits;
    if (commits === this.#durable) return;
    await fdatasyncLater(fd);
    this.#durable = Math.max(this.#durable, commits);
  }

  #checkSync(): number {
    void this.sqlite;
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
    if (this.#walFd !== undefined) return this.#walFd;
    throw storeError("E_STORE_UNWRITABLE", "cannot sync: the store was opened for reading");
  }

  #failSync(error: unknown): Error {
    this.#syncFailure = translateError(error, `cannot sync ${this.path}`);
    return this.#syncFailure;
  }
}

function prepareDirectory(directory: string): void {
  translating(`cannot create ${directory}`, () => {
    for (const folder of ["leases", TAILS_FOLDER]) {
      mkdirSync(join(directory, folder), { recursive: true, mode: 0o700 });
    }
    // It may have been made with a wider mode; it holds secrets.
    if ((statSync(directory).mode & 0o077) !== 0) chmodSync(directory, 0o700);
  });
}

function checkExists(path: string): void {
  if (translating(`cannot read ${path}`, () => statSync(path, { throwIfNoEntry: false }))) return;
  throw storeError("E_STORE_UNKNOWN", `there is no store at ${dirname(path)}`, {
    hint: "it is made by the first machine that is run with a name",
  });
}

/**
 * Everybody who writes is present; a change of the form needs to be alone. Waits a moment: several
 * processes may find the same new or old store.
 */
function takePresence(directory: string, kind: "shared" | "exclusive"): FileLock {
  const path = join(directory, "store.lock");
  for (const end = performance.now() + PRESENCE_TIMEOUT_MS; ; sleep(PRESENCE_RETRY_MS)) {
    const lock = tryFileLock(path, kind);
    if (lock !== undefined) return lock;
    if (performance.now() > end) break;
  }
  const what = kind === "shared" ? "is brought to a newer form" : "is in use in its older form";
  throw storeError("E_STORE_BUSY", `the store at ${directory} ${what}${lockHolder(path)}`, {
    hint: kind === "shared" ? "try again" : "stop what uses it and try again",
  });
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function openDatabase(path: string, mode: OpenMode): Database.Database {
  const readonly = mode === "read";
  const sqlite = new Database(path, { readonly, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  sqlite.pragma("trusted_schema = OFF");
  sqlite.pragma("cell_size_check = ON");
  sqlite.pragma(`cache_size = -${CACHE_KIB}`);
  return sqlite;
}

/** The version of its form; 0: it is new. */
function checkForm(sqlite: Database.Database, path: string): number {
  const application = Number(sqlite.pragma("application_id", { simple: true }));
  const version = Number(sqlite.pragma("user_version", { simple: true }));
  const tables = sqlite.prepare<[], { n: number }>("SELECT count(*) AS n FROM sqlite_schema").get();
  if (application === 0 && version === 0 && tables?.n === 0) return 0;
  if (application !== APPLICATION_ID) {
    throw storeError("E_STORE_FOREIGN", `${path} is not a store of Déjà VM`, {
      hint: "move the file away, or set XDG_STATE_HOME to another directory",
    });
  }
  if (version > SCHEMA_VERSION) {
    const message = `${path} has form ${version}, this program knows ${SCHEMA_VERSION}`;
    throw storeError("E_STORE_NEWER", message, { hint: "use the newer Déjà VM that wrote it" });
  }
  return version;
}

/** A database that has to be renewed before it can be read. */
export class OldFormError extends Error {}

function migrateAlone(sqlite: Database.Database, directory: string): void {
  const alone = takePresence(directory, "exclusive");
  try {
    migrate(sqlite, SCHEMA_VERSION);
  } finally {
    alone.release();
  }
}

/** Brings the tables to a form, all or nothing. */
export function migrate(sqlite: Database.Database, version: number): void {
  // These count only in an empty database, and only outside a transaction.
  sqlite.pragma(`page_size = ${PAGE_SIZE}`);
  sqlite.pragma("auto_vacuum = INCREMENTAL");
  sqlite.pragma("journal_mode = WAL");
  sqlite
    .transaction(() => {
      const from = Number(sqlite.pragma("user_version", { simple: true }));
      for (const step of MIGRATIONS.slice(from, version)) {
        sqlite.exec(step);
        failPoint("migration.step");
      }
      sqlite.pragma(`application_id = ${APPLICATION_ID}`);
      sqlite.pragma(`user_version = ${Math.max(from, version)}`);
      failPoint("migration.before-commit");
    })
    .immediate();
  failPoint("migration.done");
}

/** Sets how commits are written, and opens the WAL by itself, to sync it. */
function openWal(sqlite: Database.Database, path: string, walPages: number): number {
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("synchronous = NORMAL");
  sqlite.pragma(`wal_autocheckpoint = ${walPages}`);
  // What a burst has made of it goes back to the file system.
  sqlite.pragma(`journal_size_limit = ${walPages * PAGE_SIZE}`);
  // Makes the file where there is none. Closing a handle of the database itself would drop
  // SQLite's locks (POSIX has it so); on the WAL it has none.
  sqlite.exec("BEGIN IMMEDIATE; COMMIT");
  const fd = openSync(`${path}-wal`, "r+");
  fsyncSync(fd);
  const directory = openSync(dirname(path), "r");
  fsyncSync(directory);
  closeSync(directory);
  return fd;
}
