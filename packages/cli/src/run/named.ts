/** `dejavm run --name`: makes the machine known to `ps`, `console`, `exec`, `stop` and `port`. */
import {
  ControlServer,
  gatewayForwards,
  prepareStateDirectory,
  RunningVm,
  runSocket,
  stateDirectory,
  vmRoutes,
  vmStreams,
} from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import type { Gateway } from "@dejavm/gateway";
import type { VirtualMachine } from "@dejavm/vm";
import type { RunPlan } from "./plan.ts";

/** A machine of this process at its own control socket. */
export interface NamedRun {
  /** What the machine tells is to be passed on to it. */
  readonly vm: RunningVm;
  readonly close: () => Promise<void>;
}

/** Throws E_VM_NAME, E_AGENT_RUNNING, E_STATE_DIR. */
export async function serveNamedRun(
  name: string,
  plan: RunPlan,
  machine: VirtualMachine,
  gateway: Gateway | undefined,
): Promise<NamedRun> {
  const stateDir = stateDirectory();
  prepareStateDirectory(stateDir);
  const { image, keyboard, memoryBytes } = plan;
  const facts = { name, image, memoryBytes, keyboard, startedAtMs: Date.now() };
  const forwards = gateway === undefined ? undefined : gatewayForwards(gateway);
  const vm = new RunningVm(facts, machine, forwards);
  const directory = { list: () => [vm], remove: () => Promise.reject(endsByItself(name)) };
  const server = await ControlServer.listen({
    socketPath: runSocket(stateDir, name),
    routes: vmRoutes(directory),
    streams: vmStreams(directory),
    onDefect: (error) => process.stderr.write(`dejavm: ${String(error)}\n`),
  });
  return { vm, close: () => server.close() };
}

function endsByItself(name: string): CodedError {
  return new CodedError("E_VM_STATE", `cannot remove ${name}: it ends with its \`dejavm run\``, {
    hint: `stop it: dejavm stop ${name}`,
  });
}
