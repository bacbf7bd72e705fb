import { describe, expect, test } from "vitest";
import { fuzzRegisters } from "../../board/test-support/register-fuzz.ts";
import { Clint } from "./device.ts";
import { MSIP, MTIME, MTIMECMP } from "./wire.ts";

function make() {
  const timer = { ticks: 0n, mtimecmp: 0n, msip: false };
  return { clint: new Clint({ timer }), timer };
}

describe("CLINT", () => {
  test("msip is bit 0 alone", () => {
    const { clint, timer } = make();
    clint.write(MSIP, 4, 0xffff_ffff);
    expect([timer.msip, clint.read(MSIP)]).toEqual([true, 1]);
    clint.write(MSIP, 4, 2);
    expect(timer.msip).toBe(false);
  });

  test("mtimecmp is written and read half by half", () => {
    const { clint, timer } = make();
    clint.write(MTIMECMP, 4, 0xffff_fffe);
    clint.write(MTIMECMP + 4, 4, 0x8000_0001);
    expect(timer.mtimecmp).toBe(0x8000_0001_ffff_fffen);
    clint.write(MTIMECMP, 4, 3);
    expect([clint.read(MTIMECMP), clint.read(MTIMECMP + 4)]).toEqual([3, 0x8000_0001]);
  });

  test("mtime shows virtual time and cannot be written", () => {
    const { clint, timer } = make();
    timer.ticks = 0x1_2345_6789n;
    clint.write(MTIME, 4, 0);
    expect([clint.read(MTIME), clint.read(MTIME + 4)]).toEqual([0x2345_6789, 1]);
  });

  test("other harts' registers read 0", () => {
    const { clint } = make();
    clint.write(MSIP + 4, 4, 1);
    expect(clint.read(MSIP + 4)).toBe(0);
  });

  test("random traffic never throws", () => {
    // The hart saves its timer, so all devices here are windows onto one.
    const { timer } = make();
    fuzzRegisters({
      seed: 0xc117,
      operations: 20_000,
      regionBytes: 0x1_0000,
      offsets: [MSIP, MSIP + 4, MTIMECMP, MTIMECMP + 4, MTIME, MTIME + 4],
      make: () => ({
        device: new Clint({ timer }),
        observe: () => [timer.msip, String(timer.mtimecmp)],
        disturb: () => undefined,
      }),
    });
  });
});
