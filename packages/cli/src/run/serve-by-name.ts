/** `dejavm run --name`: makes the machine known to `ps`, `console`, `exec`, `stop` and `port`. */
import {
  ControlServer,
  gatewayForwards,
  prepareStateDirectory,
  RunningVm,
  runSocket,
  type StreamRoute,
  stateDirectory,
  type VmFacts,
  vmRoutes,
  vmStreams,
} from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import type { Gateway } from "@dejavm/gateway";
import type { VirtualMachine } from "@dejavm/vm";

/** A machine of this process at its own control socket. */
export interface NamedRun {
  /** What the machine tells is to be passed on to it. */
  readonly vm: RunningVm;
  readonly close: () => Promise<void>;
}

/** Throws E_VM_NAME, E_AGENT_RUNNING, E_STATE_DIR. */
export async function serveByName(
  facts: Omit<VmFacts, "startedAtMs">,
  machine: VirtualMachine,
  gateway: Gateway | undefined,
): Promise<NamedRun> {
  const stateDir = stateDirectory();
  prepareStateDirectory(stateDir);
  const forwards = gateway === undefined ? undefined : gatewayForwards(gateway);
  const vm = new RunningVm({ ...facts, startedAtMs: Date.now() }, machine, forwards);
  const { name } = facts;
  const directory = { list: () => [vm], remove: () => Promise.reject(endsByItself(name)) };
  const server = await ControlServer.listen({
    socketPath: runSocket(stateDir, name),
    routes: vmRoutes(directory),
    streams: [...vmStreams(directory), refusedMigration(name)],
    onDefect: (error) => process.stderr.write(`dejavm: ${String(error)}\n`),
  });
  return { vm, close: () => server.close() };
}

/** Whoever moves it has to know how a machine gets to the agent. */
function refusedMigration(name: string): StreamRoute {
  return {
    method: "GET",
    path: "/v1/vms/:name/migrate",
    open: () => {
      const way = `end that run (Ctrl-A x keeps it), then: dejavm start ${name}`;
      throw new CodedError("E_VM_STATE", `cannot move ${name}: it is of a \`dejavm run\``, {
        hint: `only an agent moves machines: ${way}`,
      });
    },
  };
}

function endsByItself(name: string): CodedError {
  return new CodedError("E_VM_STATE", `cannot remove ${name}: it ends with its \`dejavm run\``, {
    hint: `stop it: dejavm stop ${name}`,
  });
}
