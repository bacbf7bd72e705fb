/** Errors of SQLite and of the host's file system in the store's own codes. */
import { closeSync, openSync } from "node:fs";
import { CodedError } from "@dejavm/base";
import { type StoreErrorCode, storeError } from "../store-errors.ts";

const PRIVATE_FILE = 0o600;

const HINTS: Partial<Record<StoreErrorCode, string>> = {
  E_DISK_FULL: "free some space; what was written before is safe",
  E_STORE_BUSY: "another process works on the store; try again",
  E_STORE_CORRUPT: "see what is damaged with 'dejavm log verify'",
  E_STORE_FOREIGN: "move the file away, or set XDG_STATE_HOME to another directory",
  E_STORE_IO: "check the disk that the store is on",
  E_STORE_UNWRITABLE: "set XDG_STATE_HOME to a directory that you may write",
};

/** By the beginning of SQLite's or Node's code; the first that fits counts. */
const CODES: readonly (readonly [string, StoreErrorCode])[] = [
  ["SQLITE_FULL", "E_DISK_FULL"],
  ["SQLITE_NOTADB", "E_STORE_FOREIGN"],
  ["SQLITE_CORRUPT", "E_STORE_CORRUPT"],
  ["SQLITE_READONLY", "E_STORE_UNWRITABLE"],
  ["SQLITE_CANTOPEN", "E_STORE_UNWRITABLE"],
  ["SQLITE_PERM", "E_STORE_UNWRITABLE"],
  ["SQLITE_BUSY", "E_STORE_BUSY"],
  ["SQLITE_LOCKED", "E_STORE_BUSY"],
  ["SQLITE_PROTOCOL", "E_STORE_BUSY"],
  ["SQLITE_TOOBIG", "E_STORE_LIMIT"],
  ["SQLITE_", "E_STORE_IO"],
  ["ENOSPC", "E_DISK_FULL"],
  ["EDQUOT", "E_DISK_FULL"],
  ["EACCES", "E_STORE_UNWRITABLE"],
  ["EPERM", "E_STORE_UNWRITABLE"],
  ["EROFS", "E_STORE_UNWRITABLE"],
  ["ENOTDIR", "E_STORE_UNWRITABLE"],
  ["EISDIR", "E_STORE_UNWRITABLE"],
  ["EEXIST", "E_STORE_UNWRITABLE"],
  ["E", "E_STORE_IO"],
];

/** `error` with a code; what is no error of the host is thrown again as it is. */
export function translateError(error: unknown, what: string): CodedError {
  const coded: CodedError | undefined = error instanceof CodedError ? error : undefined;
  if (coded !== undefined) return coded;
  if (!(error instanceof Error)) throw error;
  const hostCode = "code" in error && typeof error.code === "string" ? error.code : "";
  const code = CODES.find(([prefix]) => hostCode.startsWith(prefix))?.[1];
  if (code === undefined) throw error;
  const hint = HINTS[code];
  return storeError(code, `${what}: ${error.message}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Runs `body` with errors in the store's codes. */
export function translating<Result>(what: string, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    throw translateError(error, what);
  }
}

/** Makes an empty file that only its owner may use; does nothing if there is a file. */
export function createPrivateFile(path: string): void {
  translating(`cannot create ${path}`, () => {
    try {
      closeSync(openSync(path, "wx", PRIVATE_FILE));
    } catch (error) {
      const exists = error instanceof Error && "code" in error && error.code === "EEXIST";
      if (!exists) throw error;
    }
  });
}
