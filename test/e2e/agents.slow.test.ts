/** Two agents as real processes: a machine moves, stays when cancelled, survives their deaths. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runCommand, startMigration, type VmSummary, vmSummarySchema } from "@dejavm/agent";
import { AgentProcess, RigProcess } from "@dejavm/bench";
import { afterAll, beforeAll, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const NAME = "web";
/** Slow enough that there is time to do something to a migration. */
const SLOW = "continental";

let folder = "";
let lima: AgentProcess;
let oslo: AgentProcess;
let rig: RigProcess;

const shell = async (agent: AgentProcess, command: string) => {
  const { status, output } = await runCommand(agent.client, NAME, command);
  return { status, output: output.trim() };
};
const summary = (agent: AgentProcess): Promise<VmSummary> =>
  agent.client.ask({ method: "GET", path: `/v1/vms/${NAME}`, answer: vmSummarySchema });
/** Starts an agent that has the machine, and waits until it has it again. */
const back = async (name: string) => {
  const agent = await AgentProcess.start(name, folder);
  const state = () => summary(agent).then((found) => found.state, String);
  await expect.poll(state, { timeout: 120_000 }).toBe("running");
  return agent;
};
const migrate = async (from: AgentProcess, to: string) => {
  const migration = await startMigration(from.client, NAME, { to }, () => undefined);
  return { ...migration, done: migration.report };
};

beforeAll(async () => {
  // The processes are this program as its users start it.
  process.argv[1] = MAIN;
  folder = mkdtempSync(join(tmpdir(), "dejavm-agents-"));
  lima = await AgentProcess.start("lima", folder);
  oslo = await AgentProcess.start("oslo", folder);
  rig = await RigProcess.start(SLOW, await oslo.address(), folder);
  await lima.pairWith(oslo, rig.address);
  await lima.client.ask({
    method: "POST",
    path: "/v1/vms",
    body: { name: NAME, image: "debian", memoryBytes: 128 * 2 ** 20 },
    answer: vmSummarySchema,
  });
  await shell(lima, "echo kept >/tmp/mark");
});

afterAll(async () => {
  await Promise.all([lima?.close(), oslo?.close(), rig?.close()]);
  rmSync(folder, { recursive: true });
});

test("[AG5] a killed agent brings its machine back where it was", async () => {
  await lima.kill();
  lima = await back("lima");
  expect(await shell(lima, "cat /tmp/mark")).toEqual({ status: 0, output: "kept" });
});

test("[AG6] a migration that is cancelled leaves the machine where it was", async () => {
  const { done, cancel } = await migrate(lima, "oslo");
  setTimeout(cancel, 500);
  const report = await done;
  expect(report.outcome).toMatchObject({ kind: "stayed", code: "E_CANCELLED" });
  expect((await summary(lima)).state).toBe("running");
  expect(await shell(lima, "cat /tmp/mark")).toEqual({ status: 0, output: "kept" });
  await expect(summary(oslo)).rejects.toMatchObject({ code: "E_VM_UNKNOWN" });
});

test("[MI8] a rehearsal foretells the move, and moves nothing", async () => {
  const wish = { to: "oslo", dryRun: true };
  const { report } = await startMigration(lima.client, NAME, wish, () => undefined);
  const { outcome } = await report;
  if (outcome.kind !== "rehearsed") throw new Error(`it was ${JSON.stringify(outcome)}`);
  expect(outcome.prediction.bytes).toBeGreaterThan(1_000_000);
  expect((await summary(lima)).state).toBe("running");
  expect(await shell(lima, "cat /tmp/mark")).toEqual({ status: 0, output: "kept" });
  await expect(summary(oslo)).rejects.toMatchObject({ code: "E_VM_UNKNOWN" });
});

test("[AG6] a machine moves: it lives there and nowhere else, equal at the hand-over", async () => {
  const { done } = await migrate(lima, "oslo");
  const report = await done;
  expect(report.outcome).toEqual({ kind: "moved", epoch: 2 });
  expect(report.digestAtCutover).toMatch(/^[0-9a-f]{32}$/);
  expect((await summary(lima)).state).toBe("moved");
  const state = () => summary(oslo).then((found) => found.state, String);
  await expect.poll(state, { timeout: 60_000 }).toBe("running");
  expect(await shell(oslo, "cat /tmp/mark")).toEqual({ status: 0, output: "kept" });
});

test("[AG5] killed after the move, each agent knows where the machine lives", async () => {
  await Promise.all([lima.kill(), oslo.kill()]);
  lima = await AgentProcess.start("lima", folder);
  oslo = await back("oslo");
  await expect(summary(lima)).rejects.toMatchObject({ code: "E_VM_UNKNOWN" });
  expect(await shell(oslo, "cat /tmp/mark")).toEqual({ status: 0, output: "kept" });
});
