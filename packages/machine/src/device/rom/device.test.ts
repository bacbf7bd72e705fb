import { AssertionError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { Rom } from "./device.ts";

describe("ROM", () => {
  test("reads its bytes little-endian, 0 beyond them, whatever was written", () => {
    const rom = new Rom({ bytes: Uint8Array.of(1, 2, 3, 4, 5), sizeBytes: 4096 });
    rom.write();
    expect([rom.read(0, 4), rom.read(1, 1), rom.read(3, 2)]).toEqual([0x0403_0201, 2, 0x0504]);
    expect([rom.read(8, 4), rom.read(4096, 4)]).toEqual([0, 0]);
  });

  test("content larger than the region is our mistake", () => {
    expect(() => new Rom({ bytes: new Uint8Array(5), sizeBytes: 4 })).toThrow(AssertionError);
  });

  test("a restored ROM has the content of the one that was saved", () => {
    const rom = new Rom({ bytes: Uint8Array.of(1, 2, 3, 4), sizeBytes: 16 });
    const other = new Rom({ bytes: Uint8Array.of(9), sizeBytes: 16 });
    other.restore(rom.save());
    expect(other.read(0, 4)).toBe(0x0403_0201);
    expect(() => other.restore({ content: new Uint8Array(15) })).toThrow("field content");
  });
});
