/** Errors of the store; docs/errors.md has their causes and remedies. */
import { CodedError, type CodedErrorOptions } from "@dejavm/base";

/** Codes of this package. */
export type StoreErrorCode =
  | "E_DISK_FULL"
  | "E_STORE_BUSY"
  | "E_STORE_CHECKPOINT"
  | "E_STORE_CLOSED"
  | "E_STORE_CORRUPT"
  | "E_STORE_EPOCH"
  | "E_STORE_EXISTS"
  | "E_STORE_FOREIGN"
  | "E_STORE_IO"
  | "E_STORE_LIMIT"
  | "E_STORE_NAME"
  | "E_STORE_NAME_TAKEN"
  | "E_STORE_NEWER"
  | "E_STORE_SEQUENCE"
  | "E_STORE_UNKNOWN"
  | "E_STORE_UNWRITABLE";

/** A `CodedError` of the store. */
export function storeError(
  code: StoreErrorCode,
  message: string,
  options?: CodedErrorOptions,
): CodedError<StoreErrorCode> {
  return new CodedError(code, message, options);
}

/** E_STORE_UNKNOWN for a lineage. */
export function unknownLineageError(reference: string): Error {
  return storeError("E_STORE_UNKNOWN", `there is no machine ${reference} in the store`, {
    hint: "see 'dejavm log ls'",
  });
}

/** E_STORE_EXISTS. */
export function existsError(id: string): Error {
  return storeError("E_STORE_EXISTS", `the store has the machine with the id ${id} already`, {
    hint: "see 'dejavm log ls'",
  });
}

/** E_STORE_NAME_TAKEN. */
export function nameTakenError(name: string): Error {
  return storeError("E_STORE_NAME_TAKEN", `the store has a machine named ${name} already`, {
    hint: "give another name, or remove it with 'dejavm log rm'",
  });
}

/** E_STORE_BUSY for a lineage. */
export function busyError(id: string): Error {
  return storeError("E_STORE_BUSY", `machine ${id} is in use by another process`, {
    hint: "see 'dejavm ps'; stop it there first",
  });
}

/** E_STORE_UNKNOWN for a checkpoint. */
export function unknownCheckpointError(id: number): Error {
  return storeError("E_STORE_UNKNOWN", `there is no checkpoint ${id} in the store`, {
    hint: "see 'dejavm log show'",
  });
}
