/** A machine without a guest: keeps what it was sent, ends when it is told to. */
import type { ConsolePort } from "@dejavm/machine";
import type { EndReport } from "@dejavm/vm";
import type { MachineHandle } from "../vm/running-vm.ts";
import { type ForwardControl, RunningVm } from "../vm/running-vm.ts";

const END: EndReport = {
  reason: { kind: "stopped" },
  position: 1n,
  ticks: 1n,
  instructions: 1n,
  restarts: 0,
  positionsBefore: 0n,
  digest: undefined,
};

/** See the head of this file. */
export class FakeMachine implements MachineHandle {
  readonly sent: { readonly port: ConsolePort; readonly text: string }[] = [];
  readonly #end = Promise.withResolvers<EndReport>();
  readonly ended = this.#end.promise;
  powerButtons = 0;
  /** Whether the guest ends when asked. */
  obeys = true;

  sendConsole(port: ConsolePort, bytes: Uint8Array): void {
    this.sent.push({ port, text: Buffer.from(bytes).toString("latin1") });
  }

  pressPowerButton(): void {
    this.powerButtons++;
    if (this.obeys) this.#end.resolve(END);
  }

  async stop(): Promise<EndReport> {
    this.#end.resolve(END);
    return this.ended;
  }

  fail(error: Error): void {
    this.#end.reject(error);
  }
}

/** A machine called `name` on a fake one. */
export function fakeVm(name: string, machine = new FakeMachine(), forwards?: ForwardControl) {
  const facts = { name, image: "debian", memoryBytes: 2 ** 28, startedAtMs: 0 };
  return new RunningVm({ ...facts, keyboard: "uart" }, machine, forwards);
}
