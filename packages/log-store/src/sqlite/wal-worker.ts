/**
 * The thread that moves the write-ahead log into the database, with the fsyncs that this takes, so
 * that no commit waits for them. `wal-mover.ts` starts it and tells it when.
 */
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "@dejavm/base";
import Database from "better-sqlite3";
import { isMoverData, MOVER, MOVER_WORD } from "./wal-mover.ts";

const data: unknown = workerData;
assert(isMoverData(data) && parentPort !== null, "started by wal-mover.ts");
const { path, words } = data;
const sqlite = open();
sqlite.pragma("synchronous = NORMAL");
for (;;) {
  Atomics.wait(words, MOVER_WORD.state, MOVER.idle);
  if (Atomics.load(words, MOVER_WORD.state) === MOVER.closing) break;
  try {
    sqlite.pragma("wal_checkpoint(PASSIVE)");
  } catch {
    // Commits do it themselves once the log is much longer, and tell of what fails.
  }
  Atomics.compareExchange(words, MOVER_WORD.state, MOVER.moving, MOVER.idle);
}
sqlite.close();

/** The first database loads the addon; whether that worked or not, it is over. */
function open(): Database.Database {
  try {
    return new Database(path, { fileMustExist: true });
  } finally {
    Atomics.store(words, MOVER_WORD.isLoaded, 1);
    Atomics.notify(words, MOVER_WORD.isLoaded);
  }
}
