import { describe, expect, it, test } from "vitest";
import { ByteWriter, release } from "./bytes.ts";

describe("ByteWriter", () => {
  it("gives what was written, and keeps it apart from what comes after", () => {
    for (const room of [4, 5, 16]) {
      const writer = new ByteWriter(room).u8(1).u32(0x05040302);
      const copy = writer.finish();
      writer.u8(6);
      expect([...copy]).toEqual([1, 2, 3, 4, 5]);
      expect([...writer.end()]).toEqual([1, 2, 3, 4, 5, 6]);
    }
  });

  it("ends without a copy where the room was exact", () => {
    const exact = new ByteWriter(4).u32(1);
    expect(exact.end().buffer).toBe(exact.view.buffer);
    const wide = new ByteWriter(8).u32(1).end();
    expect(wide.buffer.byteLength).toBe(4);
  });
});

test("released memory is gone", () => {
  const bytes = new Uint8Array(4096);
  release(bytes.buffer);
  expect([bytes.length, bytes.buffer.byteLength, bytes.buffer.detached]).toEqual([0, 0, true]);
});
