/**
 * The agent as it runs in guests, here on the host's Python, against the client: a Unix socket
 * takes the place of the virtio port.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { afterEach, describe, expect, test } from "vitest";
import { ExecClient, type ExecEvent } from "./exec-client.ts";
import { EXEC_WINDOW_BYTES, encodeExecMessage } from "./exec-protocol.ts";

const AGENT = join(import.meta.dirname, "../guest/root/usr/lib/dejavm/agent.py");

/** The agent asks for pidfd_open and for posix_spawn with setsid. */
const python = spawnSync("python3", ["-c", "import os; os.pidfd_open(os.getpid())"]).status === 0;

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A client with an agent of its own. */
class Pair {
  readonly client = new ExecClient(1);
  readonly port: Duplex;
  readonly events: ExecEvent[] = [];
  /** While set, events stay untaken, so that no credit is granted. */
  paused = false;
  #wake: () => void = () => {};

  constructor() {
    const child = spawn("python3", ["-I", "-S", AGENT, "3"], {
      stdio: ["ignore", "inherit", "inherit", "pipe"],
      cwd: "/",
    });
    children.push(child);
    const port = child.stdio[3];
    if (!(port instanceof Duplex)) throw new Error("no port");
    this.port = port;
    port.on("error", () => {});
    port.on("data", (bytes: Buffer) => {
      this.client.receive(bytes);
      this.pump();
    });
  }

  pump(): void {
    for (let event = this.#poll(); event !== undefined; event = this.#poll()) {
      this.events.push(event);
    }
    const output = this.client.takeOutput();
    if (output.length > 0) this.port.write(output);
    this.#wake();
  }

  async until(happened: () => boolean): Promise<void> {
    this.pump();
    while (!happened()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  start(...argv: string[]): number {
    return this.client.start({ argv, directory: "/" });
  }

  async ended(...ids: number[]): Promise<void> {
    const over = (id: number) =>
      this.events.some((each) => (each.type === "exit" || each.type === "lost") && each.id === id);
    await this.until(() => ids.every(over));
  }

  output(id: number, type: "stdout" | "stderr" = "stdout"): Buffer {
    return Buffer.concat(
      this.events.flatMap((each) => (each.type === type && each.id === id ? [each.bytes] : [])),
    );
  }

  exit(id: number): unknown {
    return this.events.find((each) => each.type === "exit" && each.id === id);
  }

  #poll(): ExecEvent | undefined {
    return this.paused ? undefined : this.client.poll();
  }
}

function greeted(): Pair {
  const pair = new Pair();
  pair.client.greet();
  return pair;
}

describe.skipIf(!python)("exec agent", () => {
  test("output, error output and status", async () => {
    const pair = greeted();
    const id = pair.start("sh", "-c", "echo out; echo err >&2; exit 7");
    await pair.ended(id);
    expect(pair.events[0]).toEqual({ type: "ready" });
    expect(pair.output(id).toString()).toBe("out\n");
    expect(pair.output(id, "stderr").toString()).toBe("err\n");
    expect(pair.exit(id)).toEqual({ type: "exit", id, exit: { kind: "exited", status: 7 } });
  });

  test("arguments, environment and directory arrive as they were sent", async () => {
    const pair = greeted();
    const id = pair.client.start({
      argv: ["sh", "-c", 'echo "$0|$1|$X|$HOME"; pwd', "a b", "é~}\n"],
      env: ["X=1=2", "HOME=/else"],
      directory: "/usr",
    });
    await pair.ended(id);
    expect(pair.output(id).toString()).toBe("a b|é~}\n|1=2|/else\n/usr\n");
  });

  test("a program that is not there, a signal, an empty command", async () => {
    const pair = greeted();
    const ids = [
      pair.start("/no/such/program"),
      pair.start("sh", "-c", "kill -9 $$"),
      pair.start(),
    ];
    await pair.ended(...ids);
    expect(ids.map((id) => pair.exit(id))).toMatchObject([
      { exit: { kind: "not-started", errno: 2 } },
      { exit: { kind: "signalled", signal: 9 } },
      { exit: { kind: "not-started", errno: 22 } },
    ]);
  });

  test("every byte goes through, both ways, for several commands at once", async () => {
    const pair = greeted();
    const data = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, at) => (at * at) >> 4));
    const ids = [1, 2, 3].map(() => pair.start("cat"));
    for (const id of ids) {
      pair.client.writeStdin(id, data);
      pair.client.endStdin(id);
    }
    await pair.ended(...ids);
    for (const id of ids) expect(pair.output(id).equals(data)).toBe(true);
  });

  test("a command whose output nobody takes is held, and the others go on", async () => {
    const pair = greeted();
    const flood = pair.start("sh", "-c", "yes; :");
    await pair.until(() => pair.output(flood).length > 0);
    pair.paused = true;
    const seen = pair.output(flood).length;
    await new Promise((resolve) => {
      setTimeout(resolve, 300);
    });
    pair.paused = false;
    const waiting: ExecEvent[] = [];
    for (let event = pair.client.poll(); event !== undefined; event = pair.client.poll()) {
      waiting.push(event);
    }
    const held = waiting.reduce((sum, each) => sum + ("bytes" in each ? each.bytes.length : 0), 0);
    expect(held).toBeLessThanOrEqual(EXEC_WINDOW_BYTES);
    expect(seen).toBeGreaterThan(0);
    const other = pair.start("echo", "alive");
    await pair.ended(other);
    expect(pair.output(other).toString()).toBe("alive\n");
    pair.client.kill(flood, 15);
    await pair.ended(flood);
    expect(pair.exit(flood)).toMatchObject({ exit: { kind: "signalled", signal: 15 } });
  });

  test("input that is not read waits within the window, and room is told", async () => {
    const pair = greeted();
    await pair.until(() => pair.client.state === "ready");
    const id = pair.start("sh", "-c", "read line; cat >/dev/null; echo done");
    expect(pair.client.writeStdin(id, Buffer.from("x\n"))).toBe(true);
    expect(pair.client.writeStdin(id, new Uint8Array(2 * EXEC_WINDOW_BYTES))).toBe(false);
    await pair.until(() => pair.events.some((each) => each.type === "stdin-room"));
    pair.client.endStdin(id);
    await pair.ended(id);
    expect(pair.output(id).toString()).toBe("done\n");
  });

  test("a child left behind with the pipes does not hold the exit back", async () => {
    const pair = greeted();
    const id = pair.start("sh", "-c", "sleep 60 & echo $!");
    await pair.ended(id);
    expect(pair.exit(id)).toMatchObject({ exit: { kind: "exited", status: 0 } });
    process.kill(Number(pair.output(id).toString()), "SIGKILL");
  });

  test("garbage and damaged frames are skipped", async () => {
    const pair = greeted();
    await pair.until(() => pair.client.state === "ready");
    const frame = encodeExecMessage({ type: "kill", id: 1, signal: 9 });
    pair.port.write(Buffer.alloc(200_000, 0x41));
    pair.port.write(Buffer.concat([frame.subarray(0, -3), Buffer.from("~~}~\0\0~"), frame]));
    const id = pair.start("echo", "still here");
    await pair.ended(id);
    expect(pair.output(id).toString()).toBe("still here\n");
  });

  test("a new greeting ends what the host before had running", async () => {
    const pair = greeted();
    const id = pair.start("sh", "-c", "echo $$; exec sleep 60");
    await pair.until(() => pair.output(id).length > 0);
    const pid = Number(pair.output(id).toString());
    pair.port.write(encodeExecMessage({ type: "hello", version: 1, nonce: 99 }));
    // It answers after it has hung up, and collects the command after that.
    const alive = () => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    while (alive()) {
      pair.port.write("\n");
      await new Promise((resolve) => {
        setTimeout(resolve, 10);
      });
    }
  });
});
