/**
 * The machines of an agent. What is to run is kept in a file for each, everything else in the
 * store; when the agent starts, each of them is brought back where it was.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { decodeVmConfig } from "@dejavm/source-agent";
import type { VmDefinition } from "../control/api.ts";
import type { VmDirectory } from "../control/vm-routes.ts";
import { agentError } from "../errors.ts";
import { checkVmName } from "../names.ts";
import { writePrivateFile } from "../state-dir.ts";
import { AgentVm, type VmHost } from "./agent-vm.ts";

/** See the head of this file. */
export class VmRegistry implements VmDirectory {
  readonly #directory: string;
  readonly #host: VmHost;
  readonly #vms = new Map<string, AgentVm>();
  /** Names of machines that are being started. */
  readonly #starting = new Set<string>();

  constructor(stateDir: string, host: VmHost) {
    this.#directory = join(stateDir, "vms");
    this.#host = host;
  }

  list(): readonly AgentVm[] {
    return [...this.#vms.values()];
  }

  /** True for names that are taken by machines that are here, or just coming up. */
  isTaken(name: string): boolean {
    const state = this.#vms.get(name)?.summary().state;
    return this.#starting.has(name) || (state !== undefined && state !== "moved");
  }

  /** Throws E_VM_UNKNOWN. */
  named(name: string): AgentVm {
    const vm = this.#vms.get(name);
    if (vm !== undefined) return vm;
    throw agentError("E_VM_UNKNOWN", `there is no machine ${name}`, "`dejavm ps` lists machines");
  }

  /** Starts a new machine. Throws E_VM_EXISTS, and what starting it throws. */
  async create(definition: VmDefinition): Promise<AgentVm> {
    const name = checkVmName(definition.name);
    if (this.#vms.has(name) || this.#host.store.findLineage(name) !== undefined) {
      const message = `there is a machine ${name} already`;
      throw agentError("E_VM_EXISTS", message, "`dejavm rm` removes it; or use another name");
    }
    return this.#starts(name, () => AgentVm.create(this.#host, definition));
  }

  /** Brings back what ran here when the agent ended; what cannot be is logged. */
  async resumeAll(): Promise<void> {
    for (const name of this.#kept()) {
      try {
        const stored = this.#host.store.findLineage(name);
        if (stored === undefined || stored.ownership?.state !== "live") {
          const record = stored?.ownership?.state ?? "nothing";
          this.#host.log.warn({ vm: name, record }, "not brought back");
          continue;
        }
        const config = decodeVmConfig(stored.config);
        await this.#starts(name, () => AgentVm.resume(this.#host, name, config));
      } catch (error) {
        this.#host.log.error({ vm: name, err: error }, "could not be brought back");
      }
    }
  }

  /** A machine has come from another host. */
  adopt(vm: AgentVm): void {
    this.#vms.set(vm.name, vm);
    this.#keep(vm.name);
    this.#host.log.info({ vm: vm.name }, "machine arrived");
  }

  async remove(vm: AgentVm): Promise<void> {
    const { state } = vm.summary();
    if (state !== "stopped" && state !== "failed" && state !== "moved") {
      const message = `cannot remove ${vm.name}: it is ${state}`;
      throw agentError("E_VM_STATE", message, `stop it first: dejavm stop ${vm.name}`);
    }
    this.#host.store.removeLineage(vm.parts.recorded.writer.lineage);
    this.forget(vm.name);
    this.#host.log.info({ vm: vm.name }, "machine removed");
  }

  /** It is not to run here any more. */
  forget(name: string): void {
    rmSync(this.#fileOf(name), { force: true });
    this.#vms.delete(name);
  }

  /** It lives elsewhere: shown, but not brought back. */
  departed(name: string): void {
    rmSync(this.#fileOf(name), { force: true });
  }

  /** Every machine stands still where it is, to be brought back from there. */
  async close(): Promise<void> {
    await Promise.allSettled(this.list().map((vm) => vm.suspend()));
  }

  async #starts(name: string, start: () => Promise<AgentVm>): Promise<AgentVm> {
    if (this.#starting.has(name)) {
      throw agentError("E_VM_EXISTS", `a machine ${name} is being started`, "wait for it");
    }
    this.#starting.add(name);
    try {
      const vm = await start();
      this.#vms.set(name, vm);
      this.#keep(name);
      this.#host.log.info({ vm: name }, "machine started");
      return vm;
    } finally {
      this.#starting.delete(name);
    }
  }

  #kept(): readonly string[] {
    return readdirSync(this.#directory)
      .filter((file) => file.endsWith(".json"))
      .map((file) => file.slice(0, -".json".length));
  }

  #keep(name: string): void {
    writePrivateFile(this.#fileOf(name), `${JSON.stringify({ name })}\n`);
  }

  #fileOf(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}
