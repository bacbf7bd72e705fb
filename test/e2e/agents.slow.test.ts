/** Two agents as real processes: a machine moves, stays when cancelled, survives their deaths. */
import { startMigration } from "@dejavm/agent";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentPair, MOVED, type Side } from "../support/agent-pair.ts";

/** Slow enough that there is time to do something to a migration. */
const SLOW = "continental";

let pair: AgentPair;

beforeAll(async () => {
  pair = await AgentPair.start(SLOW, "debian");
  await pair.run("lima", "echo kept >/tmp/mark");
});
afterAll(() => pair?.close());

/** Starts an agent that has the machine, and waits until it has it again. */
async function back(side: Side): Promise<void> {
  await pair.startAgain(side);
  await expect.poll(() => pair.state(side), { timeout: 120_000 }).toBe("running");
}

async function hasMark(side: Side): Promise<void> {
  expect(await pair.run(side, "cat /tmp/mark")).toBe("kept");
}

test("[AG5] a killed agent brings its machine back where it was", async () => {
  await pair.agent("lima").kill();
  await back("lima");
  await hasMark("lima");
});

test("[AG6] a migration that is cancelled leaves the machine where it was", async () => {
  const begun = Promise.withResolvers<void>();
  const { client } = pair.agent("lima");
  const { report, cancel } = await startMigration(client, MOVED, { to: "oslo" }, ({ phase }) => {
    if (phase === "checkpoint") begun.resolve();
  });
  await begun.promise;
  cancel();
  expect((await report).outcome).toMatchObject({ kind: "stayed", code: "E_CANCELLED" });
  expect(await pair.state("lima")).toBe("running");
  await hasMark("lima");
  expect(await pair.state("oslo")).toBeUndefined();
});

test("[MI8] a rehearsal foretells the move, and moves nothing", async () => {
  const wish = { to: "oslo", dryRun: true };
  const { client } = pair.agent("lima");
  const { report } = await startMigration(client, MOVED, wish, () => undefined);
  const { outcome } = await report;
  if (outcome.kind !== "rehearsed") throw new Error(`it was ${JSON.stringify(outcome)}`);
  expect(outcome.prediction.bytes).toBeGreaterThan(1_000_000);
  expect(await pair.state("lima")).toBe("running");
  await hasMark("lima");
  expect(await pair.state("oslo")).toBeUndefined();
});

test("[AG6] a machine moves: it lives there and nowhere else, equal at the hand-over", async () => {
  const { client } = pair.agent("lima");
  const migration = await startMigration(client, MOVED, { to: "oslo" }, () => undefined);
  const report = await migration.report;
  expect(report.outcome).toEqual({ kind: "moved", epoch: 2 });
  expect(report.digestAtCutover).toMatch(/^[0-9a-f]{32}$/);
  expect(await pair.state("lima")).toBe("moved");
  await expect.poll(() => pair.state("oslo"), { timeout: 60_000 }).toBe("running");
  await hasMark("oslo");
});

test("[AG5] killed after the move, each agent knows where the machine lives", async () => {
  await Promise.all([pair.agent("lima").kill(), pair.agent("oslo").kill()]);
  await pair.startAgain("lima");
  await back("oslo");
  expect(await pair.state("lima")).toBeUndefined();
  await hasMark("oslo");
});
