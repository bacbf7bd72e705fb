/** Failures of the host's files and sockets as coded errors, and errors as data. */
import { CodedError } from "@dejavm/base";
import type { ErrorReport } from "./reports.ts";

/** Codes of this package; docs/errors.md has their causes and remedies. */
export type SourceAgentErrorCode =
  | "E_DISK_CHANGED"
  | "E_DISK_FORMAT"
  | "E_DISK_FULL"
  | "E_DISK_SIZE"
  | "E_FILE_NOT_FOUND"
  | "E_FILE_ACCESS"
  | "E_FILE_IO"
  | "E_NET_ADDRESS"
  | "E_SNAPSHOT_DISK"
  | "E_STOPPED"
  | "E_VM_MODE"
  | "E_VM_REQUEST";

/** What a failed system call has: `code` is `ENOENT` and the like. */
interface SystemError extends Error {
  readonly code: string;
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && "code" in error && typeof error.code === "string";
}

/**
 * The coded error for a failed file operation. `action` reads `read the disk image a.img`.
 * What is no system error comes back as it is.
 */
export function fileError(action: string, error: unknown): unknown {
  if (error instanceof CodedError || !isSystemError(error)) return error;
  const make = (code: SourceAgentErrorCode, what: string, hint: string): CodedError =>
    new CodedError(code, `cannot ${action}: ${what}`, { hint, cause: error });
  switch (error.code) {
    case "ENOENT":
    case "ENOTDIR":
      return make("E_FILE_NOT_FOUND", "there is no such file", "check the path");
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return make("E_FILE_ACCESS", "permission denied", "check the file's owner and mode");
    case "EISDIR":
      return make("E_FILE_ACCESS", "it is a directory", "name a file");
    case "ENOSPC":
    case "EDQUOT":
      return make("E_DISK_FULL", "no space is left", "free some space and try again");
    default:
      return make("E_FILE_IO", `${error.code} (${error.message})`, "check the device it is on");
  }
}

/** `error` as plain data for another thread. */
export function toReport(error: unknown): ErrorReport {
  if (error instanceof CodedError) {
    return { code: String(error.code), message: error.message, hint: error.hint };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: undefined, message, hint: undefined };
}

/** The error that `toReport` was given, as far as it can be had again. */
export function fromReport(report: ErrorReport): Error {
  if (report.code === undefined) return new Error(report.message);
  const { code, message, hint } = report;
  return new CodedError(code, message, hint === undefined ? {} : { hint });
}
