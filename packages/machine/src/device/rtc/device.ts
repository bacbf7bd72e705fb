/**
 * The real-time clock: wall time at power-on, which is part of the configuration, plus virtual
 * time, plus whatever the guest has set it forward or back by.
 *
 * An armed alarm is a deadline in virtual time: the machine asks for `deadlineTicks` when it
 * decides how far the hart may run or sleep, and calls `tick` once that time has come.
 */
import { fields } from "../../snapshot/fields.ts";
import {
  type Device,
  type IrqLine,
  type State,
  TIMEBASE_HZ,
  type VirtualClock,
} from "../device.ts";
import * as wire from "./wire.ts";

const NS_PER_TICK = BigInt(1_000_000_000 / TIMEBASE_HZ);
const LOW_MASK = 0xffff_ffffn;

/** See the head of this file. All times are unsigned 64-bit nanoseconds and wrap. */
export class Rtc implements Device {
  readonly name = "rtc";
  readonly widths = [4] as const;
  readonly #irq: IrqLine;
  readonly #clock: VirtualClock;
  /** Wall time minus virtual time. */
  #offsetNs: bigint;
  #latchedHigh = 0;
  #alarmNs = 0n;
  #armed = false;
  #irqEnabled = false;
  #irqPending = false;

  constructor(options: {
    readonly irq: IrqLine;
    readonly clock: VirtualClock;
    /** Wall time at virtual time 0, nanoseconds since 1970. */
    readonly wallTimeNs: bigint;
  }) {
    this.#irq = options.irq;
    this.#clock = options.clock;
    this.#offsetNs = BigInt.asUintN(64, options.wallTimeNs);
  }

  /** Wall time at virtual time 0 as the guest has set it, nanoseconds since 1970. */
  get wallTimeNs(): bigint {
    return this.#offsetNs;
  }

  /** When `tick` wants to be called, in ticks since power-on; undefined: no alarm is armed. */
  get deadlineTicks(): bigint | undefined {
    if (!this.#armed) return undefined;
    const now = this.#nowNs;
    const wait = this.#alarmNs > now ? this.#alarmNs - now : 0n;
    return this.#clock.ticks + (wait + NS_PER_TICK - 1n) / NS_PER_TICK;
  }

  /** Rings the alarm if its time has come; harmless at any other time. */
  tick(): void {
    if (!this.#armed || this.#nowNs < this.#alarmNs) return;
    this.#armed = false;
    this.#irqPending = true;
    this.#update();
  }

  read(offset: number): number {
    switch (offset) {
      case wire.TIME_LOW: {
        const now = this.#nowNs;
        this.#latchedHigh = Number(now >> 32n);
        return Number(now & LOW_MASK);
      }
      case wire.TIME_HIGH:
        return this.#latchedHigh;
      case wire.ALARM_LOW:
        return Number(this.#alarmNs & LOW_MASK);
      case wire.ALARM_HIGH:
        return Number(this.#alarmNs >> 32n);
      case wire.IRQ_ENABLED:
        return this.#irqEnabled ? 1 : 0;
      case wire.ALARM_STATUS:
        return this.#armed ? 1 : 0;
      default:
        return 0;
    }
  }

  write(offset: number, _width: number, value: number): undefined {
    switch (offset) {
      case wire.TIME_LOW:
        this.#setNow(withLow(this.#nowNs, value));
        break;
      case wire.TIME_HIGH:
        this.#setNow(withHigh(this.#nowNs, value));
        break;
      case wire.ALARM_LOW:
        this.#alarmNs = withLow(this.#alarmNs, value);
        this.#armed = true;
        break;
      case wire.ALARM_HIGH:
        this.#alarmNs = withHigh(this.#alarmNs, value);
        break;
      case wire.IRQ_ENABLED:
        this.#irqEnabled = (value & 1) === 1;
        break;
      case wire.CLEAR_ALARM:
        this.#armed = false;
        break;
      case wire.CLEAR_INTERRUPT:
        this.#irqPending = false;
        break;
      default:
        return;
    }
    this.tick();
    this.#update();
  }

  save(): State {
    return {
      offsetNs: this.#offsetNs,
      latchedHigh: this.#latchedHigh,
      alarmNs: this.#alarmNs,
      armed: this.#armed,
      irqEnabled: this.#irqEnabled,
      irqPending: this.#irqPending,
    };
  }

  restore(state: State): void {
    const f = fields(state, this.name);
    this.#offsetNs = f.u64("offsetNs");
    this.#latchedHigh = f.u32("latchedHigh");
    this.#alarmNs = f.u64("alarmNs");
    this.#armed = f.bool("armed");
    this.#irqEnabled = f.bool("irqEnabled");
    this.#irqPending = f.bool("irqPending");
    f.end();
    this.#update();
  }

  get #nowNs(): bigint {
    return BigInt.asUintN(64, this.#offsetNs + this.#clock.ticks * NS_PER_TICK);
  }

  #setNow(ns: bigint): void {
    this.#offsetNs = BigInt.asUintN(64, ns - this.#clock.ticks * NS_PER_TICK);
  }

  #update(): void {
    this.#irq.set(this.#irqPending && this.#irqEnabled);
  }
}

function withLow(value: bigint, low: number): bigint {
  return ((value >> 32n) << 32n) | BigInt(low >>> 0);
}

function withHigh(value: bigint, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | (value & LOW_MASK);
}
