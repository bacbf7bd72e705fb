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

const READY_TRIES = 1200;

type Environment = Readonly<Record<string, string>>;

function start(
  args: readonly string[],
  logPath: string,
  { env = {}, cwd }: Pick<AgentProcessOptions, "env" | "cwd"> = {},
): Child {
  const program = process.execPath;
  const rest = [...process.execArgv, process.argv[1] ?? ""];
  const log = openSync(logPath, "a", 0o600);
  const child = spawn(program, [...rest, ...args], {
    stdio: ["pipe", "pipe", log],
    env: { ...process.env, ...env },
    cwd,
  });
  const { stdin, stdout } = child;
  assert(stdin !== null && stdout !== null, "they are pipes");
  return Object.assign(child, { stdin, stdout });
}

/** What an agent is started with. */
export interface AgentProcessOptions {
  /** `HOST:PORT`; a port of the host's choice where none is given. */
  readonly listen?: string;
  /** What it tells others to dial. */
  readonly advertise?: string;
  readonly env?: Environment;
  readonly cwd?: string;
}

/** An agent in a process of its own, with a state directory of its own. */
export class AgentProcess {
  readonly name: string;
  readonly client: ControlClient;
  readonly stateDir: string;
  readonly #child: Child;

  private constructor(name: string, stateDir: string, options: AgentProcessOptions) {
    const { listen = "127.0.0.1:0", advertise } = options;
    this.name = name;
    this.stateDir = stateDir;
    this.client = new ControlClient(agentSocket(stateDir));
    const args = ["agent", "--name", name, "--listen", listen, "--state-dir", stateDir];
    if (advertise !== undefined) args.push("--advertise", advertise);
    this.#child = start(args, join(stateDir, "log"), options);
  }

  /** Settles when it answers. */
  static async start(
    name: string,
    folder: string,
    options: AgentProcessOptions = {},
  ): Promise<AgentProcess> {
    const stateDir = join(folder, name);
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    const agent = new AgentProcess(name, stateDir, options);
    for (let tries = READY_TRIES; ; tries--) {
      try {
        await agent.address();
        return agent;
      } catch (error) {
        if (tries === 0 || agent.isGone) throw error;
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

  /** Whether it has come to its end, by whatever. */
  get isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
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
    if (this.isGone) return;
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
    const line = await Promise.race([nextLine(lines), ended(lines)]);
    const told: unknown = JSON.parse(line);
    if (typeof told === "object" && told !== null && "listening" in told) {
      return new RigProcess(String(told.listening), lines, child);
    }
    throw new Error(`the WAN rig said ${line}`);
  }

  /** Bytes delivered since the start, both directions. */
  async bytes(): Promise<number> {
    const { up, down } = statisticsSchema.parse(await this.#tell("stats"));
    return up.deliveredBytes + down.deliveredBytes;
  }

  /** Does a step of a script at once: docs/WAN.md. */
  async perform(step: object): Promise<void> {
    doneSchema.parse(await this.#tell(JSON.stringify(step)));
  }

  async #tell(command: string): Promise<unknown> {
    this.#child.stdin.write(`${command}\n`);
    return JSON.parse(await nextLine(this.#lines));
  }

  async close(): Promise<void> {
    await end(this.#child);
  }
}

const direction = z.object({ deliveredBytes: z.number() });
const doneSchema = z.object({ done: z.string() });
const statisticsSchema = z.object({ up: direction, down: direction });

async function nextLine(lines: Interface): Promise<string> {
  const [line] = (await once(lines, "line")) as [string];
  return line;
}

/** Settles only if it never gets ready: with a throw. */
async function ended(lines: Interface): Promise<never> {
  await once(lines, "close");
  throw new Error("the WAN rig has ended; its log says why");
}

async function end(child: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "exit");
  child.kill("SIGTERM");
  await closed;
}
