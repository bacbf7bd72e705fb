/** Machines that stand in `ps` and run nowhere here: whatever is asked of them is refused. */

import type { LineageInfo } from "@dejavm/log-store";
import { decodeVmConfig } from "@dejavm/source-agent";
import type { VmSummary } from "../control/api.ts";
import { agentError } from "../errors.ts";
import type { ControlledVm } from "./controlled-vm.ts";

/** See the head of this file. */
export abstract class RestingVm implements ControlledVm {
  readonly name: string;
  readonly lineage: LineageInfo;

  constructor(lineage: LineageInfo) {
    this.name = lineage.name;
    this.lineage = lineage;
  }

  abstract summary(): VmSummary;
  /** Why it does nothing, and what to do. */
  protected abstract refusal(): Error;

  attachConsole(): () => void {
    throw this.refusal();
  }

  type(): void {
    throw this.refusal();
  }

  exec(): Promise<never> {
    return Promise.reject(this.refusal());
  }

  stop(): Promise<void> {
    return Promise.reject(this.refusal());
  }

  pause(): Promise<void> {
    return Promise.reject(this.refusal());
  }

  resume(): Promise<void> {
    return Promise.reject(this.refusal());
  }

  addForward(): Promise<void> {
    return Promise.reject(this.refusal());
  }

  removeForward(): Promise<void> {
    return Promise.reject(this.refusal());
  }
}

/** What `ps` shows of a machine that is only in the store. */
export function restingSummary(
  { name, config, createdAtMs }: LineageInfo,
  state: VmSummary["state"],
  notes: string[],
): VmSummary {
  const { image, memoryBytes } = decodeVmConfig(config);
  const startedAtMs = createdAtMs;
  return { name, state, image, memoryBytes, startedAtMs, forwards: [], consoles: 0, notes };
}

/** A machine of this agent that was stopped before it started, or could not be brought back. */
export class StoppedVm extends RestingVm {
  readonly #failure: string | undefined;

  /** `failure`: why it could not be brought back; undefined: it was stopped. */
  constructor(lineage: LineageInfo, failure?: string) {
    super(lineage);
    this.#failure = failure;
  }

  summary(): VmSummary {
    const notes = this.#failure === undefined ? [] : [this.#failure];
    return restingSummary(this.lineage, this.#failure === undefined ? "stopped" : "failed", notes);
  }

  override stop(): Promise<void> {
    return Promise.resolve();
  }

  protected refusal(): Error {
    const { name } = this;
    const message = `${name} is ${this.summary().state}`;
    return agentError("E_VM_STATE", message, `bring it back: dejavm start ${name}`);
  }
}

/** What is to be known of a machine that another host may have; `facts` say how it stands. */
export function doubtNotes(name: string, facts: readonly string[]): string[] {
  const command = `dejavm settle ${name} --live-here|--live-there --peer-is-stopped`;
  return [...facts, `its answer is awaited; or: ${command}`];
}
