/** Brings the gate's static half into the full test run, so that its count covers it too. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { expect, test } from "vitest";

test("the gate's static checks pass: format, types, lint, tidy, dead code", () => {
  const gate = path.join(import.meta.dirname, "ok.ts");
  const { status, stdout } = spawnSync("node", [gate, "--static"], { encoding: "utf8" });
  expect(status, stdout).toBe(0);
});
