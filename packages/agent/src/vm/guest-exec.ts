/** Runs one command in the guest through the exec agent: moves bytes between client and console. */
import { randomBytes } from "node:crypto";
import { CodedError } from "@dejavm/base";
import { ExecClient, type ExecEvent } from "@dejavm/image";
import type { VirtualMachine } from "@dejavm/vm";
import { agentError } from "../errors.ts";

/** A guest that has not opened its agent's port by then has none. */
const AGENT_TIMEOUT_MS = 180_000;
const GREETING_INTERVAL_MS = 1000;

/** Where a command's output goes. */
export interface ExecSinks {
  readonly stdout: (bytes: Uint8Array) => void | Promise<void>;
  readonly stderr: (bytes: Uint8Array) => void | Promise<void>;
}

/** A command that was started in the guest. */
export interface RunningCommand {
  /** Its status as a shell would give it; rejects if the guest loses it. */
  readonly status: Promise<number>;
  /** Input for it, and `undefined` for the end of that. */
  readonly stdin: (bytes: Uint8Array | undefined) => void;
}

/** The agent of one machine. Give it what the agent console says; it writes to that console. */
export class GuestExec {
  readonly #client = new ExecClient(randomBytes(4).readUInt32LE());
  readonly #commands = new Map<number, Running>();
  readonly #ready = Promise.withResolvers<void>();
  #vm: Pick<VirtualMachine, "sendConsole"> | undefined;
  #unsent = 0;
  #greeter: NodeJS.Timeout | undefined;
  #pumping = Promise.resolve();

  /** Begins to greet the agent until it answers. */
  attach(vm: Pick<VirtualMachine, "sendConsole">): void {
    this.#vm = vm;
    this.#ready.promise.catch(() => undefined);
    const deadline = Date.now() + AGENT_TIMEOUT_MS;
    this.#greeter = setInterval(() => {
      if (Date.now() > deadline) this.fail(noAgent());
      else if (this.#unsent === 0) this.#greet();
    }, GREETING_INTERVAL_MS);
    this.#greet();
  }

  /** Bytes from the agent's console. */
  receive(bytes: Uint8Array): Promise<void> {
    this.#client.receive(bytes);
    return this.#pump();
  }

  /** The guest took bytes of the agent's console. */
  taken(bytes: number): void {
    this.#unsent -= bytes;
  }

  /** Settles when the agent listens; rejects with E_EXEC_NO_AGENT. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Runs a shell command. Throws E_EXEC_LIMIT and E_EXEC_VERSION. */
  run(command: string, sinks: ExecSinks): RunningCommand {
    const id = this.#client.start({ argv: ["/bin/sh", "-c", command] });
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#commands.set(id, { sinks, resolve, reject });
    void this.#pump();
    return { status: promise, stdin: (bytes) => this.#stdin(id, bytes) };
  }

  /** Everything that waits ends with `error`. */
  fail(error: Error): void {
    this.close();
    this.#ready.reject(error);
    for (const { reject } of this.#commands.values()) reject(error);
    this.#commands.clear();
  }

  close(): void {
    clearInterval(this.#greeter);
  }

  #stdin(id: number, bytes: Uint8Array | undefined): void {
    if (!this.#commands.has(id)) return;
    if (bytes === undefined) this.#client.endStdin(id);
    else this.#client.writeStdin(id, bytes);
    void this.#pump();
  }

  #greet(): void {
    this.#client.greet();
    this.#send();
  }

  #send(): void {
    const bytes = this.#client.takeOutput();
    if (bytes.length === 0) return;
    this.#unsent += bytes.length;
    this.#vm?.sendConsole("agent", bytes);
  }

  /** Hands out events one after the other: order is kept though sinks may be slow. */
  #pump(): Promise<void> {
    this.#pumping = this.#handleAll(this.#pumping);
    return this.#pumping;
  }

  async #handleAll(before: Promise<void>): Promise<void> {
    await before;
    for (let event = this.#client.poll(); event !== undefined; event = this.#client.poll()) {
      await this.#handle(event);
    }
    this.#send();
  }

  async #handle(event: ExecEvent): Promise<void> {
    switch (event.type) {
      case "ready":
        clearInterval(this.#greeter);
        this.#ready.resolve();
        return;
      case "incompatible":
        this.fail(
          new CodedError("E_EXEC_VERSION", `the guest's exec agent has version ${event.version}`, {
            hint: "build the image again: dejavm image build",
          }),
        );
        return;
      case "stdout":
      case "stderr":
        await this.#commands.get(event.id)?.sinks[event.type](event.bytes);
        return;
      case "exit":
        this.#end(event.id)?.resolve(shellStatus(event.exit));
        return;
      case "lost":
        this.#end(event.id)?.reject(
          agentError(
            "E_EXEC_LOST",
            "the guest's exec agent was restarted: no status is known",
            "run the command again",
          ),
        );
        return;
      case "stdin-room":
        return;
    }
  }

  #end(id: number): Running | undefined {
    const running = this.#commands.get(id);
    this.#commands.delete(id);
    return running;
  }
}

interface Running {
  readonly sinks: ExecSinks;
  readonly resolve: (status: number) => void;
  readonly reject: (error: Error) => void;
}

type Exit = Extract<ExecEvent, { type: "exit" }>["exit"];

/** As shells have it: 127 not found, 126 not executable, 128 and a signal's number. */
function shellStatus(exit: Exit): number {
  switch (exit.kind) {
    case "exited":
      return Math.min(exit.status, 255);
    case "signalled":
      return 128 + exit.signal;
    case "not-started":
      return exit.errno === 2 ? 127 : 126;
  }
}

function noAgent(): CodedError {
  return agentError(
    "E_EXEC_NO_AGENT",
    `the guest's exec agent has not answered for ${AGENT_TIMEOUT_MS / 1000} s`,
    "is it an image of `dejavm image build`? --verbose shows how far the guest has come",
  );
}
