/** Errors of the host's file system in the project's own codes. */
import { mkdir } from "node:fs/promises";
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
      return unwritable(`${what}: ${error.message}`, error);
    default:
      return error;
  }
}

/** Makes a directory and those above it. Throws `E_CACHE_UNWRITABLE` or `E_DISK_FULL`. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const what = `cannot create ${path}`;
    // What Node says of a read-only file system is ENOENT.
    if (error instanceof Error && (error as NodeJS.ErrnoException).code === "ENOENT") {
      throw unwritable(`${what}: it is not on a writable file system`, error);
    }
    throw filesystemError(error, what);
  }
}

/** `E_DISK_FULL`, with what was being done. */
export function diskFullError(what: string, cause?: unknown): CodedError<"E_DISK_FULL"> {
  return new CodedError("E_DISK_FULL", `${what}: no space left on device`, {
    hint: "free some space, or point XDG_CACHE_HOME to a larger disk",
    cause,
  });
}

function unwritable(message: string, cause: Error): CodedError<"E_CACHE_UNWRITABLE"> {
  return new CodedError("E_CACHE_UNWRITABLE", message, {
    hint: "point XDG_CACHE_HOME to a directory that can be written",
    cause,
  });
}
