/** A connection that was made on the first host goes on after the machine has moved twice. */
import { dirname } from "node:path";
import { startMigration, type VmSummary, vmSummarySchema } from "@dejavm/agent";
import { AgentProcess, RedisClient } from "@dejavm/bench";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentPair, MOVED, redisPort } from "../support/agent-pair.ts";

let pair: AgentPair;
let bergen: AgentProcess;

beforeAll(async () => {
  pair = await AgentPair.start("metro");
  bergen = await AgentProcess.start("bergen", dirname(pair.stateDir("lima")));
  await pair.agent("oslo").pairWith(bergen, await bergen.address());
});
afterAll(() => Promise.all([pair?.close(), bergen?.close()]));

const summary = ({ client }: AgentProcess): Promise<VmSummary> =>
  client.ask({ method: "GET", path: `/v1/vms/${MOVED}`, answer: vmSummarySchema });

async function move(from: AgentProcess, to: AgentProcess): Promise<void> {
  const wish = { to: to.name };
  const { report } = await startMigration(from.client, MOVED, wish, () => undefined);
  expect((await report).outcome.kind).toBe("moved");
  const state = (): Promise<string> => summary(to).then((found) => found.state, String);
  await expect.poll(state, { timeout: 60_000 }).toBe("running");
}

test("[NE7] redis answers the same client on the third host, through the first", async () => {
  const [lima, oslo] = [pair.agent("lima"), pair.agent("oslo")];
  const before = await summary(lima);
  const client = await RedisClient.start({
    host: "127.0.0.1",
    port: redisPort(before),
    keyCount: 50,
    valueBytes: 100,
    operationsPerSecond: 100,
    seed: 7,
  });
  client.work();
  await move(lima, oslo);
  await move(oslo, bergen);
  const answered = client.report.operations;
  await expect
    .poll(() => client.report.operations, { timeout: 30_000 })
    .toBeGreaterThan(answered + 20);
  for (const agent of [lima, oslo, bergen]) {
    expect((await summary(agent)).notes.join()).toContain("1 connections relayed");
  }
  await client.stop();
  expect(await client.lost("same-connection")).toBe(0);
  expect(client.report).toMatchObject({ connected: true, wrong: 0, differences: [] });
  client.close();
  // With the client's end everything on the way ends.
  for (const agent of [bergen, oslo, lima]) {
    const notes = (): Promise<string> => summary(agent).then((found) => found.notes.join());
    await expect.poll(notes, { timeout: 30_000 }).not.toContain("relayed");
  }
});
