/** Errors of the host's file system in the project's own codes. */
import { CodedError } from "@dejavm/base";

/** Turns a Node file-system error into a `CodedError` where it has a code, else returns it. */
export function filesystemError(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || error instanceof CodedError) return error;
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOSPC":
    case "EDQUOT":
      return diskFullError(what, error);
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "EEXIST":
    case "ENOTDIR":
      return new CodedError("E_CACHE_UNWRITABLE", `${what}: ${error.message}`, {
        hint: "point XDG_CACHE_HOME to a directory that can be written",
        cause: error,
      });
    default:
      return error;
  }
}

/** `E_DISK_FULL`, with what was being done. */
export function diskFullError(what: string, cause?: unknown): CodedError<"E_DISK_FULL"> {
  return new CodedError("E_DISK_FULL", `${what}: no space left on device`, {
    hint: "free some space, or point XDG_CACHE_HOME to a larger disk",
    cause,
  });
}
