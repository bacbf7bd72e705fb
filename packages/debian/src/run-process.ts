/** Child processes: run one to its end, keep what it said, report lines while it runs. */
import { spawn } from "node:child_process";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { CodedError } from "@dejavm/base";

/** How a child process ended and what it wrote. */
export interface RunResult {
  /** The exit status, or null if a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a run may be given besides command and arguments. */
export interface RunOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Fed to the child's standard input; it is /dev/null without it. */
  readonly input?: Readable;
  /** Gets each line that the child writes to its file descriptor 3. */
  readonly onStatusLine?: (line: string) => void;
  /** An abort ends the child, and `runProcess` throws the AbortError. */
  readonly signal?: AbortSignal;
}

/** Output kept of each stream; the tail matters, a flood must not fill our memory. */
const KEPT_OUTPUT_CHARS = 4 << 20;

/**
 * Runs a program to its end with messages in English. A failing program is a result, not an error.
 * Throws `E_TOOL_MISSING` if the program does not exist.
 */
export async function runProcess(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, LC_ALL: "C", LANGUAGE: "C", ...options.env },
    stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe", "pipe"],
    signal: options.signal,
  });
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout = (stdout + text).slice(-KEPT_OUTPUT_CHARS);
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-KEPT_OUTPUT_CHARS);
  });
  const status = child.stdio[3];
  if (status instanceof Readable) forEachLine(status, options.onStatusLine);
  const ended = new Promise<RunResult>((resolve, reject) => {
    child.on("error", (error) => reject(startError(command, error)));
    child.on("close", (exitCode, signal) => resolve({ exitCode, signal, stdout, stderr }));
  });
  if (options.input !== undefined && child.stdin !== null) {
    const fed = pipeline(options.input, child.stdin);
    const [result, feeding] = await Promise.allSettled([ended, fed]);
    if (result.status === "rejected") throw result.reason;
    // A child that failed has closed its input; its own message is the better one.
    if (feeding.status === "rejected" && result.value.exitCode === 0) throw feeding.reason;
    return result.value;
  }
  return await ended;
}

/** The last line of `text` that is not blank; what a program says last is why it failed. */
export function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1)?.trim() ?? "";
}

function forEachLine(stream: Readable, onLine: ((line: string) => void) | undefined): void {
  let rest = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine?.(line);
  });
}

function startError(command: string, error: NodeJS.ErrnoException): Error {
  if (error.code !== "ENOENT") return error;
  return new CodedError("E_TOOL_MISSING", `cannot run ${command}: no such program`, {
    hint: `install the Debian package that has ${command}`,
    cause: error,
  });
}
