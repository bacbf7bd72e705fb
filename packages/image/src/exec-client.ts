/**
 * The host's side of the exec protocol: a state machine without clock or sockets. Its owner moves
 * bytes between it and the agent's port, and events between it and whoever wants commands run.
 *
 *     idle --greet--> greeting --HELLO with our nonce--> ready
 *                        ^                                 | HELLO unasked: the agent is a new one,
 *                        +---------------------------------+ all commands are lost
 *
 * Limits: `EXEC_WINDOW_BYTES` of each command's output are under way or untaken at most, however
 * the guest behaves; a guest that sends more has its command dropped.
 */
import { assert, CodedError } from "@dejavm/base";
import {
  EXEC_CHUNK_BYTES,
  EXEC_MAX_COMMANDS,
  EXEC_PROTOCOL_VERSION,
  EXEC_WINDOW_BYTES,
  ExecDecoder,
  type ExecExit,
  type ExecMessage,
  encodeExecMessage,
} from "./exec-protocol.ts";

/** What to run. */
export interface ExecRequest {
  readonly argv: readonly string[];
  /** `NAME=value`, added to the agent's defaults. */
  readonly env?: readonly string[];
  /** Default: /root. */
  readonly directory?: string;
}

/** What comes out, in the order in which it happened. */
export type ExecEvent =
  /** The agent listens; commands started before this moment run now. */
  | { readonly type: "ready" }
  /** The agent speaks another protocol version; nothing can be run. */
  | { readonly type: "incompatible"; readonly version: number }
  | { readonly type: "stdout"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "stderr"; readonly id: number; readonly bytes: Uint8Array }
  /** All that was written to a command's standard input is on its way: more may be written. */
  | { readonly type: "stdin-room"; readonly id: number }
  | { readonly type: "exit"; readonly id: number; readonly exit: ExecExit }
  /** The agent was restarted or broke the protocol: how the command ended is not known. */
  | { readonly type: "lost"; readonly id: number };

interface Command {
  /** Output that the agent may still send before we grant more. */
  outputCredit: number;
  /** Output taken by `poll` and not yet granted again. */
  takenBytes: number;
  stdinCredit: number;
  readonly stdin: Uint8Array[];
  /** The writer waits for `stdin-room`. */
  stdinBlocked: boolean;
  stdinEnd: "open" | "asked" | "sent";
}

/** Grant in large steps: each grant is a logged input of the machine. */
const GRANT_STEP_BYTES = EXEC_WINDOW_BYTES / 2;

/** Runs commands through one agent. `poll` and `takeOutput` give out; everything else takes in. */
export class ExecClient {
  #state: "idle" | "greeting" | "ready" | "incompatible" = "idle";
  #nonce: number;
  #nextId = 1;
  readonly #decoder = new ExecDecoder();
  readonly #commands = new Map<number, Command>();
  readonly #waiting: { readonly id: number; readonly frame: Uint8Array }[] = [];
  readonly #events: ExecEvent[] = [];
  #output: Uint8Array[] = [];

  /** `nonce` tells this client's greetings from those of others: any 32-bit number. */
  constructor(nonce: number) {
    this.#nonce = nonce >>> 0;
  }

  get state(): "idle" | "greeting" | "ready" | "incompatible" {
    return this.#state;
  }

  /** Commands started and not ended. */
  get commandCount(): number {
    return this.#commands.size;
  }

  /**
   * Wakes the agent and asks for its HELLO, which ends what another host had it run. Call it once
   * the guest has opened the port, and again after about a second without `ready`.
   */
  greet(): void {
    if (this.#state === "ready" || this.#state === "incompatible") return;
    this.#state = "greeting";
    // Nonce 0 is the agent's own: a HELLO that nobody asked for.
    this.#nonce = (this.#nonce + 1) >>> 0 || 1;
    // The newline wakes the shell that stands in for the agent; the flag ends any broken frame.
    this.#output.push(Uint8Array.of(0x0a));
    this.#send({ type: "hello", version: EXEC_PROTOCOL_VERSION, nonce: this.#nonce });
  }

  /**
   * Runs a command as soon as the agent is ready; returns its id. Throws `E_EXEC_LIMIT` if too
   * many commands run or the arguments are too long, `E_EXEC_VERSION` after `incompatible`.
   */
  start(request: ExecRequest): number {
    if (this.#state === "incompatible") {
      throw new CodedError("E_EXEC_VERSION", "the exec agent in the guest speaks another version", {
        hint: "build the image again: dejavm image build",
      });
    }
    if (this.#commands.size >= EXEC_MAX_COMMANDS) {
      throw new CodedError("E_EXEC_LIMIT", `already ${EXEC_MAX_COMMANDS} commands run`, {
        hint: "wait for one to end",
      });
    }
    const id = this.#nextId;
    const { argv, env = [], directory = "" } = request;
    const frame = encodeExecMessage({ type: "exec", id, argv, env, directory });
    this.#nextId = id === 0xffffffff ? 1 : id + 1;
    this.#commands.set(id, {
      outputCredit: EXEC_WINDOW_BYTES,
      takenBytes: 0,
      stdinCredit: EXEC_WINDOW_BYTES,
      stdin: [],
      stdinBlocked: false,
      stdinEnd: "open",
    });
    if (this.#state === "ready") this.#output.push(frame);
    else this.#waiting.push({ id, frame });
    return id;
  }

  /**
   * Appends to a command's standard input; false if some of it waits for `stdin-room`, and then
   * more should not be written before. Input for a command that has ended is dropped.
   */
  writeStdin(id: number, bytes: Uint8Array): boolean {
    const command = this.#commands.get(id);
    if (command === undefined || bytes.length === 0) return true;
    assert(command.stdinEnd === "open", `standard input of command ${id} has been closed`);
    command.stdin.push(bytes.slice());
    this.#sendStdin(id, command);
    command.stdinBlocked = command.stdin.length > 0;
    return !command.stdinBlocked;
  }

  /** Closes a command's standard input after what was written to it. */
  endStdin(id: number): void {
    const command = this.#commands.get(id);
    if (command === undefined || command.stdinEnd !== "open") return;
    command.stdinEnd = "asked";
    this.#sendStdin(id, command);
  }

  /** Sends a signal, by its Linux number, to a command's process group. */
  kill(id: number, signal: number): void {
    if (!this.#commands.has(id) || this.#isWaiting(id)) return;
    this.#send({ type: "kill", id, signal });
  }

  /** Takes bytes that the agent wrote to its port. */
  receive(bytes: Uint8Array): void {
    for (const message of this.#decoder.push(bytes)) this.#handle(message);
  }

  /** The next event; taking output lets the agent send more. */
  poll(): ExecEvent | undefined {
    const event = this.#events.shift();
    if (event?.type === "stdout" || event?.type === "stderr") {
      this.#taken(event.id, event.bytes.length);
    }
    return event;
  }

  /** The bytes to write to the agent's port now; empty if there are none. */
  takeOutput(): Uint8Array {
    const total = this.#output.reduce((sum, part) => sum + part.length, 0);
    const bytes = new Uint8Array(total);
    let at = 0;
    for (const part of this.#output) {
      bytes.set(part, at);
      at += part.length;
    }
    this.#output = [];
    return bytes;
  }

  #handle(message: ExecMessage): void {
    if (message.type === "hello") {
      this.#handleHello(message.version, message.nonce);
      return;
    }
    const command = this.#commands.get(message.id);
    if (command === undefined || this.#state !== "ready") return;
    switch (message.type) {
      case "stdout":
      case "stderr":
        if (message.bytes.length > command.outputCredit) {
          this.kill(message.id, 9);
          this.#end(message.id, { type: "lost", id: message.id });
          return;
        }
        command.outputCredit -= message.bytes.length;
        this.#events.push(message);
        return;
      case "credit":
        command.stdinCredit = Math.min(command.stdinCredit + message.count, EXEC_WINDOW_BYTES);
        this.#sendStdin(message.id, command);
        return;
      case "exit":
        this.#end(message.id, message);
        return;
      default:
        // Messages of our own direction: only a confused agent sends them.
        return;
    }
  }

  #handleHello(version: number, nonce: number): void {
    if (version !== EXEC_PROTOCOL_VERSION) {
      this.#state = "incompatible";
      this.#loseAll();
      this.#events.push({ type: "incompatible", version });
    } else if (nonce === 0) {
      // A greeting sent before the port was open is lost, so it is repeated.
      if (this.#state === "ready") this.#loseAll();
      if (this.#state === "idle") return;
      this.#state = "idle";
      this.greet();
    } else if (this.#state === "greeting" && nonce === this.#nonce) {
      this.#state = "ready";
      this.#events.push({ type: "ready" });
      for (const { id, frame } of this.#waiting.splice(0)) {
        this.#output.push(frame);
        const command = this.#commands.get(id);
        if (command !== undefined) this.#sendStdin(id, command);
      }
    }
  }

  #loseAll(): void {
    for (const id of Array.from(this.#commands.keys())) {
      if (!this.#isWaiting(id) || this.#state === "incompatible") {
        this.#end(id, { type: "lost", id });
      }
    }
  }

  #end(id: number, event: ExecEvent): void {
    this.#commands.delete(id);
    this.#events.push(event);
  }

  #isWaiting(id: number): boolean {
    return this.#waiting.some((each) => each.id === id);
  }

  #sendStdin(id: number, command: Command): void {
    if (this.#state !== "ready" || this.#isWaiting(id)) return;
    let next = command.stdin[0];
    while (next !== undefined && command.stdinCredit > 0) {
      const part = next.subarray(0, Math.min(EXEC_CHUNK_BYTES, command.stdinCredit));
      this.#send({ type: "stdin", id, bytes: part });
      command.stdinCredit -= part.length;
      if (part.length === next.length) command.stdin.shift();
      else command.stdin[0] = next.subarray(part.length);
      next = command.stdin[0];
    }
    if (next !== undefined) return;
    if (command.stdinEnd === "asked") {
      command.stdinEnd = "sent";
      this.#send({ type: "stdin-end", id });
    } else if (command.stdinBlocked) {
      command.stdinBlocked = false;
      this.#events.push({ type: "stdin-room", id });
    }
  }

  #taken(id: number, count: number): void {
    const command = this.#commands.get(id);
    if (command === undefined) return;
    command.takenBytes += count;
    if (command.takenBytes < GRANT_STEP_BYTES) return;
    this.#send({ type: "credit", id, count: command.takenBytes });
    command.outputCredit += command.takenBytes;
    command.takenBytes = 0;
  }

  #send(message: ExecMessage): void {
    this.#output.push(encodeExecMessage(message));
  }
}
