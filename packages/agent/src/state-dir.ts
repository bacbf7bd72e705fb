/**
 * Where agents keep what outlives them, and sockets: `$XDG_STATE_HOME/dejavm`, for its owner only.
 *
 * ```
 * identity.json  peers.json     who this agent is, whom it knows
 * run/*.sock                    control sockets of the agent and of named runs
 * vms/NAME.json                 definitions of the agent's machines
 * store/                        traces and checkpoints
 * files/                        files of machines that came from other agents, by sha256
 * ```
 */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileError } from "@dejavm/vm";
import { agentError } from "./errors.ts";

/** The kernel's limit for a Unix socket's path is 107 bytes; names take up to 40 of them. */
const MAX_RUN_PATH_BYTES = 107 - 40;

/** `given`, or what the environment says. Not made yet. */
export function stateDirectory(given?: string, env: NodeJS.ProcessEnv = process.env): string {
  if (given !== undefined) return resolve(given);
  const home = env["XDG_STATE_HOME"];
  return join(home === undefined || home === "" ? join(homedir(), ".local/state") : home, "dejavm");
}

/** Where the recorded machines are, within a state directory. */
export function storeDirectory(stateDir: string): string {
  return join(stateDir, "store");
}

/** Makes the directory and those in it. Throws E_STATE_DIR or E_FILE_*. */
export function prepareStateDirectory(path: string): void {
  const run = runDirectory(path);
  if (Buffer.byteLength(run) > MAX_RUN_PATH_BYTES) {
    throw agentError(
      "E_STATE_DIR",
      `cannot use the state directory ${path}: its path is too long for sockets in it`,
      `want a path of at most ${MAX_RUN_PATH_BYTES - 4} bytes`,
    );
  }
  try {
    for (const directory of [path, run, join(path, "vms")]) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      chmodSync(directory, 0o700);
    }
  } catch (error) {
    throw fileError(`make the state directory ${path}`, error);
  }
}

/** Where control sockets are. */
export function runDirectory(stateDir: string): string {
  return join(stateDir, "run");
}

/** The text of a file; undefined where there is none. */
export function readPrivateFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw fileError(`read ${path}`, error);
  }
}

/** Replaces a file in one step, durably, readable by its owner only. */
export function writePrivateFile(path: string, text: string): void {
  const temporary = `${path}.new`;
  try {
    const file = openSync(temporary, "w", 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    throw fileError(`write ${path}`, error);
  }
}
