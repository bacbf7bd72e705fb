/**
 * Keeps the write-ahead log short without holding up commits: a thread moves it into the database
 * (`wal-worker.ts`). It is started when there is something to do for the first time.
 */
import { Worker } from "node:worker_threads";
import type Database from "better-sqlite3";

/** What the thread does; both sides change it. */
export const MOVER = { idle: 0, moving: 1, closing: 2 } as const;

/** What the thread is started with. */
export interface MoverData {
  readonly path: string;
  /** One word, shared: a value of MOVER. */
  readonly state: Int32Array;
}

/** Commits between two looks at the log: a look costs as much as a small commit. */
const COMMITS_PER_LOOK = 8;

/** In a checkout that runs its sources the thread does, too. */
const FROM_SOURCE = import.meta.url.endsWith(".ts");
const WORKER = new URL(FROM_SOURCE ? "./wal-worker.ts" : "./wal-worker.js", import.meta.url);

/** See the head of the file. */
export class WalMover {
  readonly #look: Database.Statement<[], { log: number; checkpointed: number }>;
  readonly #path: string;
  readonly #pages: number;
  readonly #state = new Int32Array(new SharedArrayBuffer(4));
  #worker: Worker | undefined;
  #commits = 0;

  /** Moves the log of the database at `path` when it has more than `pages` pages. */
  constructor(sqlite: Database.Database, path: string, pages: number) {
    this.#look = sqlite.prepare("PRAGMA wal_checkpoint(NOOP)");
    this.#path = path;
    this.#pages = pages;
  }

  /** Starts the thread before there is something to do. */
  prepare(): void {
    this.#worker ??= this.#start();
  }

  /** Something was committed. */
  committed(): void {
    if (++this.#commits % COMMITS_PER_LOOK !== 0) return;
    if (Atomics.load(this.#state, 0) !== MOVER.idle || this.#waiting() < this.#pages) return;
    this.#worker ??= this.#start();
    Atomics.store(this.#state, 0, MOVER.moving);
    Atomics.notify(this.#state, 0);
  }

  /** The thread ends by itself, after what it is doing. */
  close(): void {
    if (this.#worker === undefined) return;
    Atomics.store(this.#state, 0, MOVER.closing);
    Atomics.notify(this.#state, 0);
  }

  /** Pages of the log that are not in the database yet. */
  #waiting(): number {
    const row = this.#look.get();
    return row === undefined ? 0 : row.log - row.checkpointed;
  }

  #start(): Worker {
    const data: MoverData = { path: this.#path, state: this.#state };
    const worker = new Worker(WORKER, {
      workerData: data,
      ...(FROM_SOURCE ? { execArgv: ["--conditions=source"] } : {}),
    });
    // A thread that fails leaves the log to the commits; a process that is done does not wait.
    worker.on("error", () => undefined);
    worker.unref();
    return worker;
  }
}

/** True for what `WalMover` starts the thread with. */
export function isMoverData(value: unknown): value is MoverData {
  if (typeof value !== "object" || value === null) return false;
  return "path" in value && "state" in value && value.state instanceof Int32Array;
}
