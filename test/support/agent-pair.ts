/**
 * Two agents as their users start them, each behind a WAN rig, and one machine that lives on one of
 * them: a Debian, with redis or without, or a bare guest. Either agent can be killed and started
 * again at the same address.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runCommand, type VmSummary, vmSummarySchema } from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import { AgentProcess, RigProcess } from "@dejavm/bench";
import { keepBareVm } from "./bare-vm.ts";
import { freePort } from "./free-port.ts";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const MEMORY_BYTES = 128 * 2 ** 20;
const START_REDIS =
  "redis-server --save '' --appendonly no --protected-mode no --daemonize yes --dir /tmp " +
  ">/dev/null";

/** Names of the two agents. */
export type Side = "lima" | "oslo";
/** The machine's name. */
export const MOVED = "web";

/**
 * What the machine is: `bare` counts what is typed, as test/recovery/counting-guest.ts says; with
 * `none` the agents begin without one.
 */
export type PairGuest = "redis" | "debian" | "bare" | "none";

interface DebianOptions {
  readonly memoryBytes?: number;
  readonly forwards?: readonly string[];
}

interface Place {
  readonly listen: string;
  /** What others dial. */
  readonly rig: RigProcess;
  agent: AgentProcess;
}

export const otherSide = (side: Side): Side => (side === "lima" ? "oslo" : "lima");

/** See the head of this file. */
export class AgentPair {
  readonly #folder: string;
  readonly #places: Readonly<Record<Side, Place>>;

  private constructor(folder: string, places: Readonly<Record<Side, Place>>) {
    this.#folder = folder;
    this.#places = places;
  }

  /** The machine runs on lima when this is done. */
  static async start(profile: string, guest: PairGuest = "redis"): Promise<AgentPair> {
    // The processes are this program as its users start it.
    process.argv[1] = MAIN;
    const folder = mkdtempSync(join(tmpdir(), "dejavm-pair-"));
    const place = async (side: Side): Promise<Place> => {
      const listen = `127.0.0.1:${await freePort()}`;
      const rig = await RigProcess.start(profile, listen, folder);
      const agent = await AgentProcess.start(side, folder, { listen, advertise: rig.address });
      return { listen, rig, agent };
    };
    const pair = new AgentPair(folder, { lima: await place("lima"), oslo: await place("oslo") });
    const { lima, oslo } = pair.#places;
    await lima.agent.pairWith(oslo.agent, oslo.rig.address);
    if (guest !== "none") await pair.#begin(guest);
    return pair;
  }

  async #begin(guest: Exclude<PairGuest, "none">): Promise<void> {
    const { client } = this.#places.lima.agent;
    const answer = vmSummarySchema;
    if (guest === "bare") {
      await keepBareVm(this.stateDir("lima"), MOVED);
      await client.ask({ method: "POST", path: `/v1/vms/${MOVED}/start`, answer });
      return;
    }
    const forwards = guest === "redis" ? ["127.0.0.1:0:6379"] : [];
    await this.createDebian("lima", MOVED, { forwards });
    if (guest === "redis") await runCommand(client, MOVED, START_REDIS);
  }

  /** Another machine; settles when commands run in it. */
  async createDebian(
    side: Side,
    name: string,
    { memoryBytes = MEMORY_BYTES, forwards = [] }: DebianOptions = {},
  ): Promise<void> {
    const { client } = this.agent(side);
    const body = { name, image: "debian", memoryBytes, forwards };
    await client.ask({ method: "POST", path: "/v1/vms", body, answer: vmSummarySchema });
    await runCommand(client, name, "true");
  }

  stateDir(side: Side): string {
    return join(this.#folder, side);
  }

  agent(side: Side): AgentProcess {
    return this.#places[side].agent;
  }

  /** What is between that side and those who dial it. */
  rig(side: Side): RigProcess {
    return this.#places[side].rig;
  }

  /** Starts a side again, which must be gone; `env` for this life of it. */
  async startAgain(side: Side, env: Readonly<Record<string, string>> = {}): Promise<void> {
    const place = this.#places[side];
    const { listen, rig } = place;
    const options = { listen, advertise: rig.address, env };
    place.agent = await AgentProcess.start(side, this.#folder, options);
  }

  /** What a side, which must be up, says of the machine; undefined: it has none. */
  async summary(side: Side, name = MOVED): Promise<VmSummary | undefined> {
    const path = `/v1/vms/${name}`;
    try {
      return await this.agent(side).client.ask({ method: "GET", path, answer: vmSummarySchema });
    } catch (error) {
      if (error instanceof CodedError && error.code === "E_VM_UNKNOWN") return undefined;
      throw error;
    }
  }

  /** The same, as a word; undefined: it has none. */
  async state(side: Side, name = MOVED): Promise<VmSummary["state"] | undefined> {
    return (await this.summary(side, name))?.state;
  }

  /** What a command in the machine there says. */
  async run(side: Side, command: string, name = MOVED): Promise<string> {
    const { status, output } = await runCommand(this.agent(side).client, name, command);
    if (status !== 0) throw new Error(`${command} ended with ${status}: ${output}`);
    return output.trim();
  }

  /** Sides on which the machine runs and answers. */
  async live(): Promise<readonly Side[]> {
    const sides: readonly Side[] = ["lima", "oslo"];
    const states = await Promise.all(sides.map(async (side) => (await this.summary(side))?.state));
    return sides.filter((_, at) => states[at] === "running");
  }

  async close(): Promise<void> {
    const { lima, oslo } = this.#places;
    await Promise.all([lima, oslo].flatMap(({ agent, rig }) => [agent.close(), rig.close()]));
    rmSync(this.#folder, { recursive: true });
  }
}

/** The port of redis on that machine's host. */
export function redisPort({ forwards }: VmSummary): number {
  return Number(forwards[0]?.split(":")[1]);
}
