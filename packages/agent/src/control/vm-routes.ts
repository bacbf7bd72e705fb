/** What can be asked of machines: the same for an agent and for a `dejavm run --name`. */
import { agentError } from "../errors.ts";
import type { ControlledVm } from "../vm/controlled-vm.ts";
import { portSchema, stopSchema } from "./api.ts";
import { type Parameters, parseBody, type Route, type StreamRoute } from "./routes.ts";
import { serveConsole, serveExec } from "./streams.ts";

/** The machines that a control socket has. */
export interface VmDirectory<Vm extends ControlledVm = ControlledVm> {
  list(): readonly Vm[];
  /** Forgets it and all that is kept of it. Throws E_VM_STATE while it runs. */
  remove(vm: Vm): Promise<void>;
}

/** Requests about machines. */
export function vmRoutes<Vm extends ControlledVm>(directory: VmDirectory<Vm>): readonly Route[] {
  const named = ({ name = "" }: Parameters): Vm => findVm(directory, name);
  return [
    {
      method: "GET",
      path: "/v1/vms",
      handle: () => ({ vms: directory.list().map((vm) => vm.summary()) }),
    },
    { method: "GET", path: "/v1/vms/:name", handle: (parameters) => named(parameters).summary() },
    {
      method: "DELETE",
      path: "/v1/vms/:name",
      handle: (parameters) => directory.remove(named(parameters)),
    },
    {
      method: "POST",
      path: "/v1/vms/:name/stop",
      handle: async (parameters, body) => named(parameters).stop(parseBody(stopSchema, body)),
    },
    {
      method: "POST",
      path: "/v1/vms/:name/pause",
      handle: async (parameters) => named(parameters).pause(),
    },
    {
      method: "POST",
      path: "/v1/vms/:name/resume",
      handle: async (parameters) => named(parameters).resume(),
    },
    {
      method: "POST",
      path: "/v1/vms/:name/ports",
      handle: async (parameters, body) => {
        const vm = named(parameters);
        await vm.addForward(parseBody(portSchema, body).forward);
        return { forwards: vm.summary().forwards };
      },
    },
    {
      method: "DELETE",
      path: "/v1/vms/:name/ports",
      handle: async (parameters, body) => {
        const vm = named(parameters);
        await vm.removeForward(parseBody(portSchema, body).forward);
        return { forwards: vm.summary().forwards };
      },
    },
  ];
}

/** Consoles and commands of machines. */
export function vmStreams<Vm extends ControlledVm>(
  directory: VmDirectory<Vm>,
): readonly StreamRoute[] {
  return [
    {
      method: "GET",
      path: "/v1/vms/:name/console",
      open: ({ name = "" }, stream) => serveConsole(findVm(directory, name), stream),
    },
    {
      method: "GET",
      path: "/v1/vms/:name/exec",
      open: ({ name = "" }, stream) => serveExec(findVm(directory, name), stream),
    },
  ];
}

/** Throws E_VM_UNKNOWN. */
function findVm<Vm extends ControlledVm>(directory: VmDirectory<Vm>, name: string): Vm {
  const vm = directory.list().find((other) => other.name === name);
  if (vm !== undefined) return vm;
  throw agentError("E_VM_UNKNOWN", `there is no machine ${name}`, "`dejavm ps` lists machines");
}
