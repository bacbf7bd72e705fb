import { expect, test } from "vitest";
import { summaryLines } from "./plain-summary.ts";

test("the last line is the plain count and nothing else", () => {
  const lines = summaryLines({ passed: 12, failed: 1, skipped: [] });
  expect(lines).toEqual(["12 passed, 1 failed, 0 skipped"]);
});

test("every skipped test is listed with its reason before the count", () => {
  const lines = summaryLines({ passed: 0, failed: 0, skipped: ["boots: no QEMU", "dtc: no dtc"] });
  expect(lines).toEqual([
    "skipped: boots: no QEMU",
    "skipped: dtc: no dtc",
    "0 passed, 0 failed, 2 skipped",
  ]);
});
