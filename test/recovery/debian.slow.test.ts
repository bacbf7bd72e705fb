/** Debian under a name: killed in the middle of its work, it is brought back with all of it. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CodedError } from "@dejavm/base";
import { buildImage, imageSpec } from "@dejavm/image";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
/** Counts in a file, and says each number once it is written. */
const WORK = "i=0; while :; do i=$((i+1)); echo $i > /root/n; echo $i; sleep 0.05; done";

let directory = "";
let missing: string | undefined;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-recovery-"));
  missing = await buildImage(imageSpec()).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof CodedError) return `${error.code} ${error.message}`;
      throw error;
    },
  );
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Runs a command in the machine; `until` sees what it said so far, and decides when it dies. */
function run(args: readonly string[], command: string, until: (said: string) => boolean) {
  const child = spawn(
    process.execPath,
    ["--conditions=source", MAIN, "run", "--name", "deb", ...args, "--exec", command],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_NO_WARNINGS: "1", XDG_STATE_HOME: directory },
    },
  );
  let said = "";
  let errors = "";
  child.stdout.on("data", (bytes: Buffer) => {
    said += bytes.toString();
    if (until(said)) child.kill("SIGKILL");
  });
  child.stderr.on("data", (bytes: Buffer) => (errors += bytes.toString()));
  return new Promise<{ said: string; errors: string; status: number | null }>((resolve) => {
    child.on("close", (status) => resolve({ said, errors, status }));
  });
}

const lines = (said: string): string[] => said.trim().split("\n");

describe("Debian with a name", () => {
  test("[RV3] goes on with what it had written, and shows the time of now", async (ctx) => {
    if (missing !== undefined) return ctx.skip(missing);
    const first = await run(["--memory", "128M"], WORK, (said) => lines(said).length > 40);
    const last = Number(lines(first.said).at(-1));
    expect(last).toBeGreaterThan(40);
    const second = await run([], "cat /root/n; date +%s; ls /proc | grep -c '^[0-9]'", () => false);
    expect(second.errors).toContain("brought back deb");
    expect(second.status).toBe(0);
    const [count, seconds] = lines(second.said).map(Number);
    expect(count).toBeGreaterThanOrEqual(last);
    // The clock steps forward over the time in which there was no machine.
    expect(Math.abs((seconds ?? 0) - Date.now() / 1000)).toBeLessThan(60);
  });
});
