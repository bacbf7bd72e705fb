/**
 * Machine-mode timer and software interrupt. What they are made of belongs to the hart (its
 * virtual time decides when the timer fires); this is only the window onto it.
 */
import type { Device, State } from "../device.ts";
import { MSIP, MTIME, MTIMECMP } from "./wire.ts";

/** The hart's side of the CLINT. All values are unsigned; times are in ticks. */
export interface HartTimer {
  /** Virtual time now. */
  readonly ticks: bigint;
  /** The machine timer interrupt is pending while `ticks >= mtimecmp`. */
  mtimecmp: bigint;
  /** The machine software interrupt's pending bit (`mip.MSIP`). */
  msip: boolean;
}

/** See the head of this file. Stateless: the hart saves its timer. `mtime` cannot be written. */
export class Clint implements Device {
  readonly name = "clint";
  readonly widths = [4] as const;
  readonly #timer: HartTimer;

  constructor(options: { readonly timer: HartTimer }) {
    this.#timer = options.timer;
  }

  read(offset: number): number {
    switch (offset) {
      case MSIP:
        return this.#timer.msip ? 1 : 0;
      case MTIMECMP:
        return low(this.#timer.mtimecmp);
      case MTIMECMP + 4:
        return high(this.#timer.mtimecmp);
      case MTIME:
        return low(this.#timer.ticks);
      case MTIME + 4:
        return high(this.#timer.ticks);
      default:
        return 0;
    }
  }

  write(offset: number, _width: number, value: number): undefined {
    const word = BigInt(value >>> 0);
    if (offset === MSIP) {
      this.#timer.msip = (value & 1) === 1;
    } else if (offset === MTIMECMP) {
      this.#timer.mtimecmp = ((this.#timer.mtimecmp >> 32n) << 32n) | word;
    } else if (offset === MTIMECMP + 4) {
      this.#timer.mtimecmp = (word << 32n) | BigInt.asUintN(32, this.#timer.mtimecmp);
    }
  }

  save(): State {
    return {};
  }

  restore(): void {}
}

function low(value: bigint): number {
  return Number(BigInt.asUintN(32, value));
}

function high(value: bigint): number {
  return Number(BigInt.asUintN(32, value >> 32n));
}
