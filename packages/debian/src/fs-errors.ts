/** Errors of the host's file system in the project's own codes. */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CodedError } from "@dejavm/base";

const WRITABLE = "point XDG_CACHE_HOME to a directory that can be written";

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
        hint: WRITABLE,
        cause: error,
      });
    default:
      return error;
  }
}

/**
 * Makes a directory and those above it. Throws `E_CACHE_UNWRITABLE` or `E_DISK_FULL`. Node's own
 * recursive mkdir hides the reason on a read-only file system, and never ends on some others.
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (await isDirectory(path)) return;
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (!missing || (await isDirectory(dirname(path)))) {
      throw unwritable(`cannot create ${path}`, error);
    }
    await makeDirectory(dirname(path));
    await makeDirectory(path);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** `E_DISK_FULL`, with what was being done. */
export function diskFullError(what: string, cause?: unknown): CodedError<"E_DISK_FULL"> {
  return new CodedError("E_DISK_FULL", `${what}: no space left on device`, {
    hint: "free some space, or point XDG_CACHE_HOME to a larger disk",
    cause,
  });
}

function unwritable(what: string, cause: unknown): unknown {
  const known = filesystemError(cause, what);
  if (known instanceof CodedError) return known;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new CodedError("E_CACHE_UNWRITABLE", `${what}: ${reason}`, { hint: WRITABLE, cause });
}
