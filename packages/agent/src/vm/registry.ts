/** The machines of an agent: started from definitions that it keeps, ended with it. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { VmDefinition } from "../control/api.ts";
import type { VmDirectory } from "../control/vm-routes.ts";
import { agentError } from "../errors.ts";
import type { Log } from "../log.ts";
import { checkVmName } from "../names.ts";
import { writePrivateFile } from "../state-dir.ts";
import type { ControlledVm } from "./controlled-vm.ts";
import { startDefinedVm } from "./start-defined-vm.ts";

/** What a registry is made from. */
export interface VmRegistryOptions {
  readonly stateDir: string;
  readonly log: Log;
  /** How a machine is started; tests give another way. */
  readonly start?: (definition: VmDefinition) => Promise<ControlledVm>;
}

/** See the head of this file. */
export class VmRegistry implements VmDirectory {
  readonly #directory: string;
  readonly #log: Log;
  readonly #start: (definition: VmDefinition) => Promise<ControlledVm>;
  readonly #vms = new Map<string, ControlledVm>();
  /** Names of machines that are being started. */
  readonly #starting = new Set<string>();

  constructor({ stateDir, log, start = startDefinedVm }: VmRegistryOptions) {
    this.#directory = join(stateDir, "vms");
    this.#log = log;
    this.#start = start;
  }

  list(): readonly ControlledVm[] {
    return [...this.#vms.values()];
  }

  /** Starts a new machine. Throws E_VM_EXISTS, and what starting it throws. */
  async create(definition: VmDefinition): Promise<ControlledVm> {
    const name = checkVmName(definition.name);
    if (this.#vms.has(name) || this.#starting.has(name)) {
      const message = `there is a machine ${name} already`;
      throw agentError("E_VM_EXISTS", message, "`dejavm rm` removes it; or use another name");
    }
    this.#starting.add(name);
    try {
      const vm = await this.#start(definition);
      writePrivateFile(this.#fileOf(name), `${JSON.stringify(definition, undefined, 2)}\n`);
      this.#vms.set(name, vm);
      this.#log.info({ vm: name }, "machine started");
      return vm;
    } finally {
      this.#starting.delete(name);
    }
  }

  async remove(vm: ControlledVm): Promise<void> {
    const { state } = vm.summary();
    if (state !== "stopped" && state !== "failed" && state !== "moved") {
      const message = `cannot remove ${vm.name}: it is ${state}`;
      throw agentError("E_VM_STATE", message, `stop it first: dejavm stop ${vm.name}`);
    }
    rmSync(this.#fileOf(vm.name), { force: true });
    this.#vms.delete(vm.name);
    this.#log.info({ vm: vm.name }, "machine removed");
  }

  /** Definitions on disk, by name. */
  get defined(): readonly string[] {
    return readdirSync(this.#directory)
      .filter((file) => file.endsWith(".json"))
      .map((file) => file.slice(0, -".json".length));
  }

  /** Stops every machine; guests are not asked. */
  async close(): Promise<void> {
    await Promise.allSettled(this.list().map((vm) => vm.stop({ force: true, timeoutMs: 0 })));
  }

  #fileOf(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}
