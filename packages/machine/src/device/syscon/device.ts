/** The power switch: a guest writes here to switch itself off or to ask for a reset. */
import type { AccessWidth, Device, State } from "../device.ts";
import { COMMAND_FAIL, COMMAND_PASS, COMMAND_RESET } from "./wire.ts";

/** What the guest asked for. `status` is 0 for success, else 1 .. 65,535. */
export type PowerRequest =
  | { readonly kind: "power-off"; readonly status: number }
  | { readonly kind: "reset" };

/** Called within the guest's store; the machine stops after that instruction. */
export type PowerSink = (request: PowerRequest) => void;

/** See the head of this file. A failure with code 0 counts as status 1. Stateless. */
export class Syscon implements Device {
  readonly name = "syscon";
  readonly widths = [1, 2, 4] as const;
  readonly #power: PowerSink;

  constructor(options: { readonly power: PowerSink }) {
    this.#power = options.power;
  }

  read(): number {
    return 0;
  }

  write(offset: number, width: AccessWidth, value: number): undefined {
    if (offset !== 0 || width === 1) return;
    const command = value & 0xffff;
    if (command === COMMAND_PASS) this.#power({ kind: "power-off", status: 0 });
    else if (command === COMMAND_RESET) this.#power({ kind: "reset" });
    else if (command === COMMAND_FAIL) {
      this.#power({ kind: "power-off", status: value >>> 16 || 1 });
    }
  }

  save(): State {
    return {};
  }

  restore(): void {}
}
