import { CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { detectKernel, type KernelFormat, readLinuxImage, zbootPayload } from "./linux-image.ts";
import { linuxImage } from "./test-support/config.ts";
import { utf8 } from "./text.ts";

/** A zboot file with `payload` at offset 64. */
function zboot(payload: Uint8Array, size = payload.length): Uint8Array {
  const file = new Uint8Array(64 + payload.length);
  file.set(utf8("MZ\0\0zimg"));
  const view = new DataView(file.buffer);
  view.setUint32(8, 64, true);
  view.setUint32(12, size, true);
  file.set(utf8("gzip"), 24);
  file.set(payload, 64);
  return file;
}

/** An Image with a PE header and two sections, the last of which ends at `fileBytes`. */
function efiImage(fileBytes: number): Uint8Array {
  const file = linuxImage({ fileBytes });
  const view = new DataView(file.buffer);
  file.set(utf8("MZ"));
  view.setUint32(60, 64, true);
  file.set(utf8("PE"), 64);
  view.setUint16(64 + 6, 2, true);
  view.setUint16(64 + 20, 160, true);
  for (const [at, pointer, size] of [
    [248, 1024, 1024],
    [288, 2048, fileBytes - 2048],
  ] as const) {
    view.setUint32(at + 16, size, true);
    view.setUint32(at + 20, pointer, true);
  }
  return file;
}

const FILES: readonly (readonly [KernelFormat, Uint8Array])[] = [
  ["image", linuxImage()],
  ["gzip", Uint8Array.of(0x1f, 0x8b, 8, 0)],
  ["zstd", Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd)],
  ["xz", Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0)],
  ["zboot", zboot(Uint8Array.of(1, 2))],
  ["elf", Uint8Array.of(0x7f, 0x45, 0x4c, 0x46)],
  ["unknown", utf8("#!/bin/sh\n")],
  ["unknown", new Uint8Array(0)],
];

describe("kernel files", () => {
  test.each(FILES)("recognises %s", (format, bytes) => {
    expect(detectKernel(bytes)).toBe(format);
  });

  test("an Image's header gives its offset and the memory it takes", () => {
    expect(readLinuxImage(linuxImage())).toEqual({ textOffset: 0x20_0000, imageBytes: 0x10_0000 });
    expect(readLinuxImage(linuxImage({ imageBytes: 0n })).imageBytes).toBe(4096);
  });

  test.each(FILES.filter(([format]) => format !== "image"))(
    "refuses %s as an Image",
    (_, bytes) => {
      expect(() => readLinuxImage(bytes)).toThrow(CodedError);
    },
  );

  test.each([
    ["truncated", linuxImage({ fileBytes: 63 })],
    ["of a later header version", linuxImage({ version: 0x1_0000 })],
    ["big-endian", linuxImage({ flags: 1n })],
    ["absurdly large", linuxImage({ imageBytes: 1n << 60n })],
    ["absurdly far", linuxImage({ textOffset: 1n << 60n })],
  ])("refuses an Image that is %s", (_, bytes) => {
    expect(() => readLinuxImage(bytes)).toThrow(/cannot start kernel/);
  });

  test("refuses an Image that ends before its sections do", () => {
    const whole = efiImage(4096);
    expect(readLinuxImage(whole).imageBytes).toBe(0x10_0000);
    expect(() => readLinuxImage(whole.subarray(0, 4095))).toThrow(/truncated/);
    // Not even the section table is whole.
    expect(() => readLinuxImage(whole.subarray(0, 300))).toThrow(/truncated/);
  });

  test("a zboot file gives its payload, and one that lies about its size does not", () => {
    const payload = Uint8Array.of(0x1f, 0x8b, 8);
    expect(zbootPayload(zboot(payload))).toEqual({ payload, compression: "gzip" });
    expect(() => zbootPayload(zboot(payload, 4))).toThrow(CodedError);
    expect(() => zbootPayload(zboot(payload).subarray(0, 20))).toThrow(CodedError);
    expect(() => zbootPayload(linuxImage())).toThrow(CodedError);
  });
});
