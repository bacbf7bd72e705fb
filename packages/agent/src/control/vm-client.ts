/** What takes more than one answer at a control socket: commands, migrations, frames. */
import { once } from "node:events";
import type { CodedError } from "@dejavm/base";
import type { MigrationReport } from "@dejavm/source-agent";
import type { RawData, WebSocket } from "ws";
import type { z } from "zod";
import { agentError } from "../errors.ts";
import {
  EXEC_STDERR,
  execExitSchema,
  failureSchema,
  type MigrateRequest,
  progressSchema,
  reportSchema,
} from "./api.ts";
import type { ControlClient } from "./client.ts";
import { fromFailure } from "./failure.ts";

/** How far a migration is. */
export type Progress = z.infer<typeof progressSchema>["progress"];
/** What a migration is asked for; what is absent is as usual. */
export type MigrationWish = Pick<MigrateRequest, "to"> & Partial<MigrateRequest>;

/** A command that was started through a control socket. */
export interface RemoteCommand {
  /** Settles with its status. Throws E_EXEC_*, E_GUEST_ENDED, E_VM_*. */
  readonly status: Promise<number>;
  /** Input, and `undefined` for its end. */
  readonly stdin: (bytes: Uint8Array | undefined) => void;
}

/** Starts a shell command in a machine. */
export async function startCommand(
  client: ControlClient,
  name: string,
  command: string,
  onOutput: (which: "stdout" | "stderr", bytes: Uint8Array) => void,
): Promise<RemoteCommand> {
  const stream = await client.stream(`/v1/vms/${name}/exec`);
  const status = commandStatus(stream, name, onOutput);
  status.catch(() => undefined);
  tell(stream, { command });
  return {
    status,
    stdin(bytes) {
      if (bytes === undefined) tell(stream, { stdin: "end" });
      else if (stream.readyState === stream.OPEN) stream.send(bytes);
    },
  };
}

/** Runs a command to its end; gives its status and all of its output. */
export async function runCommand(
  client: ControlClient,
  name: string,
  command: string,
  input?: Uint8Array,
): Promise<{ readonly status: number; readonly output: string }> {
  const parts: Uint8Array[] = [];
  const running = await startCommand(client, name, command, (_which, bytes) => {
    parts.push(bytes);
  });
  if (input !== undefined) running.stdin(input);
  running.stdin(undefined);
  const status = await running.status;
  return { status, output: Buffer.concat(parts).toString("utf8") };
}

/** A migration that was begun through a control socket. */
export interface RemoteMigration {
  /** Settles with the report, however it ended. Throws what kept it from beginning. */
  readonly report: Promise<MigrationReport>;
  readonly cancel: () => void;
}

/** Begins to move a machine. */
export async function startMigration(
  client: ControlClient,
  name: string,
  wish: MigrationWish,
  onProgress: (progress: Progress) => void,
): Promise<RemoteMigration> {
  const stream = await client.stream(`/v1/vms/${name}/migrate`);
  const report = migrationReport(stream, name, onProgress);
  report.catch(() => undefined);
  tell(stream, wish);
  return { report, cancel: () => tell(stream, { cancel: true }) };
}

/**
 * Hears of each frame as it leaves a machine of an agent, with the host's time in milliseconds
 * since 1970. The answer ends that.
 */
export async function tapFrames(
  client: ControlClient,
  name: string,
  onFrame: (frame: Uint8Array, atMs: number) => void,
): Promise<() => void> {
  const stream = await client.stream(`/v1/vms/${name}/tap`);
  stream.on("message", (data, binary) => {
    if (!binary) return;
    const bytes = toBytes(data);
    const atMs = new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0);
    onFrame(bytes.subarray(TAP_STAMP_BYTES), atMs);
  });
  return () => stream.close();
}

const TAP_STAMP_BYTES = 8;

async function commandStatus(
  stream: WebSocket,
  name: string,
  onOutput: (which: "stdout" | "stderr", bytes: Uint8Array) => void,
): Promise<number> {
  const failure = failureOf(stream);
  let status: number | undefined;
  stream.on("message", (data, binary) => {
    const bytes = toBytes(data);
    if (binary) {
      onOutput(bytes[0] === EXEC_STDERR ? "stderr" : "stdout", bytes.subarray(1));
      return;
    }
    const exit = execExitSchema.safeParse(jsonOf(bytes));
    if (exit.success) status = exit.data.exit;
  });
  await once(stream, "close");
  if (status !== undefined) return status;
  const message = `${name} ended before the command did`;
  throw failure() ?? agentError("E_GUEST_ENDED", message, "`dejavm ps` shows where machines stand");
}

async function migrationReport(
  stream: WebSocket,
  name: string,
  onProgress: (progress: Progress) => void,
): Promise<MigrationReport> {
  const failure = failureOf(stream);
  let report: MigrationReport | undefined;
  stream.on("message", (data) => {
    const message = jsonOf(toBytes(data));
    const progress = progressSchema.safeParse(message);
    if (progress.success) onProgress(progress.data.progress);
    const ended = reportSchema.safeParse(message);
    // The schema checks what says how it ended; the rest is the agent's word.
    if (ended.success) report = ended.data.report as unknown as MigrationReport;
  });
  await once(stream, "close");
  if (report !== undefined) return report;
  const message = `the agent went away while it moved ${name}`;
  const hint = "start it again; `dejavm ps` on both hosts shows where the machine is";
  throw failure() ?? agentError("E_AGENT_ABSENT", message, hint);
}

/** What the other side said was wrong before it closed. */
export function failureOf(stream: WebSocket): () => CodedError | undefined {
  let error: CodedError | undefined;
  stream.on("message", (data, binary) => {
    const parsed = binary ? undefined : failureSchema.safeParse(jsonOf(toBytes(data)));
    if (parsed?.success === true) error = fromFailure(parsed.data);
  });
  return () => error;
}

function tell(stream: WebSocket, facts: object): void {
  if (stream.readyState === stream.OPEN) stream.send(JSON.stringify(facts), { binary: false });
}

function jsonOf(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString("utf8"));
}

/** A message of a WebSocket as bytes. */
export function toBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
