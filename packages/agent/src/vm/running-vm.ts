/**
 * A machine that runs in this process, as the control socket sees it: its console for many
 * readers, commands in the guest, pause, stop, port forwards. Whoever starts the machine passes
 * its events on.
 */
import type { ConsolePort } from "@dejavm/machine";
import type { Keyboard, VirtualMachine, VmReport } from "@dejavm/vm";
import type { StopRequest, VmState, VmSummary } from "../control/api.ts";
import { agentError } from "../errors.ts";
import { ConsoleHub, type ConsoleReader } from "./console-hub.ts";
import type { ControlledVm } from "./controlled-vm.ts";
import { type ExecSinks, GuestExec, type RunningCommand } from "./guest-exec.ts";

/** What is said about a machine; it does not change. */
export interface VmFacts {
  readonly name: string;
  readonly image: string;
  readonly memoryBytes: number;
  /** Console that a keyboard belongs to. */
  readonly keyboard: Keyboard;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
}

/** Port forwards that can be changed; texts as `dejavm run --publish` takes them. */
export interface ForwardControl {
  readonly forwards: readonly string[];
  /** Throws E_NET_FORWARD, E_NET_PORT_IN_USE. */
  add(text: string): Promise<void>;
  /** False where there is none. Throws E_NET_FORWARD. */
  remove(text: string): boolean;
}

/** What a running machine is asked for; `VirtualMachine` has it. */
export type MachineHandle = Pick<
  VirtualMachine,
  "sendConsole" | "pressPowerButton" | "request" | "stop" | "ended"
>;

/** Far from the ids that the machine's handle gives out itself. */
const PAUSE_ID = 2 ** 40;

/** See the head of this file. */
export class RunningVm implements ControlledVm {
  readonly #facts: VmFacts;
  readonly #machine: MachineHandle;
  readonly #forwards: ForwardControl | undefined;
  readonly #hub = new ConsoleHub();
  #exec: GuestExec | undefined;
  #state: VmState = "running";
  #notes: readonly string[] = [];
  /** Settles when the machine has been paused, or goes on. */
  #turning: PromiseWithResolvers<void> | undefined;

  constructor(facts: VmFacts, machine: MachineHandle, forwards?: ForwardControl) {
    this.#facts = facts;
    this.#machine = machine;
    this.#forwards = forwards;
    machine.ended.then(
      () => this.#end("stopped", []),
      (error: Error) => this.#end("failed", [error.message]),
    );
  }

  get name(): string {
    return this.#facts.name;
  }

  get keyboard(): Keyboard {
    return this.#facts.keyboard;
  }

  /** Where it stands now, for `ps`; `notes` say what needs to be known besides. */
  setState(state: VmState, notes: readonly string[] = []): void {
    this.#state = state;
    this.#notes = notes;
  }

  /** Bytes that the guest put out. Commands may be slower than the guest: it waits for them. */
  output(port: ConsolePort, bytes: Uint8Array): void | Promise<void> {
    if (port === "agent") return this.#exec?.receive(bytes);
    this.#hub.push(bytes);
    return undefined;
  }

  /** The guest took so many bytes of input. */
  taken(port: ConsolePort, bytes: number): void {
    if (port === "agent") this.#exec?.taken(bytes);
  }

  summary(): VmSummary {
    const { name, image, memoryBytes, startedAtMs } = this.#facts;
    return {
      name,
      state: this.#state,
      image,
      memoryBytes,
      startedAtMs,
      forwards: [...(this.#forwards?.forwards ?? [])],
      consoles: this.#hub.readers,
      notes: [...this.#notes],
    };
  }

  attachConsole(reader: ConsoleReader): () => void {
    return this.#hub.attach(reader);
  }

  type(bytes: Uint8Array): void {
    if (this.#ended) return;
    this.#machine.sendConsole(this.#facts.keyboard, bytes);
  }

  async exec(command: string, sinks: ExecSinks): Promise<RunningCommand> {
    if (this.#ended) throw this.#wrongState("run a command in");
    if (this.#exec === undefined) {
      this.#exec = new GuestExec();
      this.#exec.attach(this.#machine);
    }
    const exec = this.#exec;
    try {
      await exec.ready;
    } catch (error) {
      // The guest may have an agent later.
      if (this.#exec === exec) this.#exec = undefined;
      throw error;
    }
    return exec.run(command, sinks);
  }

  async stop({ force, timeoutMs }: StopRequest): Promise<void> {
    if (this.#ended) return;
    const ended = this.#machine.ended.then(
      () => undefined,
      () => undefined,
    );
    if (!force) {
      this.#machine.pressPowerButton();
      const timer = Promise.withResolvers<void>();
      const timeout = setTimeout(timer.resolve, timeoutMs);
      await Promise.race([ended, timer.promise]);
      clearTimeout(timeout);
    }
    if (!this.#ended) await this.#machine.stop();
    await ended;
  }

  /** What the machine reports besides its outputs. */
  handleReport(report: VmReport): void {
    if (report.kind !== "frozen" && report.kind !== "unfrozen") return;
    if (report.id !== PAUSE_ID) return;
    this.#state = report.kind === "frozen" ? "paused" : "running";
    this.#turning?.resolve();
    this.#turning = undefined;
  }

  async pause(): Promise<void> {
    if (this.#state !== "running") throw this.#wrongState("pause");
    await this.#turn("freeze");
  }

  async resume(): Promise<void> {
    if (this.#state !== "paused") throw this.#wrongState("resume");
    await this.#turn("unfreeze");
  }

  async addForward(text: string): Promise<void> {
    await this.#network().add(text);
  }

  async removeForward(text: string): Promise<void> {
    if (this.#network().remove(text)) return;
    const known = this.summary().forwards.join(", ");
    throw agentError(
      "E_VM_STATE",
      `${this.name} has no forward ${text}`,
      known === "" ? "it has none" : `it has ${known}`,
    );
  }

  async #turn(kind: "freeze" | "unfreeze"): Promise<void> {
    const turning = this.#turning ?? Promise.withResolvers<void>();
    if (this.#turning === undefined) {
      this.#turning = turning;
      this.#machine.request({ kind, id: PAUSE_ID });
    }
    await turning.promise;
  }

  get #ended(): boolean {
    return this.#state === "stopped" || this.#state === "failed" || this.#state === "moved";
  }

  #network(): ForwardControl {
    if (this.#forwards !== undefined) return this.#forwards;
    throw agentError(
      "E_VM_NO_NETWORK",
      `${this.name} has no network of its own whose ports could be forwarded`,
      "start it with `--net user`",
    );
  }

  #wrongState(action: string): Error {
    const message = `cannot ${action} ${this.name}: it is ${this.#state}`;
    return agentError("E_VM_STATE", message, "`dejavm ps` shows where machines stand");
  }

  #end(state: "stopped" | "failed", notes: readonly string[]): void {
    // A machine that lives elsewhere now has not stopped.
    if (this.#state !== "moved") this.setState(state, notes);
    this.#turning?.reject(this.#wrongState("pause or resume"));
    this.#turning = undefined;
    this.#exec?.fail(
      agentError(
        "E_GUEST_ENDED",
        "the guest ended before the command did",
        "`dejavm console` shows what it said last",
      ),
    );
  }
}
