import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
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

const ROOT = path.dirname(import.meta.dirname);

/** What vitest prints on stdout for one test file, with this reporter alone. */
function runVitest(testFile: string): string[] {
  const parent = path.join(ROOT, ".cache");
  fs.mkdirSync(parent, { recursive: true });
  const directory = fs.mkdtempSync(path.join(parent, "summary-"));
  onTestFinished(() => fs.rmSync(directory, { recursive: true }));
  const config = `
    import { PlainSummary } from "../../tools/plain-summary.ts";
    const reporter = new PlainSummary((line) => console.log(line));
    export default { test: { include: ["*.sample.ts"], reporters: [reporter] } };`;
  fs.writeFileSync(path.join(directory, "vitest.config.ts"), config);
  fs.writeFileSync(path.join(directory, "a.sample.ts"), testFile);
  const vitest = path.join(ROOT, "node_modules/vitest/vitest.mjs");
  const { stdout } = spawnSync("node", [vitest, "run", "--root", directory], { encoding: "utf8" });
  return stdout.trimEnd().split("\n");
}

test("a run counts passed, failed and skipped tests, and quotes the reason of a skip", () => {
  const lines = runVitest(`
    import { describe, expect, test } from "vitest";
    test("passes", () => {});
    test("fails", () => expect(1).toBe(2));
    describe("group", () => test("skips", (ctx) => ctx.skip("no QEMU here")));
    test.skip("is left out", () => {});`);
  expect(lines).toEqual([
    "skipped: group > skips: no QEMU here",
    "skipped: is left out: no reason given",
    "1 passed, 1 failed, 2 skipped",
  ]);
});

test("a file that cannot be loaded and an error outside any test count as failed", () => {
  expect(runVitest('throw new Error("at load");')).toEqual(["0 passed, 1 failed, 0 skipped"]);
  const stray = `
    import { test } from "vitest";
    test("passes", () => void Promise.reject(new Error("stray")));`;
  expect(runVitest(stray)).toEqual(["1 passed, 1 failed, 0 skipped"]);
});
