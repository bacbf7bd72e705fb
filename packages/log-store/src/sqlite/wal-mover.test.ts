import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";

const CHILD = fileURLToPath(new URL("../test-support/early-exit-child.ts", import.meta.url));

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-mover-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

it.each(["process.exit", "no more to do", "an exception"])(
  "[LS12] a process that ends while the thread loads its modules waits for that: %s",
  (how) => {
    const args = ["--conditions=source", CHILD, join(directory, "a.db"), how];
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect([status, stdout]).toEqual([how === "an exception" ? 1 : 0, "false true"]);
  },
);
