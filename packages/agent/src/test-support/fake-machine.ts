/** A machine without a guest: keeps what it was sent, ends when it is told to. */
import type { ConsolePort } from "@dejavm/machine";
import type { EndReport, VmReport, VmRequest } from "@dejavm/vm";
import type { MachineHandle } from "../vm/running-vm.ts";
import { type ForwardControl, RunningVm } from "../vm/running-vm.ts";

const END: EndReport = {
  reason: { kind: "stopped" },
  position: 1n,
  ticks: 1n,
  instructions: 1n,
  restarts: 0,
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

  readonly requests: VmRequest[] = [];
  /** Where answers go. */
  onReport: ((report: VmReport) => void) | undefined;

  request(request: VmRequest): void {
    this.requests.push(request);
    const where = { position: 1n, ticks: 1n };
    if (request.kind === "freeze") {
      const rest = { digest: "", guestWallNs: 0n, trace: undefined, waiting: [] };
      this.onReport?.({ kind: "frozen", id: request.id, ...rest, ...where });
    }
    if (request.kind === "unfreeze") {
      this.onReport?.({ kind: "unfrozen", id: request.id, ...where });
    }
  }

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
  const vm = new RunningVm({ ...facts, keyboard: "uart" }, machine, forwards);
  machine.onReport = (report) => vm.handleReport(report);
  return vm;
}
