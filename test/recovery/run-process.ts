/** `dejavm run --name` as a process that is typed to, listened to, and killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { countsIn } from "./counting-guest.ts";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

/** How one is started. */
export interface RunOptions {
  readonly stateHome: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** See the head of this file. */
export class RunProcess {
  readonly exited: Promise<NodeJS.Signals | number | null>;
  readonly #child: ChildProcess;
  said = "";
  errors = "";
  typed = 0;
  #isGone = false;
  #onSaid: () => void = () => undefined;

  constructor({ stateHome, args, env }: RunOptions) {
    this.#child = spawn(
      process.execPath,
      ["--conditions=source", MAIN, "run", "--name", "counting", ...args],
      {
        stdio: "pipe",
        env: { ...process.env, NODE_NO_WARNINGS: "1", XDG_STATE_HOME: stateHome, ...env },
      },
    );
    this.#child.stdout?.on("data", (bytes: Buffer) => {
      this.said += bytes.toString("latin1");
      this.#onSaid();
    });
    this.#child.stderr?.on("data", (bytes: Buffer) => (this.errors += bytes.toString()));
    this.#child.stdin?.on("error", () => undefined);
    this.exited = new Promise((resolve) => {
      this.#child.on("close", (status, signal) => {
        this.#isGone = true;
        this.#onSaid();
        resolve(signal ?? status);
      });
    });
  }

  /** The last count that was acknowledged; undefined: none was. */
  get acknowledged(): number | undefined {
    return countsIn(this.said).at(-1);
  }

  type(): void {
    this.typed++;
    this.#child.stdin?.write("x");
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** Whether it has come to its end. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Settles with the first count after `before` bytes, or undefined when the process is gone. */
  async nextCount(): Promise<number | undefined> {
    const before = countsIn(this.said).length;
    while (countsIn(this.said).length === before && !this.#isGone) {
      await new Promise<void>((resolve) => {
        this.#onSaid = resolve;
      });
    }
    return countsIn(this.said)[before];
  }
}
