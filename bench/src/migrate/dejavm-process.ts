/** This very program as other processes: agents and a WAN rig, as their users start them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import {
  agentSocket,
  ControlClient,
  infoSchema,
  invitationSchema,
  peerSchema,
} from "@dejavm/agent";
import { assert } from "@dejavm/base";
import { z } from "zod";

type Child = ChildProcess & { readonly stdin: Writable; readonly stdout: Readable };

const READY_TRIES = 200;

function start(args: readonly string[], logPath: string): Child {
  const program = process.execPath;
  const rest = [...process.execArgv, process.argv[1] ?? ""];
  const log = openSync(logPath, "a", 0o600);
  const child = spawn(program, [...rest, ...args], { stdio: ["pipe", "pipe", log] });
  const { stdin, stdout } = child;
  assert(stdin !== null && stdout !== null, "they are pipes");
  return Object.assign(child, { stdin, stdout });
}

/** An agent in a process of its own, with a state directory of its own. */
export class AgentProcess {
  readonly name: string;
  readonly client: ControlClient;
  readonly stateDir: string;
  readonly #child: Child;

  private constructor(name: string, stateDir: string) {
    this.name = name;
    this.stateDir = stateDir;
    this.client = new ControlClient(agentSocket(stateDir));
    const options = ["--name", name, "--listen", "127.0.0.1:0", "--state-dir", stateDir];
    this.#child = start(["agent", ...options], join(stateDir, "log"));
  }

  /** Settles when it answers. */
  static async start(name: string, folder: string): Promise<AgentProcess> {
    const stateDir = join(folder, name);
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    const agent = new AgentProcess(name, stateDir);
    for (let tries = READY_TRIES; ; tries--) {
      try {
        await agent.address();
        return agent;
      } catch (error) {
        if (tries === 0 || agent.#child.exitCode !== null) throw error;
        await sleep(50);
      }
    }
  }

  /** Where it listens for other agents. */
  async address(): Promise<string> {
    const info = await this.client.ask({ method: "GET", path: "/v1/info", answer: infoSchema });
    return info.listening ?? "";
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Makes `this` and `other` know each other; `this` dials at `address`. */
  async pairWith(other: AgentProcess, address: string): Promise<void> {
    const path = "/v1/invitations";
    const { token } = await other.client.ask({ method: "POST", path, answer: invitationSchema });
    await this.client.ask({
      method: "POST",
      path: "/v1/pairings",
      body: { address, token },
      answer: peerSchema,
    });
  }

  /** Dies at once, as the process of a host that loses its power. */
  async kill(): Promise<void> {
    const closed = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await closed;
  }

  async close(): Promise<void> {
    await end(this.#child);
  }
}

/** A WAN rig in a process of its own. */
export class RigProcess {
  readonly address: string;
  readonly #lines: Interface;
  readonly #child: Child;

  private constructor(address: string, lines: Interface, child: Child) {
    this.address = address;
    this.#lines = lines;
    this.#child = child;
  }

  /** `profile` as `dejavm wan` takes it. */
  static async start(profile: string, to: string, folder: string): Promise<RigProcess> {
    const options = ["--listen", "127.0.0.1:0", "--to", to, "--profile", profile, "--json"];
    const child = start(["wan", ...options], join(folder, "wan.log"));
    const lines = createInterface({ input: child.stdout });
    const [line] = (await once(lines, "line")) as [string];
    const told: unknown = JSON.parse(line);
    if (typeof told === "object" && told !== null && "listening" in told) {
      return new RigProcess(String(told.listening), lines, child);
    }
    throw new Error(`the WAN rig said ${line}`);
  }

  /** Bytes delivered since the start, both directions. */
  async bytes(): Promise<number> {
    this.#child.stdin.write("stats\n");
    const [line] = (await once(this.#lines, "line")) as [string];
    const { up, down } = statisticsSchema.parse(JSON.parse(line));
    return up.deliveredBytes + down.deliveredBytes;
  }

  async close(): Promise<void> {
    await end(this.#child);
  }
}

const direction = z.object({ deliveredBytes: z.number() });
const statisticsSchema = z.object({ up: direction, down: direction });

async function end(child: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "exit");
  child.kill("SIGTERM");
  await closed;
}
