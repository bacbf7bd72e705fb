/**
 * A machine of an agent: recorded, on its network, steered through the control socket, and able to
 * move. It comes from a definition, from the store, or from another host.
 */
import type { LogStore } from "@dejavm/log-store";
import {
  basesOf,
  createNamedVm,
  type MigrationReport,
  type NamedVm,
  prepareBases,
  type RecordedVm,
  resumeNamedVm,
  type SourceMigration,
  type VmConfig,
} from "@dejavm/source-agent";
import type { VirtualMachine, VirtualMachineEvents, VmReport } from "@dejavm/vm";
import type { WebSocket } from "ws";
import type { StopRequest, VmDefinition, VmSummary } from "../control/api.ts";
import type { Log } from "../log.ts";
import { FlowRelay } from "../migration/flow-relay.ts";
import type { ConsoleReader } from "./console-hub.ts";
import type { ControlledVm } from "./controlled-vm.ts";
import { gatewayForwards } from "./gateway-forwards.ts";
import type { ExecSinks, RunningCommand } from "./guest-exec.ts";
import { configFor, powerFor } from "./machine-config.ts";
import { doubtNotes } from "./resting-vm.ts";
import { RunningVm } from "./running-vm.ts";
import { VmNetwork } from "./vm-network.ts";

/** After a machine has begun. */
const PREPARE_BASES_MS = 1000;

/** What all machines of an agent share. */
export interface VmHost {
  readonly store: LogStore;
  readonly log: Log;
  /** A machine has ended by itself or because it was told to: it is not to be brought back. */
  readonly onStopped: (name: string) => void;
  /** A machine that has moved needs nothing of this host any more. */
  readonly onRelayed: (vm: AgentVm) => void;
}

/** A machine that runs, and what it runs on. */
export interface VmParts {
  readonly vm: VirtualMachine;
  readonly recorded: RecordedVm;
  readonly config: VmConfig;
  readonly network: VmNetwork;
}

/** Passes a machine's events on to whoever has it; it can be given them before it is there. */
export class VmEvents {
  owner: AgentVm | undefined;
  network: VmNetwork | undefined;
  /** Hears reports before the machine has an owner. */
  onReport: ((report: VmReport) => void) | undefined;

  readonly events: VirtualMachineEvents = {
    onConsole: (port, bytes) => this.owner?.running.output(port, bytes),
    onConsoleTaken: (port, bytes) => this.owner?.running.taken(port, bytes),
    onFrame: (frame) => this.network?.fromGuest(frame),
    onReport: (report) => {
      this.onReport?.(report);
      this.owner?.handleReport(report);
    },
  };
}

/** See the head of this file. */
export class AgentVm implements ControlledVm {
  readonly name: string;
  readonly lineage: string;
  readonly parts: VmParts;
  readonly running: RunningVm;
  readonly #host: VmHost;
  #migration: SourceMigration | undefined;
  #isSuspended = false;
  /** For connections that are open when the machine moves. */
  #relay: FlowRelay | undefined;

  constructor(host: VmHost, name: string, parts: VmParts) {
    const { vm, recorded, config, network } = parts;
    const { image, memoryBytes, keyboard } = config;
    this.#host = host;
    this.name = name;
    this.parts = parts;
    this.lineage = recorded.writer.lineage;
    const facts = { name, image, memoryBytes, keyboard, startedAtMs: Date.now() };
    this.running = new RunningVm(facts, vm, gatewayForwards(network.gateway));
    // So that a migration finds the images read; not while the machine begins, or goes live here.
    setTimeout(() => prepareBases(basesOf(config)), PREPARE_BASES_MS).unref();
    void vm.ended.catch(() => undefined).then(() => this.#ended());
  }

  /** Throws E_IMAGE_*, E_FILE_*, E_DISK_*, E_NET_*, E_STORE_*, and what the machine refuses. */
  static async create(host: VmHost, definition: VmDefinition): Promise<AgentVm> {
    const { name } = definition;
    const config = await configFor(definition);
    const network = await VmNetwork.start(config, "open");
    return AgentVm.#start(host, name, network, (usual) =>
      createNamedVm(usual, config, powerFor(definition)),
    );
  }

  /** Brings a machine of the store back where it was. Throws E_VM_NOT_HERE and the like. */
  static async resume(host: VmHost, name: string, config: VmConfig): Promise<AgentVm> {
    const network = await VmNetwork.start(config, "open");
    return AgentVm.#start(host, name, network, resumeNamedVm);
  }

  static async #start(
    host: VmHost,
    name: string,
    network: VmNetwork,
    start: (usual: Parameters<typeof resumeNamedVm>[0]) => Promise<NamedVm>,
  ): Promise<AgentVm> {
    const passing = new VmEvents();
    passing.network = network;
    try {
      const { vm, recorded, config } = await start({
        store: host.store,
        name,
        spec: { engine: "auto", limit: undefined, digestAtEnd: false },
        events: passing.events,
        onNotice: (line) => host.log.info({ vm: name }, line),
      });
      passing.owner = new AgentVm(host, name, { vm, recorded, config, network });
      passing.owner.plug();
      return passing.owner;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  /** The guest's cable goes in. */
  plug(): void {
    this.parts.network.plug((frame) => this.parts.vm.sendFrame(frame));
  }

  /** What the machine reports besides its outputs. */
  handleReport(report: VmReport): void {
    this.running.handleReport(report);
    // F: nothing of the host's reaches the guest here any more, unless it stays after all.
    if (report.kind === "frozen" && this.#migration !== undefined) {
      this.parts.network.unplug();
      this.#relay?.frozen();
    }
    if (report.kind === "unfrozen") this.plug();
    this.#migration?.handleReport(report);
  }

  /**
   * `start` begins a migration of this machine; only one at a time is the caller's to see to.
   * Throws what `start` throws and its `done` rejects with: the machine runs on here.
   */
  async migrate(
    peer: string,
    dialTunnel: () => Promise<WebSocket>,
    start: () => SourceMigration,
  ): Promise<MigrationReport> {
    const { network, recorded } = this.parts;
    this.running.setState("migrating", [`to ${peer}`]);
    recorded.isHeld = true;
    this.#relay = new FlowRelay(network.edge, dialTunnel, () => this.#relayed());
    try {
      this.#migration = start();
      const report = await this.#migration.done;
      recorded.writer.addReport({ kind: "migration", json: JSON.stringify(report) });
      if (report.outcome.kind === "moved") this.#leave(peer);
      else this.#stay();
      return report;
    } catch (error) {
      this.#stay();
      throw error;
    } finally {
      recorded.isHeld = false;
      this.#migration = undefined;
    }
  }

  get migration(): SourceMigration | undefined {
    return this.#migration;
  }

  summary(): VmSummary {
    const summary = this.running.summary();
    if (this.#migration?.isInDoubt === true) {
      return { ...summary, state: "in-doubt", notes: doubtNotes(this.name, summary.notes) };
    }
    const { state } = this.parts.recorded;
    const flows = this.#relay?.flowCount || this.parts.network.tunnelledFlows;
    if (flows > 0) summary.notes.push(`${flows} connections relayed`);
    if (state === "recorded" || summary.state !== "running") return summary;
    const note = state === "paused" ? "stands still: the store takes no more" : "not recorded";
    return { ...summary, notes: [...summary.notes, note] };
  }

  attachConsole(reader: ConsoleReader): () => void {
    return this.running.attachConsole(reader);
  }

  type(bytes: Uint8Array): void {
    this.running.type(bytes);
  }

  exec(command: string, sinks: ExecSinks): Promise<RunningCommand> {
    return this.running.exec(command, sinks);
  }

  stop(request: StopRequest): Promise<void> {
    return this.running.stop(request);
  }

  pause(): Promise<void> {
    return this.running.pause();
  }

  resume(): Promise<void> {
    return this.running.resume();
  }

  addForward(text: string): Promise<void> {
    return this.running.addForward(text);
  }

  removeForward(text: string): Promise<void> {
    return this.running.removeForward(text);
  }

  /** The agent ends: the machine stops where it is, and can be brought back from there. */
  async suspend(): Promise<void> {
    this.#isSuspended = true;
    this.#relay?.close();
    this.parts.recorded.close();
    await this.parts.vm.terminate();
    await this.parts.network.close();
  }

  /** The last connection that was kept here for the machine is over. */
  #relayed(): void {
    this.#host.onRelayed(this);
    void this.parts.network.close();
  }

  #stay(): void {
    this.#relay?.close();
    this.running.setState("running");
  }

  /** Whoever has moved it need not wait until its thread has ended. */
  #leave(peer: string): void {
    this.running.setState("moved", [`lives at ${peer}`]);
    this.#relay?.moved();
    this.parts.recorded.close();
    void this.parts.vm.terminate();
  }

  async #ended(): Promise<void> {
    this.parts.recorded.close();
    this.#host.log.info({ vm: this.name }, "machine ended");
    const { state } = this.running.summary();
    if (state === "stopped" && !this.#isSuspended) this.#host.onStopped(this.name);
    if (state !== "moved") await this.parts.network.close();
  }
}
