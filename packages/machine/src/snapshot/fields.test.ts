import { CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import type { StateValue } from "../device/device.ts";
import { type FieldReader, fields } from "./fields.ts";

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof CodedError && error.code === "E_SNAPSHOT_INVALID") return error.message;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("fields", () => {
  test("gives every kind of field back as it was saved", () => {
    const f = fields(
      {
        a: 255,
        b: 65_535,
        c: 4_294_967_295,
        d: 18_446_744_073_709_551_615n,
        e: true,
        f: "text",
        g: new Uint8Array([1, 2]),
        h: [1, 2],
        i: { x: 7 },
        j: [{ y: 8 }],
      },
      "part",
    );
    expect([f.u8("a"), f.u16("b"), f.u32("c")]).toEqual([255, 65_535, 4_294_967_295]);
    expect(f.u64("d")).toBe(18_446_744_073_709_551_615n);
    expect(f.bool("e")).toBe(true);
    expect(f.oneOf("f", ["other", "text"])).toBe("text");
    expect(f.string("f", 4)).toBe("text");
    expect([...f.bytes("g", { length: 2 })]).toEqual([1, 2]);
    expect(f.list("h", 2)).toEqual([1, 2]);
    expect(f.record("i").u8("x")).toBe(7);
    expect(f.records("j", 1).map((item) => item.u8("y"))).toEqual([8]);
    f.end();
  });

  const cases: readonly [string, StateValue, (f: FieldReader) => unknown][] = [
    ["u8 above its range", 256, (f) => f.u8("x")],
    ["u16 below its range", -1, (f) => f.u16("x")],
    ["u32 that is no integer", 1.5, (f) => f.u32("x")],
    ["u32 that is not a number", Number.NaN, (f) => f.u32("x")],
    ["u64 above its range", 1n << 64n, (f) => f.u64("x")],
    ["u64 below its range", -1n, (f) => f.u64("x")],
    ["u64 given as a number", 1, (f) => f.u64("x")],
    ["bool given as a number", 1, (f) => f.bool("x")],
    ["string that is too long", "abc", (f) => f.string("x", 2)],
    ["string that is no choice", "abc", (f) => f.oneOf("x", ["ab"])],
    ["bytes of another length", new Uint8Array(3), (f) => f.bytes("x", { length: 4 })],
    ["bytes beyond the limit", new Uint8Array(3), (f) => f.bytes("x", { maxLength: 2 })],
    ["bytes given as a list", [1], (f) => f.bytes("x", { length: 1 })],
    ["list beyond the limit", [1, 2, 3], (f) => f.list("x", 2)],
    ["list of things without fields", [1], (f) => f.records("x", 2)],
    ["record given as bytes", new Uint8Array(1), (f) => f.record("x")],
  ];
  test.each(cases)("refuses a %s and names part and field", (_title, value, read) => {
    expect(refusal(() => read(fields({ x: value }, "virtio-blk.0")))).toMatch(
      /^cannot restore virtio-blk\.0: field x is .+, want .+/,
    );
  });

  test("refuses an absent field, also one that every object inherits", () => {
    expect(refusal(() => fields({}, "p").u8("x"))).toContain("field x is absent");
    expect(refusal(() => fields({}, "p").record("constructor"))).toContain("is absent");
  });

  test("refuses fields that nobody asked for", () => {
    const f = fields({ x: 1, y: 2 }, "p");
    f.u8("x");
    expect(refusal(() => f.end())).toContain("field y is 2");
  });

  test("names a field of a field by its path", () => {
    const f = fields({ queues: [{ size: 1 }, { size: -1 }] }, "p");
    expect(refusal(() => f.records("queues", 4)[1]?.u8("size"))).toContain("field queues[1].size");
  });

  test("refuses a state without named fields", () => {
    expect(refusal(() => fields([1], "p"))).toContain("cannot restore p: it is a list of 1");
  });

  test("hands out bytes that the snapshot does not share", () => {
    const saved = new Uint8Array([1]);
    fields({ x: saved }, "p").bytes("x", { length: 1 })[0] = 9;
    expect(saved[0]).toBe(1);
  });
});
