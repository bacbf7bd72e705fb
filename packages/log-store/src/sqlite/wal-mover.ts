/**
 * Keeps the write-ahead log short without holding up commits: a thread moves it into the database
 * (`wal-worker.ts`). It is started when there is something to do for the first time.
 */
import { Worker } from "node:worker_threads";
import type Database from "better-sqlite3";

/** What the thread does; both sides change it. */
export const MOVER = { idle: 0, moving: 1, closing: 2 } as const;

/** The shared words: a value of MOVER; 1 when the thread may be ended. */
export const MOVER_WORD = { state: 0, isLoaded: 1 } as const;

/** What the thread is started with. */
export interface MoverData {
  readonly path: string;
  /** See MOVER_WORD. */
  readonly words: Int32Array;
}

/** Commits between two looks at the log: a look costs as much as a small commit. */
const COMMITS_PER_LOOK = 8;

/** In a checkout that runs its sources the thread does, too. */
const FROM_SOURCE = import.meta.url.endsWith(".ts");
const WORKER = new URL(FROM_SOURCE ? "./wal-worker.ts" : "./wal-worker.js", import.meta.url);

/** What a process that ends waits for: loading takes a tenth of a second, on a busy host more. */
const LOAD_LIMIT_MS = 10_000;

/**
 * Words of threads that load their modules. A thread that is ended while it loads SQLite's addon
 * takes the process with it: N-API has no way back from there, and aborts.
 */
const loading = new Set<Int32Array>();

function waitUntilLoaded(): void {
  for (const words of loading) Atomics.wait(words, MOVER_WORD.isLoaded, 0, LOAD_LIMIT_MS);
}

/** See the head of the file. */
export class WalMover {
  readonly #look: Database.Statement<[], { log: number; checkpointed: number }>;
  readonly #path: string;
  readonly #pages: number;
  readonly #words = new Int32Array(new SharedArrayBuffer(8));
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
    if (this.#state !== MOVER.idle || this.#waiting() < this.#pages) return;
    this.#worker ??= this.#start();
    this.#tell(MOVER.moving);
  }

  /** The thread ends by itself, after what it is doing. */
  close(): void {
    if (this.#worker === undefined) return;
    this.#tell(MOVER.closing);
  }

  /** False while the thread loads its modules: the process ends after that. */
  get isLoaded(): boolean {
    return Atomics.load(this.#words, MOVER_WORD.isLoaded) !== 0;
  }

  get #state(): number {
    return Atomics.load(this.#words, MOVER_WORD.state);
  }

  #tell(state: number): void {
    Atomics.store(this.#words, MOVER_WORD.state, state);
    Atomics.notify(this.#words, MOVER_WORD.state);
  }

  /** Pages of the log that are not in the database yet. */
  #waiting(): number {
    const row = this.#look.get();
    return row === undefined ? 0 : row.log - row.checkpointed;
  }

  #start(): Worker {
    const words = this.#words;
    const data: MoverData = { path: this.#path, words };
    const worker = new Worker(WORKER, {
      workerData: data,
      ...(FROM_SOURCE ? { execArgv: ["--conditions=source"] } : {}),
    });
    if (loading.size === 0) process.on("exit", waitUntilLoaded);
    loading.add(words);
    const forget = (): void => {
      loading.delete(words);
      if (loading.size === 0) process.off("exit", waitUntilLoaded);
    };
    // A thread that fails leaves the log to the commits; a process that is done does not wait.
    worker.once("error", forget).once("exit", forget);
    worker.unref();
    return worker;
  }
}

/** True for what `WalMover` starts the thread with. */
export function isMoverData(value: unknown): value is MoverData {
  if (typeof value !== "object" || value === null) return false;
  return "path" in value && "words" in value && value.words instanceof Int32Array;
}
