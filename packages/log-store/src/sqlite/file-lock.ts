/**
 * Locks between processes that end with their holder, however that ends. SQLite takes the locks of
 * the host's kernel for us, on an empty file of its own: Node itself has none.
 */
import { readFileSync, statSync } from "node:fs";
import Database from "better-sqlite3";
import { storeError } from "../store-errors.ts";
import { createPrivateFile, translateError } from "./host-errors.ts";

/** A lock that is held. */
export interface FileLock {
  readonly release: () => void;
}

/**
 * Takes the lock on `path` at once, or answers undefined if another one, of this process or
 * another, has it in a way that does not go together with ours. Creates the file; it stays.
 */
export function tryFileLock(path: string, kind: "shared" | "exclusive"): FileLock | undefined {
  createPrivateFile(path);
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0 });
    // Nothing is ever written; without this a journal would stand beside the file.
    database.pragma("journal_mode = MEMORY");
    database.exec(kind === "exclusive" ? "BEGIN EXCLUSIVE" : "BEGIN; SELECT 1 FROM sqlite_schema");
  } catch (error) {
    database?.close();
    const coded = translateError(error, `cannot lock ${path}`);
    if (coded.code === "E_STORE_BUSY") return undefined;
    throw coded;
  }
  const held = database;
  return { release: () => held.close() };
}

/** Who has a lock on `path`, as far as the host says: ` (process 123)`, or nothing. */
export function lockHolder(path: string): string {
  try {
    const { ino } = statSync(path);
    for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
      const [, , , , pid, place = ""] = line.split(/\s+/);
      if (place.endsWith(`:${ino}`) && pid !== undefined) return ` (process ${pid})`;
    }
  } catch {
    // Only Linux says.
  }
  return "";
}

/** E_STORE_BUSY for a lineage, with the process if it is known. */
export function leaseHeldError(name: string, path: string): Error {
  return storeError("E_STORE_BUSY", `machine ${name} is in use${lockHolder(path)}`, {
    hint: "see 'dejavm ps'; stop it there first",
  });
}
