import { describe, expect, test } from "vitest";
import { type CpuProfile, GuestProfile, SymbolTable } from "./guest-profile.ts";

const SYMBOLS = SymbolTable.parse(
  [
    "ffffffff80000000 T _start",
    "ffffffff80001000 t schedule",
    "ffffffff80002000 D some_data",
    "ffffffff80003000 W memcpy",
    "not a line",
  ].join("\n"),
);

/** What browsers' tools rely on: a tree with one root, samples that are nodes, and their times. */
function expectValid({ nodes, samples, timeDeltas, startTime, endTime }: CpuProfile): void {
  const ids = nodes.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  const children = nodes.flatMap((node) => node.children);
  expect(children.toSorted((a, b) => a - b)).toEqual(ids.slice(1));
  expect(nodes[0]?.callFrame.functionName).toBe("(root)");
  expect(samples.every((id) => ids.includes(id))).toBe(true);
  expect(timeDeltas).toHaveLength(samples.length);
  expect(timeDeltas.every((delta) => Number.isInteger(delta) && delta >= 0)).toBe(true);
  const hits = nodes.reduce((sum, { hitCount }) => sum + hitCount, 0);
  expect(hits).toBe(samples.length);
  expect(endTime).toBeGreaterThanOrEqual(startTime + timeDeltas.reduce((a, b) => a + b, 0));
  expect(nodes.every(({ callFrame }) => callFrame.scriptId === "0")).toBe(true);
}

describe("[EN5] a profile", () => {
  test("finds functions by address, code only", () => {
    expect(SYMBOLS.size).toBe(3);
    expect(SYMBOLS.find(0xffff_ffff_8000_1000n)).toBe("schedule");
    expect(SYMBOLS.find(0xffff_ffff_8000_2ff0n)).toBe("schedule");
    expect(SYMBOLS.find(0xffff_ffff_9000_0000n)).toBe("memcpy");
    expect(SYMBOLS.find(0xffff_ffff_7fff_ffffn)).toBeUndefined();
  });

  test("is a tree of kernel and user functions with the time of each slice", () => {
    const profile = new GuestProfile(SYMBOLS, 1000);
    profile.ran(0xffff_ffff_8000_1004n, 1000);
    profile.ran(0x1_2345n, 2000);
    profile.waited(2500);
    profile.ran(0xffff_ffff_8000_1ffen, 9000);
    const done = profile.finish(9100);
    expectValid(done);
    expect(done.timeDeltas).toEqual([0, 1000, 500, 6500]);
    expect(done.nodes.map(({ callFrame: { functionName, url } }) => [functionName, url])).toEqual([
      ["(root)", ""],
      ["kernel", ""],
      ["schedule", "kernel"],
      ["user", ""],
      ["0x12000", "user"],
      ["(idle)", ""],
    ]);
    expect(done.nodes[2]?.hitCount).toBe(2);
  });

  test("without symbols sums kernel code up by page", () => {
    const profile = new GuestProfile(SymbolTable.parse(""), 0);
    profile.ran(0xffff_ffff_8000_1004n, 0);
    const done = profile.finish(10);
    expectValid(done);
    expect(done.nodes.at(-1)?.callFrame.functionName).toBe("0xffffffff80001000");
  });
});
