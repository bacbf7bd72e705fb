import { describe, expect, test } from "vitest";
import type { MachineConfig } from "../machine-types.ts";
import { type BootPlan, planBoot } from "./boot.ts";
import { MAX_MEMORY_BYTES, MIN_MEMORY_BYTES } from "./memory-map.ts";
import { elf, linuxImage, testBoot, testConfig } from "./test-support/config.ts";
import { errorCode } from "./test-support/error-code.ts";

const MiB = 1024 * 1024;
const KERNEL = 0x8020_0000;

function addresses(plan: BootPlan): number[] {
  return plan.segments.map(({ address }) => address);
}

function codeOf(config: MachineConfig): string {
  return errorCode(() => planBoot(config));
}

describe("boot layout", () => {
  // The initrd and device tree addresses are those that QEMU's `virt` board uses.
  test.each([
    [96, 0x8320_0000, 0x85e0_0000],
    [128, 0x8420_0000, 0x87e0_0000],
    [512, 0x9020_0000, 0x9fe0_0000],
    [1024, 0xa020_0000, 0xbfe0_0000],
    [2048, 0xa020_0000, 0xffe0_0000],
  ])("with %i MiB kernel, initrd and device tree lie where QEMU puts them", (size, initrd, fdt) => {
    const plan = planBoot(testBoot({ initrd: new Uint8Array(9 * MiB) }, size * MiB));
    expect(addresses(plan)).toEqual([KERNEL, initrd, fdt]);
    expect(plan.privilege).toBe("s");
    expect(plan.pc).toBe(BigInt(KERNEL));
    expect(plan.registers).toEqual({ a0: 0n, a1: BigInt(fdt), a2: 0n });
    expect(plan.htif).toBeUndefined();
  });

  test("an initrd too big for its usual place goes as high as it can, else is refused", () => {
    const room = 128 * MiB - 2 * MiB - 2 * MiB - MiB;
    const fits = planBoot(testBoot({ initrd: new Uint8Array(room) }));
    expect(addresses(fits)).toEqual([KERNEL, KERNEL + MiB, 0x87e0_0000]);
    expect(codeOf(testBoot({ initrd: new Uint8Array(room + 1) }))).toBe("E_INITRD_TOO_BIG");
  });

  test("an initrd never overlaps what the running kernel takes", () => {
    const kernel = linuxImage({ imageBytes: BigInt(80 * MiB) });
    const plan = planBoot(testBoot({ kernel, initrd: new Uint8Array(MiB) }));
    expect(addresses(plan)[1]).toBe(0x87e0_0000 - MiB);
  });

  test("a kernel that needs more RAM than there is is refused", () => {
    const kernel = linuxImage({ imageBytes: BigInt(124 * MiB) });
    expect(codeOf(testBoot({ kernel }))).toBe("no error");
    const bigger = linuxImage({ imageBytes: BigInt(124 * MiB + 1) });
    expect(codeOf(testBoot({ kernel: bigger }))).toBe("E_KERNEL_TOO_BIG");
    expect(codeOf(testBoot({ kernel: new Uint8Array(100) }))).toBe("E_KERNEL_INVALID");
  });

  test("a flat firmware starts in M-mode at the start of RAM and is told of the kernel", () => {
    const image = Uint8Array.of(0x6f, 0, 0, 0);
    const plan = planBoot(testBoot({ kind: "firmware", image }));
    expect(addresses(plan)).toEqual([0x8000_0000, KERNEL, 0x87e0_0000]);
    expect([plan.privilege, plan.pc]).toEqual(["m", 0x8000_0000n]);
    expect(plan.registers).toEqual({ a0: 0n, a1: 0x87e0_0000n, a2: 0x1028n });
    const rom = new DataView(plan.rom.buffer);
    // As read from the ROM of QEMU's board.
    expect(Array.from({ length: 6 }, (_, i) => rom.getUint32(4 * i, true))).toEqual([
      0x0000_0297, 0x0282_8613, 0xf140_2573, 0x0202_b583, 0x0182_b283, 0x0002_8067,
    ]);
    const words = Array.from({ length: 8 }, (_, i) => rom.getBigUint64(0x18 + 8 * i, true));
    expect(words).toEqual([
      0x8000_0000n,
      0x87e0_0000n,
      0x4942534fn,
      2n,
      BigInt(KERNEL),
      1n,
      0n,
      0n,
    ]);
  });

  test("a kernel under a firmware of more than 2 MiB moves up to the next boundary", () => {
    const image = new Uint8Array(2 * MiB + 1);
    expect(addresses(planBoot(testBoot({ kind: "firmware", image })))[1]).toBe(KERNEL + 2 * MiB);
  });

  test("an ELF firmware is loaded where it says and its HTIF words are found", () => {
    const segments = [{ address: 0x8000_0000n, bytes: new Uint8Array(8), memoryBytes: 0x2000n }];
    const symbols = { tohost: 0x8000_1000n, fromhost: 0x8000_1040n };
    const image = elf({ segments, symbols, entry: 0x8000_0004n });
    const base = testBoot({ kind: "firmware", image });
    const { kernel: _, ...boot } = base.boot;
    const plan = planBoot({
      ...base,
      boot: { kind: "firmware", image, commandLine: boot.commandLine },
    });
    expect(addresses(plan)).toEqual([0x8000_0000, 0x87e0_0000]);
    expect(plan.pc).toBe(0x8000_0004n);
    expect(plan.htif).toEqual({ tohost: 0x8000_1000, fromhost: 0x8000_1040 });
    for (const tohost of [0x8000_1004n, 0n, 0x8800_0000n]) {
      const bad = elf({ segments, symbols: { tohost } });
      expect(codeOf(testBoot({ kind: "firmware", image: bad }))).toBe("E_ELF_INVALID");
    }
  });

  test("a firmware that is empty or larger than RAM is refused", () => {
    for (const size of [0, 64 * MiB + 1]) {
      const image = new Uint8Array(size);
      expect(codeOf(testBoot({ kind: "firmware", image }, 64 * MiB))).toBe("E_FIRMWARE_TOO_BIG");
    }
  });

  test.each([
    [MIN_MEMORY_BYTES, "no error"],
    [MIN_MEMORY_BYTES - 2 * MiB, "E_CONFIG_INVALID"],
    [MIN_MEMORY_BYTES + 4096, "E_CONFIG_INVALID"],
    [MAX_MEMORY_BYTES, "no error"],
    [MAX_MEMORY_BYTES + 2 * MiB, "E_CONFIG_INVALID"],
    [Number.NaN, "E_CONFIG_INVALID"],
  ])("memory of %i bytes: %s", (memoryBytes, code) => {
    expect(codeOf(testConfig({ memoryBytes }))).toBe(code);
  });

  test.each([
    ["x".repeat(1023), "no error"],
    ["x".repeat(1024), "E_CONFIG_INVALID"],
    ["é".repeat(512), "E_CONFIG_INVALID"],
    ["a\0b", "E_CONFIG_INVALID"],
  ])("a command line is held to what the kernel keeps", (commandLine, code) => {
    expect(codeOf(testBoot({ commandLine }))).toBe(code);
  });

  test("more disks than slots are refused", () => {
    const disk = { sizeBytes: 512, readOnly: false, serial: "d" };
    expect(codeOf(testConfig({ disks: [disk, disk, disk, disk] }))).toBe("no error");
    expect(codeOf(testConfig({ disks: [disk, disk, disk, disk, disk] }))).toBe("E_CONFIG_INVALID");
  });
});
