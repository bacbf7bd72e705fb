/** A guest of `dejavm run` that stays up, with a shell that runs one command after another. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const MARK = "--end-of-command--";

/** See the head of this file. */
export class GuestShell {
  readonly #child: ChildProcess;
  #seen = "";
  #errors = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on("data", (bytes: Buffer) => {
      this.#seen += bytes.toString("utf8");
    });
    child.stderr?.on("data", (bytes: Buffer) => {
      this.#errors += bytes.toString("utf8");
    });
  }

  /** Boots; `args` are those of `dejavm run`, `more` is added to its environment. */
  static async start(
    args: readonly string[],
    more: Readonly<Record<string, string>> = {},
  ): Promise<GuestShell> {
    const all = ["--conditions=source", MAIN, "run", ...args, "--exec", "sh 2>&1"];
    const env = { ...process.env, NODE_NO_WARNINGS: "1", ...more };
    const shell = new GuestShell(spawn(process.execPath, all, { stdio: "pipe", env }));
    await shell.run("until ip addr show eth0 | grep -q 10.0.2.15; do sleep 0.1; done");
    return shell;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What the command prints, both streams. */
  async run(command: string): Promise<string> {
    this.#child.stdin?.write(`${command}\necho; echo ${MARK}\n`);
    for (;;) {
      const end = this.#seen.indexOf(`\n${MARK}\n`);
      if (end >= 0) {
        const said = this.#seen.slice(0, end);
        this.#seen = this.#seen.slice(end + MARK.length + 2);
        return said;
      }
      const { exitCode, signalCode } = this.#child;
      if (exitCode !== null || signalCode !== null) {
        throw new Error(`the guest ended (${exitCode ?? signalCode}): ${this.#errors}`);
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
    }
  }

  /** The shell ends, and the run with it; settles when the process is gone. */
  async end(): Promise<void> {
    const gone = once(this.#child, "close");
    this.#child.stdin?.end();
    await gone;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "close");
  }
}
