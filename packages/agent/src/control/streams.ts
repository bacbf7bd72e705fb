/** Consoles and commands on WebSockets: the server's side. */
import type { RawData, WebSocket } from "ws";
import { agentError } from "../errors.ts";
import type { ControlledVm } from "../vm/controlled-vm.ts";
import type { RunningCommand } from "../vm/guest-exec.ts";
import { EXEC_STDERR, EXEC_STDOUT, execEndSchema, execStartSchema } from "./api.ts";
import { toFailure } from "./failure.ts";
import { parseBody } from "./routes.ts";

/** What may wait for a slow reader of a console before it is cut off. */
const MAX_CONSOLE_BACKLOG_BYTES = 4 * 1024 * 1024;
/** What may wait for a slow reader of a command before the command waits. */
const MAX_EXEC_BACKLOG_BYTES = 256 * 1024;
const CLOSE_NORMAL = 1000;
const CLOSE_FAILED = 1011;

/** Tells why, then closes. */
export function closeStream(stream: WebSocket, error: unknown): void {
  stream.send(JSON.stringify(toFailure(error)), { binary: false });
  stream.close(CLOSE_FAILED);
}

/** Binary messages both ways: what the console says, and what is typed. */
export function serveConsole(vm: ControlledVm, stream: WebSocket): void {
  const detach = vm.attachConsole((bytes) => {
    if (stream.bufferedAmount <= MAX_CONSOLE_BACKLOG_BYTES) {
      stream.send(bytes);
      return;
    }
    detachLater();
    const message = "the console says more than this reader takes";
    closeStream(stream, agentError("E_CONSOLE_SLOW", message, "attach again"));
  });
  // A reader may be found slow while it is still being attached.
  const detachLater = (): void => queueMicrotask(detach);
  stream.on("message", (data, binary) => {
    if (binary) vm.type(toBytes(data));
  });
  stream.on("close", detach);
  stream.on("error", () => undefined);
}

/** See `execStartSchema` and what follows it for the messages. */
export function serveExec(vm: ControlledVm, stream: WebSocket): void {
  let command: Promise<RunningCommand> | undefined;
  stream.on("message", (data, binary) => {
    const bytes = toBytes(data);
    if (binary) {
      void command?.then(({ stdin }) => stdin(bytes)).catch(() => undefined);
      return;
    }
    try {
      const message: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
      if (command !== undefined) {
        parseBody(execEndSchema, message);
        void command.then(({ stdin }) => stdin(undefined)).catch(() => undefined);
        return;
      }
      command = vm.exec(parseBody(execStartSchema, message).command, {
        stdout: (part) => sendPart(stream, EXEC_STDOUT, part),
        stderr: (part) => sendPart(stream, EXEC_STDERR, part),
      });
      void finish(stream, command);
    } catch (error) {
      closeStream(stream, error);
    }
  });
  stream.on("error", () => undefined);
}

async function finish(stream: WebSocket, command: Promise<RunningCommand>): Promise<void> {
  try {
    const { status } = await command;
    stream.send(JSON.stringify({ exit: await status }), { binary: false });
    stream.close(CLOSE_NORMAL);
  } catch (error) {
    closeStream(stream, error);
  }
}

/** Settles once a slow reader has caught up: until then the command's output waits. */
function sendPart(stream: WebSocket, which: number, part: Uint8Array): void | Promise<void> {
  const message = Buffer.concat([Uint8Array.of(which), part]);
  if (stream.readyState !== stream.OPEN) return undefined;
  if (stream.bufferedAmount < MAX_EXEC_BACKLOG_BYTES) {
    stream.send(message);
    return undefined;
  }
  return new Promise((resolve) => {
    stream.send(message, () => resolve());
  });
}

function toBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data);
}
