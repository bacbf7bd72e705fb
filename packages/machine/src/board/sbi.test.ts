import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import type { SbiHost, SbiResult } from "./sbi.ts";
import { handleSbi, SBI_CONSOLE_BYTES } from "./sbi.ts";
import {
  BASE,
  DBCN,
  EXTENSION,
  HSM,
  LEGACY,
  SBI_ALREADY_AVAILABLE,
  SBI_FAILED,
  SBI_INVALID_PARAM,
  SBI_NOT_SUPPORTED,
} from "./sbi-wire.ts";
import { TestRam } from "./test-support/ram.ts";
import { utf8 } from "./text.ts";

const RAM = 0x8000_0000;
const ALL_ONES = (1n << 64n) - 1n;

class TestHost implements SbiHost {
  readonly memory = new TestRam(RAM, 0x2_0000);
  readonly identity = { mvendorid: 1n, marchid: 2n, mimpid: 3n };
  text = "";
  timer: bigint | undefined;
  software: boolean | undefined;
  input: Uint8Array = new Uint8Array(0);
  readonly output: SbiHost["output"] = (output) => {
    if (output.kind === "console") this.text += String.fromCharCode(...output.bytes);
  };
  readonly console: SbiHost["console"];

  constructor() {
    const queued = (): number => this.input.length;
    this.console = {
      get queued() {
        return queued();
      },
      take: (maxBytes) => {
        const taken = this.input.subarray(0, maxBytes);
        this.input = this.input.subarray(taken.length);
        return taken;
      },
    };
  }

  setTimer(ticks: bigint): void {
    this.timer = ticks;
  }

  setSoftwareInterrupt(pending: boolean): void {
    this.software = pending;
  }

  call(extension: number, fn: number, ...args: readonly bigint[]): SbiResult {
    return handleSbi({ extension, function: fn, args }, this);
  }
}

const ok = (value = 0n): SbiResult => ({ kind: "return", error: 0, value });
const error = (code: number): SbiResult => ({ kind: "return", error: code, value: 0n });

describe("built-in SBI", () => {
  test("base tells version and identity and finds exactly what is there", () => {
    const host = new TestHost();
    expect(host.call(EXTENSION.base, BASE.specVersion)).toEqual(ok(0x0200_0000n));
    expect(host.call(EXTENSION.base, BASE.vendorId)).toEqual(ok(1n));
    expect(host.call(EXTENSION.base, BASE.architectureId)).toEqual(ok(2n));
    expect(host.call(EXTENSION.base, BASE.machineImplementationId)).toEqual(ok(3n));
    for (const id of Object.values(EXTENSION)) {
      expect(host.call(EXTENSION.base, BASE.probe, BigInt(id))).toEqual(ok(1n));
    }
    const pmu = 0x504d55n;
    expect(host.call(EXTENSION.base, BASE.probe, pmu)).toEqual(ok(0n));
    expect(host.call(EXTENSION.base, 99)).toEqual(error(SBI_NOT_SUPPORTED));
  });

  test("an unknown extension or function is not supported", () => {
    const host = new TestHost();
    for (const id of [0x504d55, 0x0900_0000, 0xffff_ffff, 15]) {
      expect(host.call(id, 0)).toEqual(error(SBI_NOT_SUPPORTED));
    }
    for (const id of Object.values(EXTENSION)) {
      expect(host.call(id, 77)).toEqual(error(SBI_NOT_SUPPORTED));
    }
  });

  test("time sets the timer", () => {
    const host = new TestHost();
    expect(host.call(EXTENSION.time, 0, ALL_ONES)).toEqual(ok());
    expect(host.timer).toBe(ALL_ONES);
  });

  test.each([
    [1n, 0n, ok(), true],
    [0n, ALL_ONES, ok(), true],
    [0n, 0n, ok(), undefined],
    [2n, 0n, error(SBI_INVALID_PARAM), undefined],
    [1n, 1n, error(SBI_INVALID_PARAM), undefined],
  ])("an interrupt to mask %i from hart %i reaches hart 0 only", (mask, base, result, pending) => {
    const host = new TestHost();
    expect(host.call(EXTENSION.ipi, 0, mask, base)).toEqual(result);
    expect(host.software).toBe(pending);
    expect(host.call(EXTENSION.rfence, 1, mask, base, 0n, 4096n)).toEqual(result);
  });

  test("the only hart is started, cannot be stopped, and can wait", () => {
    const host = new TestHost();
    expect(host.call(EXTENSION.hsm, HSM.status, 0n)).toEqual(ok(0n));
    expect(host.call(EXTENSION.hsm, HSM.status, 1n)).toEqual(error(SBI_INVALID_PARAM));
    expect(host.call(EXTENSION.hsm, HSM.start, 0n)).toEqual(error(SBI_ALREADY_AVAILABLE));
    expect(host.call(EXTENSION.hsm, HSM.start, 1n)).toEqual(error(SBI_INVALID_PARAM));
    expect(host.call(EXTENSION.hsm, HSM.stop)).toEqual(error(SBI_FAILED));
    expect(host.call(EXTENSION.hsm, HSM.suspend, 0n)).toEqual({ kind: "wait" });
    expect(host.call(EXTENSION.hsm, HSM.suspend, 0x8000_0000n)).toEqual(error(SBI_NOT_SUPPORTED));
    expect(host.call(EXTENSION.hsm, HSM.suspend, 5n)).toEqual(error(SBI_INVALID_PARAM));
  });

  test.each([
    [0n, 0n, { kind: "power-off", status: 0 }],
    [0n, 1n, { kind: "power-off", status: 1 }],
    [1n, 0n, { kind: "reset" }],
    [2n, 1n, { kind: "reset" }],
    [3n, 0n, error(SBI_INVALID_PARAM)],
    [0n, 2n, error(SBI_INVALID_PARAM)],
  ] as const)("system reset type %i for reason %i", (type, reason, result) => {
    expect(new TestHost().call(EXTENSION.srst, 0, type, reason)).toEqual(result);
  });

  test("the debug console writes from memory and reads into it", () => {
    const host = new TestHost();
    host.memory.write(RAM + 16, utf8("hello"));
    expect(host.call(EXTENSION.dbcn, DBCN.write, 5n, BigInt(RAM + 16), 0n)).toEqual(ok(5n));
    expect(host.call(EXTENSION.dbcn, DBCN.writeByte, 0x121n)).toEqual(ok());
    expect(host.text).toBe("hello!");
    host.input = utf8("xyz");
    expect(host.call(EXTENSION.dbcn, DBCN.read, 2n, BigInt(RAM), 0n)).toEqual(ok(2n));
    expect(host.call(EXTENSION.dbcn, DBCN.read, 9n, BigInt(RAM + 2), 0n)).toEqual(ok(1n));
    expect(host.memory.view(RAM, 3)).toEqual(utf8("xyz"));
    expect(host.call(EXTENSION.dbcn, DBCN.read, 9n, BigInt(RAM), 0n)).toEqual(ok(0n));
  });

  test("the debug console refuses memory that is not RAM", () => {
    const host = new TestHost();
    host.input = utf8("xyz");
    for (const [address, high] of [
      [0n, 0n],
      [BigInt(RAM), 1n],
      [ALL_ONES, 0n],
    ] as const) {
      for (const fn of [DBCN.write, DBCN.read]) {
        const result = host.call(EXTENSION.dbcn, fn, 3n, address, high);
        expect(result).toEqual(error(SBI_INVALID_PARAM));
      }
    }
    expect(host.input.length).toBe(3);
  });

  test("one debug console write moves no more than its limit", () => {
    const host = new TestHost();
    for (const size of [SBI_CONSOLE_BYTES - 1, SBI_CONSOLE_BYTES, SBI_CONSOLE_BYTES + 1]) {
      const moved = BigInt(Math.min(size, SBI_CONSOLE_BYTES));
      expect(host.call(EXTENSION.dbcn, DBCN.write, BigInt(size), BigInt(RAM))).toEqual(ok(moved));
    }
  });

  test("a debug console call with a missing page changes nothing until it is there", () => {
    for (const fn of [DBCN.write, DBCN.read]) {
      for (const page of [RAM / 4096, RAM / 4096 + 1]) {
        const host = new TestHost();
        host.input = utf8("abcd");
        host.memory.absent.add(page);
        const call = () => host.call(EXTENSION.dbcn, fn, 4n, BigInt(RAM + 4094), 0n);
        expect(call()).toEqual({ kind: "missing", missing: { pages: [page], blocks: [] } });
        expect([host.text, host.input.length]).toEqual(["", 4]);
        host.memory.absent.clear();
        expect(call()).toEqual(ok(4n));
      }
    }
  });

  test("legacy calls answer in a0 alone", () => {
    const host = new TestHost();
    const done = { kind: "legacy", a0: 0n };
    host.input = utf8("k");
    expect(host.call(LEGACY.putCharacter, 0, 0x68n)).toEqual(done);
    expect(host.call(LEGACY.getCharacter, 0)).toEqual({ kind: "legacy", a0: 0x6bn });
    expect(host.call(LEGACY.getCharacter, 0)).toEqual({ kind: "legacy", a0: -1n });
    expect(host.call(LEGACY.setTimer, 0, 9n)).toEqual(done);
    expect(host.call(LEGACY.sendIpi, 0, 0n)).toEqual(done);
    expect([host.text, host.timer, host.software]).toEqual(["h", 9n, true]);
    expect(host.call(LEGACY.clearIpi, 0)).toEqual(done);
    expect(host.software).toBe(false);
    expect(host.call(LEGACY.sfenceVmaAsid, 0)).toEqual(done);
    expect(host.call(LEGACY.shutdown, 0)).toEqual({ kind: "power-off", status: 0 });
  });

  test("random calls never throw", () => {
    const prng = new Prng(0x5b1);
    const host = new TestHost();
    const extensions = [...Object.values(EXTENSION), ...Object.values(LEGACY)];
    const word = (): bigint =>
      prng.pick([prng.u64(), BigInt(prng.below(8)), BigInt(RAM + prng.below(0x3_0000)), ALL_ONES]);
    for (let i = 0; i < 20_000; i++) {
      host.text = "";
      host.input = prng.fill(new Uint8Array(prng.below(8)));
      const extension = prng.oneIn(10) ? prng.u32() : prng.pick(extensions);
      expect(host.call(extension, prng.below(8), word(), word(), word()).kind).toBeDefined();
    }
  });
});
