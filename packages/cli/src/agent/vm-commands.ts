/** `dejavm ps`, `stop`, `pause`, `resume`, `rm`, `port`: machines that run, whoever runs them. */
import {
  agentSocket,
  ControlClient,
  findVmNamed,
  findVms,
  portsSchema,
  stateDirectory,
  type VmSummary,
  vmSummarySchema,
} from "@dejavm/agent";
import { z } from "zod";
import { usageError } from "../errors.ts";
import { textTable } from "../text-table.ts";

/** Options of all of them. */
export interface VmOptions {
  readonly json?: boolean;
  readonly stateDir?: string;
}

/** Options of `stop`. */
export interface StopOptions extends VmOptions {
  readonly force?: boolean;
  /** Seconds, as text. */
  readonly timeout?: string;
}

/** Options of `settle`. */
export interface SettleOptions extends VmOptions {
  readonly liveHere?: boolean;
  readonly liveThere?: boolean;
  readonly peerIsStopped?: boolean;
}

const nothing = z.object({});

/** Lists machines. */
export async function ps(options: VmOptions): Promise<void> {
  const found = await findVms(stateDirectory(options.stateDir));
  const summaries = found.map(({ summary }) => summary);
  if (options.json === true) {
    print(summaries);
    return;
  }
  if (summaries.length === 0) {
    process.stderr.write("no machines; start one with 'dejavm run --name NAME'\n");
    return;
  }
  const rows = summaries.map((summary) => psRow(summary, Date.now()));
  process.stdout.write(textTable([PS_TITLES, ...rows]));
}

/** Throws E_VM_UNKNOWN, and what the machine answers. */
export async function stop(name: string, options: StopOptions): Promise<void> {
  const { force = false, timeout = "30" } = options;
  const seconds = Number(timeout);
  if (!(seconds >= 0 && seconds <= 3600)) {
    throw usageError(`cannot use --timeout ${timeout}`, "want seconds, 0 to 3600");
  }
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  const body = { force, timeoutMs: Math.round(seconds * 1000) };
  await client.ask({ method: "POST", path: `/v1/vms/${name}/stop`, body, answer: nothing });
  say(options, { name, state: "stopped" }, `${name} is off`);
}

/** Throws E_VM_UNKNOWN, E_VM_STATE, E_USAGE. */
export async function settle(name: string, options: SettleOptions): Promise<void> {
  const { liveHere = false, liveThere = false, peerIsStopped = false } = options;
  if (liveHere === liveThere) {
    throw usageError(`cannot settle ${name}: where does it live?`, "--live-here or --live-there");
  }
  const live = liveHere ? "here" : "there";
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  const body = { live, peerIsStopped };
  await client.ask({ method: "POST", path: `/v1/vms/${name}/settle`, body, answer: nothing });
  say(options, { name, live }, `${name} lives ${live}`);
}

/** The agent brings back a machine of the store, its own from then on. Throws E_VM_*, E_STORE_*. */
export async function start(name: string, options: VmOptions): Promise<void> {
  const client = new ControlClient(agentSocket(stateDirectory(options.stateDir)));
  const path = `/v1/vms/${encodeURIComponent(name)}/start`;
  const summary = await client.ask({ method: "POST", path, answer: vmSummarySchema });
  say(options, summary, `${name} runs`);
}

/** Throws E_VM_UNKNOWN, E_VM_STATE. */
export async function steer(
  verb: "pause" | "resume" | "rm",
  name: string,
  options: VmOptions,
): Promise<void> {
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  if (verb === "rm") {
    await client.ask({ method: "DELETE", path: `/v1/vms/${name}`, answer: nothing });
  } else {
    await client.ask({ method: "POST", path: `/v1/vms/${name}/${verb}`, answer: nothing });
  }
  const done = { pause: "stands still", resume: "goes on", rm: "is forgotten" };
  say(options, { name, done: verb }, `${name} ${done[verb]}`);
}

/** Throws E_VM_UNKNOWN, E_VM_NO_NETWORK, E_NET_*. */
export async function changePort(
  verb: "add" | "rm",
  name: string,
  forward: string,
  options: VmOptions,
): Promise<void> {
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  const { forwards } = await client.ask({
    method: verb === "add" ? "POST" : "DELETE",
    path: `/v1/vms/${name}/ports`,
    body: { forward },
    answer: portsSchema,
  });
  say(options, { name, forwards }, forwards.join("\n"));
}

/** Throws E_VM_UNKNOWN. */
export async function listPorts(name: string, options: VmOptions): Promise<void> {
  const { summary } = await findVmNamed(stateDirectory(options.stateDir), name);
  if (options.json === true) print(summary.forwards);
  else for (const forward of summary.forwards) process.stdout.write(`${forward}\n`);
}

const PS_TITLES = ["NAME", "STATE", "IMAGE", "MEMORY", "UP", "PORTS", "NOTES"];

function psRow(summary: VmSummary, nowMs: number): string[] {
  const { name, state, image, memoryBytes, startedAtMs, forwards, notes } = summary;
  return [
    name,
    state,
    image === "" ? "-" : image,
    `${Math.round(memoryBytes / 2 ** 20)}M`,
    duration(nowMs - startedAtMs),
    forwards.join(" "),
    notes.join("; "),
  ];
}

function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes}m` : `${Math.floor(minutes / 60)}h`;
}

function say(options: VmOptions, facts: object, line: string): void {
  if (options.json === true) print(facts);
  else if (line !== "") process.stderr.write(`${line}\n`);
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
