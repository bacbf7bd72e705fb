/**
 * One process at a time: an exclusive `flock` on a file, held by a child that ends with us. The
 * kernel frees it however we end, so there are no stale locks; util-linux is on every Debian.
 */
import { spawn } from "node:child_process";
import { dirname } from "node:path";
import { CodedError } from "@dejavm/base";
import { makeDirectory } from "./fs-errors.ts";

/** After this long without the lock, the waiting is reported. */
const REPORT_WAIT_MS = 500;

/**
 * Runs `body` while holding the lock on `path` (created if absent, never removed). `onWait` is
 * called once if another process holds it for long. Throws `E_TOOL_MISSING` without `flock`.
 */
export async function withFileLock<Result>(
  path: string,
  body: () => Promise<Result>,
  onWait?: () => void,
): Promise<Result> {
  await makeDirectory(dirname(path));
  const child = spawn("flock", ["--exclusive", path, "sh", "-c", "echo held; exec cat"], {
    stdio: ["pipe", "pipe", "pipe"],
    // Its own group: Ctrl-C must not free the lock while the body still cleans up.
    detached: true,
  });
  const waiting = setTimeout(() => onWait?.(), REPORT_WAIT_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      let complaint = "";
      child.stderr.on("data", (chunk: Buffer) => {
        complaint += chunk.toString();
      });
      child.stdout.once("data", () => resolve());
      child.once("error", (error) => reject(lockError(path, error.message, error)));
      child.once("close", () => reject(lockError(path, complaint.trim())));
    });
  } finally {
    clearTimeout(waiting);
  }
  try {
    return await body();
  } finally {
    const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
    child.stdin.end();
    await closed;
  }
}

function lockError(path: string, detail: string, cause?: unknown): CodedError {
  if (/read-only|permission denied|no space/i.test(detail)) {
    return new CodedError("E_CACHE_UNWRITABLE", `cannot lock ${path}: ${detail}`, {
      hint: "point XDG_CACHE_HOME to a directory that can be written",
    });
  }
  return new CodedError("E_TOOL_MISSING", `cannot lock ${path} with flock: ${detail}`, {
    hint: "install util-linux",
    cause,
  });
}
