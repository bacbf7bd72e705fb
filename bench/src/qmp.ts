/** QEMU's control protocol (QMP) over the standard input and output of a process. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

interface Waiter {
  readonly accepts: (message: object) => boolean;
  readonly resolve: (message: object) => void;
  readonly reject: (error: Error) => void;
}

const LOST = "QEMU ended unexpectedly";

/** One running QEMU, with `-qmp stdio` added to its arguments. */
export class QmpProcess {
  readonly process: ChildProcessWithoutNullStreams;
  readonly #waiters: Waiter[] = [];
  #errors = "";

  private constructor(program: string, options: readonly string[]) {
    this.process = spawn(program, [...options, "-qmp", "stdio"]);
    this.process.stderr.on("data", (bytes: Buffer) => {
      this.#errors = (this.#errors + bytes.toString()).slice(-4000);
    });
    createInterface({ input: this.process.stdout }).on("line", (line) => this.#receive(line));
    const lost = (): void => {
      const error = new Error(`${LOST}: ${this.#errors.trim()}`);
      for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
    };
    this.process.on("error", lost);
    this.process.on("close", lost);
  }

  static async start(program: string, options: readonly string[]): Promise<QmpProcess> {
    const qmp = new QmpProcess(program, options);
    await qmp.#next((message) => "QMP" in message);
    await qmp.command("qmp_capabilities");
    return qmp;
  }

  /** Sends a command and waits for its answer; throws what QEMU refuses. */
  async command(name: string, values?: object): Promise<unknown> {
    const answer = this.#next((message) => "return" in message || "error" in message);
    const request = values === undefined ? { execute: name } : { execute: name, arguments: values };
    this.process.stdin.write(`${JSON.stringify(request)}\n`);
    const message = await answer;
    if ("error" in message) throw new Error(`${name}: ${JSON.stringify(message.error)}`);
    return "return" in message ? message.return : undefined;
  }

  /** The next event of that name; ask before causing it. */
  async event(name: string): Promise<void> {
    await this.#next((message) => "event" in message && message.event === name);
  }

  async quit(): Promise<void> {
    if (this.process.exitCode !== null) return;
    const closed = once(this.process, "close");
    this.command("quit").catch(() => undefined);
    await closed;
  }

  #next(accepts: (message: object) => boolean): Promise<object> {
    if (this.process.exitCode !== null) return Promise.reject(new Error(LOST));
    return new Promise((resolve, reject) => {
      this.#waiters.push({ accepts, resolve, reject });
    });
  }

  #receive(line: string): void {
    const message: unknown = JSON.parse(line);
    if (typeof message !== "object" || message === null) return;
    const index = this.#waiters.findIndex((waiter) => waiter.accepts(message));
    if (index >= 0) this.#waiters.splice(index, 1)[0]?.resolve(message);
  }
}
