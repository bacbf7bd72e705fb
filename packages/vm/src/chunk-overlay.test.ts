import { CHUNK_BYTES } from "@dejavm/machine";
import { expect, test } from "vitest";
import { ChunkOverlay } from "./chunk-overlay.ts";

function rig() {
  const slots: Uint8Array[] = [];
  const overlay = new ChunkOverlay({
    read: (slot, into) => into.set(slots[slot] ?? []),
    write: (slot, bytes) => {
      slots[slot] = bytes.slice();
    },
  });
  const write = (chunk: number, fill: number): void => {
    overlay.write({ disk: 0, chunk, bytes: new Uint8Array(CHUNK_BYTES).fill(fill) });
  };
  const read = (chunk: number): number | string => {
    const found = overlay.read({ disk: 0, chunk });
    return typeof found === "string" ? found : (found[0] ?? -1);
  };
  return { overlay, slots, write, read };
}

test("[VM4] what is held stays as it was until it is closed; then its room is used again", () => {
  const { overlay, slots, write, read } = rig();
  write(1, 10);
  write(2, 20);
  overlay.write({ disk: 0, chunk: 3, bytes: undefined });
  const hold = overlay.hold();
  const second = overlay.hold();
  write(1, 11);
  write(1, 12);
  overlay.write({ disk: 0, chunk: 2, bytes: undefined });
  write(3, 30);
  write(4, 40);
  expect([1, 2, 3, 4].map(read)).toEqual([12, 0, 30, 40]);
  const held = (chunk: number) => hold.read({ disk: 0, chunk })?.[0];
  expect([1, 2, 3].map(held)).toEqual([10, 20, undefined]);
  hold.close();
  hold.close();
  expect(second.read({ disk: 0, chunk: 1 })?.[0]).toBe(10);
  second.close();
  const used = slots.length;
  write(5, 50);
  write(6, 60);
  expect(slots.length).toBe(used);
});

test("chunks are listed since a generation, ascending", () => {
  const { overlay, write } = rig();
  write(9, 1);
  write(3, 1);
  const generation = overlay.nextGeneration();
  write(5, 1);
  write(3, 2);
  expect(overlay.writtenSince(0).map(({ chunk }) => chunk)).toEqual([3, 5, 9]);
  expect(overlay.writtenSince(generation).map(({ chunk }) => chunk)).toEqual([3, 5]);
});

test("[VM6] an expected chunk is missing until it is supplied, or written over", () => {
  const { overlay, write, read } = rig();
  write(7, 70);
  overlay.expect([
    { disk: 0, chunk: 1 },
    { disk: 0, chunk: 2 },
  ]);
  expect(overlay.expectedCount).toBe(2);
  expect([1, 2, 3, 7].map(read)).toEqual(["expected", "expected", "base", 0]);
  const bytes = new Uint8Array(CHUNK_BYTES).fill(11);
  overlay.supply({ disk: 0, chunk: 1, bytes });
  write(2, 22);
  overlay.supply({ disk: 0, chunk: 2, bytes });
  overlay.supply({ disk: 0, chunk: 3, bytes });
  expect([1, 2, 3].map(read)).toEqual([11, 22, "base"]);
  expect(overlay.expectedCount).toBe(0);
  const generation = overlay.nextGeneration();
  overlay.expect([{ disk: 0, chunk: 2 }]);
  expect(overlay.writtenSince(generation).map(({ chunk }) => chunk)).toEqual([1]);
});
