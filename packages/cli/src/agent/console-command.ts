/** `dejavm console` and `dejavm exec`: this terminal, or pipe, at a machine that runs elsewhere. */
import { once } from "node:events";
import {
  type ControlClient,
  EXEC_STDERR,
  execExitSchema,
  failureSchema,
  findVmNamed,
  fromFailure,
  stateDirectory,
} from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import type { RawData, WebSocket } from "ws";
import { EscapeParser } from "../run/escape.ts";
import { hostTerminal, writeFully } from "../run/terminal.ts";

/** Options of both. */
export interface AttachOptions {
  readonly stateDir?: string;
}

const DETACH_HELP = "Ctrl-A x  detach\nCtrl-A a  send Ctrl-A itself\nCtrl-A h  this help";

/** Ends with Ctrl-A x, with the end of standard input, or with the machine's process. */
export async function attachConsole(name: string, options: AttachOptions): Promise<void> {
  const stream = await open(name, "console", options);
  const terminal = hostTerminal(process.stdout);
  const escape = new EscapeParser();
  const detach = (): void => stream.close();
  stream.on("message", (data, binary) => {
    if (binary) void terminal.write(toBytes(data));
  });
  terminal.open((bytes) => {
    if (!terminal.interactive) {
      stream.send(bytes);
      return;
    }
    for (const typed of escape.push(bytes)) {
      if (typed.kind === "bytes") stream.send(typed.bytes);
      else if (typed.command === "quit") detach();
      else terminal.notice(DETACH_HELP);
    }
  });
  if (terminal.interactive) terminal.notice(`console of ${name}; Ctrl-A x detaches`);
  const failure = failureOf(stream);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, detach);
  await once(stream, "close");
  terminal.close();
  const error = failure();
  if (error !== undefined) throw error;
}

/** Gives the command's status. Throws E_EXEC_*, E_GUEST_ENDED, E_VM_*. */
export async function execIn(
  name: string,
  command: string,
  options: AttachOptions,
): Promise<number> {
  const stream = await open(name, "exec", options);
  const ended = commandEnd(stream, name, (which, bytes) => {
    void writeFully(which === EXEC_STDERR ? process.stderr : process.stdout, bytes);
  });
  stream.send(JSON.stringify({ command }), { binary: false });
  passInput(stream);
  return ended;
}

/** Runs a command without input; gives its status and all of its output. Throws as `execIn`. */
export async function runCommand(
  client: ControlClient,
  name: string,
  command: string,
  input?: Uint8Array,
): Promise<{ readonly status: number; readonly output: string }> {
  const stream = client.stream(`/v1/vms/${name}/exec`);
  await once(stream, "open");
  const parts: Uint8Array[] = [];
  const ended = commandEnd(stream, name, (_which, bytes) => {
    parts.push(bytes);
  });
  stream.send(JSON.stringify({ command }), { binary: false });
  if (input !== undefined) stream.send(input);
  stream.send(JSON.stringify({ stdin: "end" }), { binary: false });
  return { status: await ended, output: Buffer.concat(parts).toString("utf8") };
}

/** Settles with the status once the stream is closed. */
async function commandEnd(
  stream: WebSocket,
  name: string,
  onOutput: (which: number, bytes: Uint8Array) => void,
): Promise<number> {
  stream.on("error", () => undefined);
  const failure = failureOf(stream);
  let status: number | undefined;
  stream.on("message", (data, binary) => {
    const bytes = toBytes(data);
    if (binary) {
      onOutput(bytes[0] ?? 0, bytes.subarray(1));
      return;
    }
    const exit = execExitSchema.safeParse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    if (exit.success) status = exit.data.exit;
  });
  await once(stream, "close");
  if (status !== undefined) return status;
  throw (
    failure() ??
    new CodedError("E_GUEST_ENDED", `${name} ended before the command did`, {
      hint: "`dejavm ps` shows where machines stand",
    })
  );
}

/** A terminal's keys stay ours: commands get input from pipes and files only. */
function passInput(stream: WebSocket): void {
  const end = (): void => stream.send(JSON.stringify({ stdin: "end" }), { binary: false });
  if (process.stdin.isTTY) {
    end();
    return;
  }
  process.stdin.on("data", (bytes: Buffer) => stream.send(bytes));
  process.stdin.on("end", end);
}

async function open(
  name: string,
  what: "console" | "exec",
  options: AttachOptions,
): Promise<WebSocket> {
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  const stream = client.stream(`/v1/vms/${name}/${what}`);
  await once(stream, "open");
  stream.on("error", () => undefined);
  return stream;
}

/** What the other side said was wrong before it closed. */
function failureOf(stream: WebSocket): () => CodedError | undefined {
  let error: CodedError | undefined;
  stream.on("message", (data, binary) => {
    if (binary) return;
    const parsed = failureSchema.safeParse(JSON.parse(Buffer.from(toBytes(data)).toString("utf8")));
    if (parsed.success) error = fromFailure(parsed.data);
  });
  return () => error;
}

function toBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
