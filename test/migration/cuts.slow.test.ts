/**
 * The path between two agents is cut in each phase of a migration: the machine arrives all the
 * same, with what was sent before the cut, and nothing that redis had acknowledged is lost.
 * DEJAVM_CUT_SECONDS=1,10,60 says how long.
 */
import { startMigration } from "@dejavm/agent";
import { RedisClient } from "@dejavm/bench";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { AgentPair, MOVED, otherSide, redisPort, type Side } from "../support/agent-pair.ts";

const SECONDS = (process.env["DEJAVM_CUT_SECONDS"] ?? "1").split(",").map(Number);
const PHASES = ["negotiate", "checkpoint", "chase", "cutover"] as const;
const PROFILE = "continental";

let pair: AgentPair;

beforeAll(async () => {
  pair = await AgentPair.start(PROFILE);
});
afterAll(() => pair?.close());

async function summaryOf(side: Side) {
  const summary = await pair.summary(side);
  if (summary === undefined) throw new Error("a machine that is live is listed");
  return summary;
}

const CUTS = SECONDS.flatMap((seconds) => PHASES.map((phase) => [phase, seconds] as const));

test.for(CUTS)("[MI4] cut at phase %s for %i s", async ([phase, seconds]) => {
  const [from] = await pair.live();
  if (from === undefined) throw new Error("it lives somewhere");
  const to = otherSide(from);
  const client = await RedisClient.start({
    host: "127.0.0.1",
    port: redisPort(await summaryOf(from)),
    keyCount: 200,
    valueBytes: 256,
    operationsPerSecond: 200,
    seed: seconds,
    prefix: `${phase} ${seconds}`,
  });
  onTestFinished(() => client.close());
  client.work();
  const cut: Promise<void>[] = [];
  const migration = await startMigration(pair.agent(from).client, MOVED, { to }, (progress) => {
    if (cut.length > 0 || progress.phase !== phase) return;
    cut.push(pair.rig(to).perform({ do: "cut", forMs: seconds * 1000 }));
  });
  const report = await migration.report;
  await Promise.all(cut);
  expect(cut).toHaveLength(1);
  expect(report.outcome.kind).toBe("moved");
  await expect.poll(() => pair.live(), { timeout: 60_000 }).toEqual([to]);
  await client.stop();
  expect(client.report).toMatchObject({ differences: [], wrong: 0, connected: true });
  expect(await client.lost("same-connection")).toBe(0);
  expect(await client.lost("new-connection", redisPort(await summaryOf(to)))).toBe(0);
});
