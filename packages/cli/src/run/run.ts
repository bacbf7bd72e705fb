/** `dejavm run`: starts a machine, connects it with the terminal, and waits for its end. */
import { writeFileSync } from "node:fs";
import type { GuestExec } from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import type { ConsolePort } from "@dejavm/machine";
import { type EndReport, engineLines, fileError, type VirtualMachine } from "@dejavm/vm";
import { type ConsoleCommand, ESCAPE_HELP, EscapeParser } from "./escape.ts";
import { planStart, type Started, type Starter } from "./named.ts";
import { connectNetwork, type NetworkCable } from "./network.ts";
import type { RunOptions } from "./options.ts";
import { type HostReason, runJson, runStatus } from "./report.ts";
import type { NamedRun } from "./serve-by-name.ts";
import { hostTerminal, type Terminal, writeFully } from "./terminal.ts";

/** Typed bytes that wait for the guest; above this the terminal is not read. */
const MAX_TYPED_BYTES = 64 * 1024;
/** Console output that is kept to be shown when the guest of `--exec` fails. */
const TAIL_BYTES = 4096;
const TAIL_LINES = 12;

/** Gives the exit status. Throws what keeps the machine from running. */
export async function run(image: string | undefined, options: RunOptions): Promise<number> {
  const session = new Session(await planStart(image, options), options);
  try {
    return await session.run();
  } finally {
    await session.close();
  }
}

class Session {
  readonly #plan: Starter;
  readonly #options: RunOptions;
  readonly #terminal: Terminal;
  readonly #escape = new EscapeParser();
  #started: Started | undefined;
  #vm: VirtualMachine | undefined;
  #net: NetworkCable | undefined;
  #exec: GuestExec | undefined;
  #named: NamedRun | undefined;
  #host: HostReason | undefined;
  #typedBytes = 0;
  #tail = Buffer.alloc(0);
  readonly #onSignal = (name: NodeJS.Signals): void => {
    if (name === "SIGINT" || name === "SIGTERM" || name === "SIGHUP") {
      this.#finish({ kind: "signal", name });
    }
  };

  constructor(plan: Starter, options: RunOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#terminal = hostTerminal(options.json === true ? process.stderr : process.stdout);
  }

  async run(): Promise<number> {
    const { exec, json } = this.#options;
    for (const name of SIGNALS) process.on(name, this.#onSignal);
    const startedAt = performance.now();
    this.#net = await connectNetwork(this.#plan.network, (line) => this.#terminal.notice(line));
    const started = await this.#plan.start(
      {
        onConsole: (port, bytes) => this.#output(port, bytes),
        onConsoleTaken: (port, bytes) => this.#taken(port, bytes),
        onFrame: (frame) => this.#net?.send(frame),
        onReport: (report) => this.#named?.vm.handleReport(report),
        onLimit: () => this.#finish({ kind: "limit" }),
      },
      (line) => this.#terminal.notice(line),
    );
    this.#started = started;
    const { vm } = started;
    this.#vm = vm;
    const { position: startPosition } = await vm.origin;
    this.#net?.connect(vm);
    await this.#serveByName(vm);
    let command: Promise<void> | undefined;
    if (exec === undefined) this.#openConsole();
    else command = this.#runCommand(vm, exec);
    const end = await vm.ended;
    // A guest that ended before its command did is a failure, which this finds.
    await command;
    await this.#named?.close();
    const wallSeconds = (performance.now() - startedAt) / 1000;
    await this.close();
    this.#explain(end);
    if (this.#failure !== undefined) throw this.#failure;
    const host = this.#host;
    this.#reportEngine(end);
    if (json === true) {
      process.stdout.write(runJson({ end, host, wallSeconds, startPosition }));
    }
    return runStatus(end, host);
  }

  /** What `--engine-stats` and `--profile` asked for. */
  #reportEngine({ engine, profile }: EndReport): void {
    const { json, profile: path } = this.#options;
    if (engine !== undefined && json !== true) {
      process.stderr.write(`${engineLines(engine).join("\n")}\n`);
    }
    if (profile === undefined || path === undefined) return;
    try {
      writeFileSync(path, JSON.stringify(profile));
    } catch (error) {
      throw fileError(`write the profile ${path}`, error);
    }
  }

  async close(): Promise<void> {
    for (const name of SIGNALS) process.off(name, this.#onSignal);
    this.#exec?.close();
    this.#started?.close();
    this.#started = undefined;
    this.#terminal.close();
    await this.#net?.close();
  }

  #failure: Error | undefined;

  async #serveByName(vm: VirtualMachine): Promise<void> {
    const { name, exec } = this.#options;
    // A command of our own has the guest's exec agent to itself.
    if (name === undefined || exec !== undefined) return;
    const { serveByName } = await import("./serve-by-name.ts");
    const { image, keyboard, memoryBytes } = this.#plan;
    try {
      const facts = { name, image, keyboard, memoryBytes };
      this.#named = await serveByName(facts, vm, this.#net?.gateway);
    } catch (error) {
      await vm.stop();
      throw error;
    }
  }

  /** The machine is to end; with `--save` it is saved where it ends. */
  #finish(host: HostReason): void {
    if (this.#host !== undefined || this.#vm === undefined) return;
    this.#host = host;
    void this.#saveAndStop(this.#vm);
  }

  async #saveAndStop(vm: VirtualMachine): Promise<void> {
    const { save } = this.#options;
    try {
      if (save !== undefined) {
        await this.#save(vm, save, true);
        return;
      }
    } catch (error) {
      this.#failure ??= error instanceof Error ? error : new Error(String(error));
    }
    // A machine that has ended by itself has nothing to be stopped.
    await vm.stop().catch(() => undefined);
  }

  async #save(vm: VirtualMachine, path: string, thenStop: boolean): Promise<void> {
    const { image, keyboard } = this.#plan;
    const { position, fileBytes } = await vm.save({ path, image, keyboard, thenStop });
    const size = (fileBytes / 2 ** 20).toFixed(1);
    this.#terminal.notice(`saved ${path} at position ${position} (${size} MiB)`);
  }

  #openConsole(): void {
    const { interactive } = this.#terminal;
    this.#terminal.open((bytes) => {
      const typed = interactive
        ? this.#escape.push(bytes)
        : [{ kind: "bytes" as const, bytes: Uint8Array.from(bytes) }];
      for (const item of typed) {
        if (item.kind === "bytes") this.#type(item.bytes);
        else this.#command(item.command);
      }
    });
  }

  #type(bytes: Uint8Array): void {
    this.#typedBytes += bytes.length;
    this.#vm?.sendConsole(this.#plan.keyboard, bytes);
    if (this.#typedBytes > MAX_TYPED_BYTES) this.#terminal.pauseInput(true);
  }

  #taken(port: ConsolePort, bytes: number): void {
    if (port === "agent") {
      this.#exec?.taken(bytes);
      this.#named?.vm.taken(port, bytes);
      return;
    }
    this.#typedBytes -= bytes;
    if (this.#options.exec === undefined && this.#typedBytes <= MAX_TYPED_BYTES / 2) {
      this.#terminal.pauseInput(false);
    }
  }

  #output(port: ConsolePort, bytes: Uint8Array): void | Promise<void> {
    const named = this.#named?.vm.output(port, bytes);
    if (port === "agent") return this.#exec?.receive(bytes) ?? named;
    if (this.#options.exec === undefined) return this.#terminal.write(bytes);
    this.#tail = Buffer.concat([this.#tail, bytes]).subarray(-TAIL_BYTES);
    return this.#options.verbose === true ? writeFully(process.stderr, bytes) : undefined;
  }

  #command(command: ConsoleCommand): void {
    const vm = this.#vm;
    if (vm === undefined) return;
    switch (command) {
      case "quit":
        this.#finish({ kind: "quit" });
        break;
      case "help":
        this.#terminal.notice(ESCAPE_HELP.join("\n"));
        break;
      case "power":
        vm.pressPowerButton();
        break;
      case "save":
        this.#tell(this.#save(vm, this.#options.save ?? snapshotName(), false));
        break;
      case "info":
        this.#tell(this.#info(vm));
        break;
    }
  }

  async #info(vm: VirtualMachine): Promise<void> {
    const { position, ticks, digest } = await vm.digest();
    const seconds = (Number(ticks) / 1e7).toFixed(3);
    this.#terminal.notice(`position ${position}, ${seconds} s, digest ${digest}`);
  }

  /** What goes wrong with a key's command is said; the machine goes on. */
  #tell(work: Promise<void>): void {
    work.catch((error: unknown) => {
      const code = error instanceof CodedError ? `${error.code} ` : "";
      this.#terminal.notice(`${code}${error instanceof Error ? error.message : String(error)}`);
    });
  }

  async #runCommand(vm: VirtualMachine, command: string): Promise<void> {
    try {
      const { GuestExec } = await import("@dejavm/agent");
      const guest = new GuestExec();
      this.#exec = guest;
      void vm.ended.then(
        () => guest.fail(guestEnded()),
        (error: Error) => guest.fail(error),
      );
      guest.attach(vm);
      await guest.ready;
      const running = guest.run(command, {
        stdout: (bytes) => this.#terminal.write(bytes),
        stderr: (bytes) => writeFully(process.stderr, bytes),
      });
      if (!this.#terminal.interactive) {
        this.#terminal.open((bytes) => running.stdin(Uint8Array.from(bytes)));
        process.stdin.once("end", () => running.stdin(undefined));
      } else {
        running.stdin(undefined);
      }
      this.#finish({ kind: "exec", status: await running.status });
    } catch (error) {
      if (this.#host !== undefined) return;
      this.#failure = error instanceof Error ? error : new Error(String(error));
      if (this.#options.verbose !== true && aboutTheGuest(error)) this.#showTail();
      await vm.stop().catch(() => undefined);
    }
  }

  #showTail(): void {
    const lines = plainText(this.#tail.toString("latin1")).split("\n").slice(1);
    process.stderr.write(`${lines.slice(-TAIL_LINES).join("\n").trim()}\n`);
  }

  #explain(end: EndReport): void {
    if (end.reason.kind === "reset") {
      this.#terminal.notice("the guest asked for a restart: run it again to start it");
    }
    if (end.reason.kind === "power-off" && this.#options.save !== undefined) {
      this.#terminal.notice(
        `the guest switched itself off: nothing saved in ${this.#options.save}`,
      );
    }
  }
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function guestEnded(): CodedError {
  return new CodedError("E_GUEST_ENDED", "the guest ended before the command did", {
    hint: "--verbose shows the guest's console",
  });
}

/** What the guest's console may explain. */
function aboutTheGuest(error: unknown): boolean {
  return error instanceof CodedError && /^E_(GUEST|EXEC)_/.test(String(error.code));
}

/** Without what moves a terminal's cursor or asks it questions. */
function plainText(console: string): string {
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with one
  return console.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]|[^\x20-\x7e\n]/g, "");
}

function snapshotName(): string {
  return `dejavm-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.snapshot`;
}
