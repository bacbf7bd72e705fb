import { CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { fuzzRegisters } from "../../board/test-support/register-fuzz.ts";
import { Rtc } from "./device.ts";
import * as wire from "./wire.ts";

const WALL_NS = 1_700_000_000_123_456_789n;

function make(): { rtc: Rtc; clock: { ticks: bigint }; seen: { irq: boolean } } {
  const clock = { ticks: 0n };
  const seen = { irq: false };
  const irq = { set: (asserted: boolean): void => void (seen.irq = asserted) };
  return { rtc: new Rtc({ irq, clock, wallTimeNs: WALL_NS }), clock, seen };
}

function readTime(rtc: Rtc): bigint {
  const low = BigInt(rtc.read(wire.TIME_LOW));
  return (BigInt(rtc.read(wire.TIME_HIGH)) << 32n) | low;
}

function setAlarm(rtc: Rtc, ns: bigint): void {
  rtc.write(wire.ALARM_HIGH, 4, Number(ns >> 32n));
  rtc.write(wire.ALARM_LOW, 4, Number(ns & 0xffff_ffffn));
}

describe("goldfish RTC", () => {
  test("shows wall time at power-on plus virtual time", () => {
    const { rtc, clock } = make();
    expect(readTime(rtc)).toBe(WALL_NS);
    clock.ticks = 25n;
    expect(readTime(rtc)).toBe(WALL_NS + 2500n);
  });

  test("reading the low half latches the high half", () => {
    const { rtc, clock } = make();
    rtc.write(wire.TIME_HIGH, 4, 5);
    rtc.write(wire.TIME_LOW, 4, 0xffff_ffff);
    expect(rtc.read(wire.TIME_LOW)).toBe(0xffff_ffff);
    clock.ticks += 1n;
    expect(rtc.read(wire.TIME_HIGH)).toBe(5);
    expect(readTime(rtc)).toBe((6n << 32n) + 99n);
  });

  test("a guest that sets the clock moves it from there on", () => {
    const { rtc, clock } = make();
    clock.ticks = 1000n;
    rtc.write(wire.TIME_HIGH, 4, 1);
    rtc.write(wire.TIME_LOW, 4, 7);
    clock.ticks = 1001n;
    expect(readTime(rtc)).toBe((1n << 32n) + 107n);
  });

  test("an alarm rings at its deadline, not before, and once", () => {
    const { rtc, clock, seen } = make();
    rtc.write(wire.IRQ_ENABLED, 4, 1);
    setAlarm(rtc, WALL_NS + 1050n);
    expect(rtc.deadlineTicks).toBe(11n);
    expect(rtc.read(wire.ALARM_STATUS)).toBe(1);
    clock.ticks = 10n;
    rtc.tick();
    expect(seen.irq).toBe(false);
    clock.ticks = 11n;
    rtc.tick();
    expect(seen.irq).toBe(true);
    expect([rtc.read(wire.ALARM_STATUS), rtc.deadlineTicks]).toEqual([0, undefined]);
    rtc.write(wire.CLEAR_INTERRUPT, 4, 1);
    rtc.tick();
    expect(seen.irq).toBe(false);
  });

  test("an alarm in the past rings at once; a cleared one never", () => {
    const { rtc, clock, seen } = make();
    rtc.write(wire.IRQ_ENABLED, 4, 1);
    setAlarm(rtc, WALL_NS - 1n);
    expect(seen.irq).toBe(true);
    rtc.write(wire.CLEAR_INTERRUPT, 4, 0);
    setAlarm(rtc, WALL_NS + 100n);
    rtc.write(wire.CLEAR_ALARM, 4, 0);
    clock.ticks = 100n;
    rtc.tick();
    expect(seen.irq).toBe(false);
  });

  test("a state with a field of the wrong type is refused", () => {
    const { rtc } = make();
    expect(() => rtc.restore({ ...rtc.save(), alarmNs: 5 })).toThrow(CodedError);
  });

  test("random traffic never throws and survives save and restore", () => {
    // One clock for all: a restored device continues in the time of its machine.
    const clock = { ticks: 0n };
    fuzzRegisters({
      seed: 0x90d,
      operations: 20_000,
      regionBytes: 0x1000,
      offsets: [0, 4, 8, 12, 16, 20, 24, 28],
      make: () => {
        const seen = { irq: false };
        const irq = { set: (asserted: boolean): void => void (seen.irq = asserted) };
        const rtc = new Rtc({ irq, clock, wallTimeNs: WALL_NS });
        return {
          device: rtc,
          observe: () => [seen.irq, String(rtc.deadlineTicks)],
          disturb: () => rtc.tick(),
        };
      },
    });
  });
});
