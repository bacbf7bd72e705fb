/** What the control socket can do with a machine, whoever runs it. */
import type { StopRequest, VmSummary } from "../control/api.ts";
import type { ConsoleReader } from "./console-hub.ts";
import type { ExecSinks, RunningCommand } from "./guest-exec.ts";

/** A machine of an agent or of a `dejavm run --name`. */
export interface ControlledVm {
  readonly name: string;
  summary(): VmSummary;
  /** Reads the console from now on; the answer ends that. */
  attachConsole(reader: ConsoleReader): () => void;
  /** Types on the console. */
  type(bytes: Uint8Array): void;
  /** Runs a shell command in the guest. Throws E_EXEC_*. */
  exec(command: string, sinks: ExecSinks): Promise<RunningCommand>;
  /** Settles when the machine has ended. */
  stop(request: StopRequest): Promise<void>;
  /** Stands still until `resume`. Throws E_VM_STATE. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Throws E_VM_NO_NETWORK and E_NET_*. */
  addForward(text: string): Promise<void>;
  removeForward(text: string): Promise<void>;
}
