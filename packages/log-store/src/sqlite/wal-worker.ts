/**
 * The thread that moves the write-ahead log into the database, with the fsyncs that this takes, so
 * that no commit waits for them. `wal-mover.ts` starts it and tells it when.
 */
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "@dejavm/base";
import Database from "better-sqlite3";
import { isMoverData, MOVER } from "./wal-mover.ts";

const data: unknown = workerData;
assert(isMoverData(data) && parentPort !== null, "started by wal-mover.ts");
const { path, state } = data;
const sqlite = new Database(path, { fileMustExist: true });
sqlite.pragma("synchronous = NORMAL");
for (;;) {
  Atomics.wait(state, 0, MOVER.idle);
  if (Atomics.load(state, 0) === MOVER.closing) break;
  try {
    sqlite.pragma("wal_checkpoint(PASSIVE)");
  } catch {
    // Commits do it themselves once the log is much longer, and tell of what fails.
  }
  Atomics.compareExchange(state, 0, MOVER.moving, MOVER.idle);
}
sqlite.close();
