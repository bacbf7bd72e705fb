/** Finds the control sockets of this user's agent and named runs. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { type OwnershipState, openLogStore } from "@dejavm/log-store";
import { fileError } from "@dejavm/vm";
import { z } from "zod";
import { agentError } from "../errors.ts";
import { checkVmName } from "../names.ts";
import { runDirectory, storeDirectory } from "../state-dir.ts";
import { type VmSummary, vmSummarySchema } from "./api.ts";
import { ControlClient } from "./client.ts";

const AGENT_SOCKET = "agent.sock";
const vmsSchema = z.object({ vms: z.array(vmSummarySchema) });

/** The agent's control socket. */
export function agentSocket(stateDir: string): string {
  return join(runDirectory(stateDir), AGENT_SOCKET);
}

/** The control socket of `dejavm run --name`. Throws E_VM_NAME. */
export function runSocket(stateDir: string, name: string): string {
  return join(runDirectory(stateDir), `vm-${checkVmName(name)}.sock`);
}

/** A machine and where it is controlled. */
export interface FoundVm {
  readonly client: ControlClient;
  readonly summary: VmSummary;
}

/** Every machine of this user, by name. Sockets that nobody serves any more are passed over. */
export async function findVms(stateDir: string): Promise<readonly FoundVm[]> {
  const found: FoundVm[] = [];
  for (const file of socketFiles(stateDir)) {
    const client = new ControlClient(join(runDirectory(stateDir), file));
    try {
      const { vms } = await client.ask({ method: "GET", path: "/v1/vms", answer: vmsSchema });
      found.push(...vms.map((summary) => ({ client, summary })));
    } catch (error) {
      if (!(error instanceof CodedError && error.code === "E_AGENT_ABSENT")) throw error;
    }
  }
  return withoutDoubles(found).toSorted((a, b) => (a.summary.name < b.summary.name ? -1 : 1));
}

/** What is stopped for the agent may run in a `dejavm run --name`: that is the one that counts. */
function withoutDoubles(found: readonly FoundVm[]): readonly FoundVm[] {
  const rests = ({ summary: { state } }: FoundVm): boolean =>
    state === "stopped" || state === "failed" || state === "moved";
  const busy = new Set(found.filter((vm) => !rests(vm)).map(({ summary }) => summary.name));
  return found.filter((vm) => !rests(vm) || !busy.has(vm.summary.name));
}

/** Throws E_VM_UNKNOWN, and E_VM_STATE where it is in the store and runs nowhere. */
export async function findVmNamed(stateDir: string, name: string): Promise<FoundVm> {
  const all = await findVms(stateDir);
  const found = all.find(({ summary }) => summary.name === name);
  if (found !== undefined) return found;
  const stored = storedAs(stateDir, name);
  if (stored !== undefined) {
    const message = `${name} does not run here: it is in the store, as ${stored}`;
    throw agentError("E_VM_STATE", message, storedHint(stored, name));
  }
  const names = all.map(({ summary }) => summary.name).join(", ");
  throw agentError(
    "E_VM_UNKNOWN",
    `there is no machine ${name}`,
    names === "" ? "`dejavm run --name NAME` starts one" : `there are ${names}`,
  );
}

/** What the store says of a machine; undefined: nothing, or it cannot be asked. */
function storedAs(stateDir: string, name: string): OwnershipState | undefined {
  try {
    const store = openLogStore(storeDirectory(stateDir), { mode: "read" });
    try {
      return store.findLineage(name)?.ownership?.state;
    } finally {
      store.close();
    }
  } catch (error) {
    if (error instanceof CodedError) return undefined;
    throw error;
  }
}

function storedHint(state: OwnershipState, name: string): string {
  switch (state) {
    case "live":
      return `dejavm start ${name}, or run --name ${name}, goes on with it; log rm removes it`;
    case "copy":
      return `a copy never runs: dejavm replay ${name}, or fork ${name}`;
    default:
      return `dejavm log show ${name} says where it went`;
  }
}

function socketFiles(stateDir: string): readonly string[] {
  try {
    return readdirSync(runDirectory(stateDir)).filter((name) => name.endsWith(".sock"));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw fileError(`list ${runDirectory(stateDir)}`, error);
  }
}
