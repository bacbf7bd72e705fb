/** A path that is slow and stalls again and again: a machine moves all the same. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startMigration } from "@dejavm/agent";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentPair, MOVED } from "../support/agent-pair.ts";

const PROFILE = {
  name: "slow",
  base: "intercontinental",
  both: { rateMbit: 5, stalledShare: 0.02, stallMs: 300 },
};

let folder: string;
let pair: AgentPair;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dejavm-slow-path-"));
  const profile = join(folder, "slow.json");
  writeFileSync(profile, JSON.stringify(PROFILE));
  pair = await AgentPair.start(profile, "debian");
});
afterAll(async () => {
  await pair?.close();
  rmSync(folder, { recursive: true });
});

test("[MI11] at 5 Mbit/s with stalls it moves; the report says what it waited for", async () => {
  const { client } = pair.agent("lima");
  const migration = await startMigration(client, MOVED, { to: "oslo" }, () => undefined);
  const report = await migration.report;
  expect(report.outcome.kind).toBe("moved");
  const { path, ...others } = report.limitedByMs;
  expect(path).toBeGreaterThan(report.totalMs / 2);
  expect(path).toBeGreaterThan(Math.max(...Object.values(others)));
  await expect.poll(() => pair.state("oslo"), { timeout: 60_000 }).toBe("running");
  expect(await pair.run("oslo", "echo moved")).toBe("moved");
});
