import { expect, test } from "vitest";
import { CodeMemory } from "./code-memory.ts";

test("a module's bytes go with its last region", () => {
  const memory = new CodeMemory({ maxRegions: 100, maxBytes: 1000 });
  const places = memory.reserve(2) ?? [];
  memory.fill(places, 600);
  expect(memory.bytes).toBe(600);
  memory.release(places.slice(0, 1));
  expect(memory.bytes).toBe(600);
  memory.release(places.slice(1));
  expect(memory.bytes).toBe(0);
});

test("places are few, never 0, and used again", () => {
  const memory = new CodeMemory({ maxRegions: 4, maxBytes: 1000 });
  expect(memory.reserve(3)).toEqual([1, 2, 3]);
  expect(memory.reserve(1)).toBeUndefined();
  memory.release([2]);
  expect(memory.reserve(1)).toEqual([2]);
  expect(memory.reserve(1)).toBeUndefined();
});

test("at the limit of bytes nothing more is taken", () => {
  const memory = new CodeMemory({ maxRegions: 100, maxBytes: 1000 });
  memory.fill(memory.reserve(1) ?? [], 999);
  const last = memory.reserve(1) ?? [];
  expect(last).toHaveLength(1);
  memory.fill(last, 1);
  expect(memory.reserve(1)).toBeUndefined();
});
