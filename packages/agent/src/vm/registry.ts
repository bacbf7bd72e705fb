/**
 * The machines of an agent. What is to run is kept in a file for each, everything else in the
 * store; when the agent starts, each of them is brought back where it was.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { LineageId, LineageInfo } from "@dejavm/log-store";
import { decodeVmConfig } from "@dejavm/source-agent";
import { z } from "zod";
import type { VmDefinition } from "../control/api.ts";
import type { VmDirectory } from "../control/vm-routes.ts";
import { agentError } from "../errors.ts";
import type { DoubtfulVm } from "../migration/doubt.ts";
import { checkVmName } from "../names.ts";
import { readPrivateFile, writePrivateFile } from "../state-dir.ts";
import { AgentVm, type VmHost } from "./agent-vm.ts";
import type { ControlledVm } from "./controlled-vm.ts";
import { isOnAgentsNetwork } from "./machine-config.ts";
import { StoppedVm } from "./resting-vm.ts";

/** What the registry asks of the agent. */
export interface RegistryOptions {
  readonly stateDir: string;
  readonly host: Omit<VmHost, "onStopped">;
  /** A machine runs here that did not before. */
  readonly onStarted: (vm: AgentVm) => void;
  /** Asks the peer of an offer that was found in the records; calls back when it is settled. */
  readonly ask: (lineage: LineageInfo, onSettled: (owner: "here" | "there") => void) => DoubtfulVm;
}

/** Whether a machine is to run when the agent does. */
const markSchema = z.object({ desired: z.enum(["running", "stopped"]) });
type Desired = z.infer<typeof markSchema>["desired"];

/** See the head of this file. */
export class VmRegistry implements VmDirectory {
  readonly #directory: string;
  readonly #options: RegistryOptions;
  readonly #host: VmHost;
  readonly #vms = new Map<string, AgentVm>();
  readonly #doubtful = new Map<string, DoubtfulVm>();
  /** Machines of this agent that do not run since it started. */
  readonly #stopped = new Map<string, StoppedVm>();
  /** Names of machines that are being started. */
  readonly #starting = new Set<string>();

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#directory = join(options.stateDir, "vms");
    this.#host = { ...options.host, onStopped: (name) => this.#mark(name, "stopped") };
  }

  /** What machines of this agent share. */
  get host(): VmHost {
    return this.#host;
  }

  list(): readonly ControlledVm[] {
    return [...this.#vms.values(), ...this.#doubtful.values(), ...this.#stopped.values()];
  }

  /** True for names that are taken by machines that are here, or just coming up. */
  isTaken(name: string): boolean {
    const state = this.#vms.get(name)?.summary().state;
    const here = state !== undefined && state !== "moved";
    const rests = this.#doubtful.has(name) || this.#stopped.has(name);
    return here || rests || this.#starting.has(name);
  }

  /** Throws E_VM_UNKNOWN. */
  named(name: string): AgentVm {
    const vm = this.#vms.get(name);
    if (vm !== undefined) return vm;
    const stopped = this.#stopped.get(name);
    if (stopped !== undefined) throw mustStart(name, stopped.summary().state);
    throw agentError("E_VM_UNKNOWN", `no machine ${name} runs here`, "`dejavm ps` lists machines");
  }

  /** A person decides where a machine lives. Throws E_VM_STATE unless it is in doubt. */
  settle(name: string, live: "here" | "there"): void {
    const doubtful = this.#doubtful.get(name);
    const migration = this.#vms.get(name)?.migration;
    if (doubtful !== undefined) doubtful.settle(live);
    else if (migration?.isCommitted === true) migration.settle(live);
    else {
      const message = `cannot settle ${name}: it is not in doubt where it lives`;
      throw agentError("E_VM_STATE", message, "`dejavm ps` shows where machines stand");
    }
  }

  /** Starts a new machine. Throws E_VM_EXISTS, and what starting it throws. */
  async create(definition: VmDefinition): Promise<AgentVm> {
    const name = checkVmName(definition.name);
    if (this.isTaken(name) || this.#host.store.findLineage(name) !== undefined) {
      const message = `there is a machine ${name} already`;
      throw agentError("E_VM_EXISTS", message, "`dejavm rm` removes it; or use another name");
    }
    return this.#starts(name, () => AgentVm.create(this.#host, definition));
  }

  /**
   * Brings back a machine that is in the store and runs nowhere: one of this agent that was
   * stopped, or one of `dejavm run --name` that has ended; it is this agent's from then on. Throws
   * E_VM_UNKNOWN, E_VM_STATE, E_VM_NOT_HERE, E_STORE_BUSY where its `run` has not ended.
   */
  async start(name: string): Promise<AgentVm> {
    const state = this.#vms.get(name)?.summary().state;
    const isOver = state === undefined || ["stopped", "failed", "moved"].includes(state);
    if (!isOver || this.#doubtful.has(name)) {
      const message = `cannot start ${name}: it is ${state ?? "in doubt"}`;
      throw agentError("E_VM_STATE", message, "`dejavm ps` shows where machines stand");
    }
    const lineage = this.#host.store.findLineage(checkVmName(name));
    if (lineage === undefined) {
      const hint = "`dejavm log ls` lists what is kept; `dejavm run` makes one";
      throw agentError("E_VM_UNKNOWN", `there is no machine ${name} in the store`, hint);
    }
    const config = decodeVmConfig(lineage.config);
    if (!isOnAgentsNetwork(config)) {
      const message = `cannot start ${name}: its network is a helper's stream`;
      throw agentError("E_VM_STATE", message, `run it as before: dejavm run --name ${name}`);
    }
    const vm = await this.#starts(name, () => AgentVm.resume(this.#host, name, config));
    this.#stopped.delete(name);
    return vm;
  }

  /**
   * Puts everything back as it was when the agent ended: machines that ran run, offers are asked
   * about, what had not arrived is forgotten. What cannot be brought back is logged.
   */
  async resumeAll(): Promise<void> {
    for (const lineage of this.#host.store.lineages()) {
      const { name, id, ownership } = lineage;
      switch (ownership?.state) {
        case "live":
          if (this.#isDesired(name, ownership.peer)) await this.#bringBack(lineage);
          else if (this.#isOurs(name)) this.#stopped.set(name, new StoppedVm(lineage));
          break;
        case "offering":
          this.#doubt(lineage);
          break;
        case "receiving":
          this.#host.store.removeLineage(id);
          this.#host.log.info({ vm: name }, "what came of it before the agent ended is forgotten");
          break;
        default:
          break;
      }
    }
  }

  /** A machine has come from another host. */
  adopt(vm: AgentVm): void {
    this.#vms.set(vm.name, vm);
    this.#mark(vm.name, "running");
    this.#host.log.info({ vm: vm.name }, "machine arrived");
    this.#options.onStarted(vm);
  }

  async remove(vm: ControlledVm): Promise<void> {
    const { state } = vm.summary();
    if (state !== "stopped" && state !== "failed" && state !== "moved") {
      const message = `cannot remove ${vm.name}: it is ${state}`;
      throw agentError("E_VM_STATE", message, `stop it first: dejavm stop ${vm.name}`);
    }
    const known = this.#vms.get(vm.name);
    const lineage = known?.lineage ?? this.#stopped.get(vm.name)?.lineage.id;
    if (lineage !== undefined) this.#host.store.removeLineage(lineage as LineageId);
    rmSync(this.#fileOf(vm.name), { force: true });
    this.#vms.delete(vm.name);
    this.#stopped.delete(vm.name);
    this.#host.log.info({ vm: vm.name }, "machine removed");
  }

  /** It lives elsewhere: shown, but not brought back. */
  departed(name: string): void {
    rmSync(this.#fileOf(name), { force: true });
  }

  /** Files of this host that machines of the store are made of. */
  filePaths(): string[] {
    return this.#host.store.lineages().flatMap(({ config }) => {
      const { disks, boot } = decodeVmConfig(config);
      const { firmware = "", kernel = "", initrd = "" } = boot ?? {};
      const paths = [...disks.map(({ path }) => path), firmware, kernel, initrd];
      return paths.filter((path) => path !== "");
    });
  }

  /** Every machine stands still where it is, to be brought back from there. */
  async close(): Promise<void> {
    for (const doubtful of this.#doubtful.values()) doubtful.close();
    await Promise.allSettled([...this.#vms.values()].map((vm) => vm.suspend()));
  }

  #doubt(lineage: LineageInfo): void {
    const { name } = lineage;
    const doubtful = this.#options.ask(lineage, (owner) => {
      this.#doubtful.delete(name);
      if (owner === "here") void this.#bringBack(lineage);
      else this.departed(name);
    });
    this.#doubtful.set(name, doubtful);
    this.#host.log.warn({ vm: name, peer: lineage.ownership?.peer }, "in doubt: the peer is asked");
  }

  async #bringBack(lineage: LineageInfo): Promise<void> {
    const { name, config } = lineage;
    try {
      await this.#starts(name, () => AgentVm.resume(this.#host, name, decodeVmConfig(config)));
    } catch (error) {
      this.#host.log.error({ vm: name, err: error }, "could not be brought back");
      const why = error instanceof Error ? error.message : String(error);
      this.#stopped.set(name, new StoppedVm(lineage, why));
    }
  }

  async #starts(name: string, start: () => Promise<AgentVm>): Promise<AgentVm> {
    if (this.#starting.has(name)) {
      throw agentError("E_VM_EXISTS", `a machine ${name} is being started`, "wait for it");
    }
    this.#starting.add(name);
    try {
      const vm = await start();
      this.#vms.set(name, vm);
      this.#mark(name, "running");
      this.#host.log.info({ vm: name }, "machine started");
      this.#options.onStarted(vm);
      return vm;
    } finally {
      this.#starting.delete(name);
    }
  }

  /** One that came from a peer is ours as soon as the record says so, mark or not. */
  #isDesired(name: string, peer: string): boolean {
    const text = readPrivateFile(this.#fileOf(name));
    if (text === undefined) return peer !== "";
    const mark = markSchema.safeParse(JSON.parse(text));
    return mark.success && mark.data.desired === "running";
  }

  /** Whether it was this agent that ran it; others are of `dejavm run --name`. */
  #isOurs(name: string): boolean {
    return readPrivateFile(this.#fileOf(name)) !== undefined;
  }

  #mark(name: string, desired: Desired): void {
    writePrivateFile(this.#fileOf(name), `${JSON.stringify({ desired })}\n`);
  }

  #fileOf(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}

function mustStart(name: string, state: string): Error {
  return agentError("E_VM_STATE", `${name} is ${state}`, `bring it back: dejavm start ${name}`);
}
