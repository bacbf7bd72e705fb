/** Starts `wan-child.ts` and asks it what has passed. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

/** A rig between two hosts, in a process of its own: it must not wait for ours. */
export class WanProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;

  private constructor(profile: string, listen: string, to: string) {
    const source = import.meta.url.endsWith(".ts");
    const file = fileURLToPath(new URL(`./wan-child.${source ? "ts" : "js"}`, import.meta.url));
    const conditions = source ? ["--conditions=source"] : [];
    this.#child = spawn(process.execPath, [...conditions, file, profile, listen, to], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout });
  }

  /** Addresses as `dejavm wan` takes them. Gives the rig and where it listens. */
  static async start(
    profile: string,
    listen: string,
    to: string,
  ): Promise<{ readonly wan: WanProcess; readonly address: string }> {
    const wan = new WanProcess(profile, listen, to);
    const { listening } = await wan.#line<{ readonly listening: string }>();
    return { wan, address: listening };
  }

  /** Bytes delivered since the start, both directions. */
  async bytes(): Promise<number> {
    this.#child.stdin.write("stats\n");
    const { up, down } = await this.#line<{
      readonly up: { readonly deliveredBytes: number };
      readonly down: { readonly deliveredBytes: number };
    }>();
    return up.deliveredBytes + down.deliveredBytes;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const closed = once(this.#child, "close");
    this.#child.stdin.end();
    await closed;
  }

  async #line<T>(): Promise<T> {
    const gone = once(this.#child, "close").then(() => {
      throw new Error("the WAN rig has ended");
    });
    gone.catch(() => undefined);
    const [line] = (await Promise.race([once(this.#lines, "line"), gone])) as [string];
    return JSON.parse(line) as T;
  }
}
