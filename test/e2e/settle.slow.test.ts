/** A migration whose target dies when it may have the machine: people are told, and decide. */
import { startMigration } from "@dejavm/agent";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentPair, MOVED, type Side } from "../support/agent-pair.ts";
import { countOnce } from "../support/bare-vm.ts";
import { dejavm } from "../support/dejavm.ts";

/** Right after the target's second ownership record, which says that the machine lives there. */
const AFTER_LIVE = { DEJAVM_FAIL_POINT: "ownership.committed:2" };

let pair: AgentPair;
let count = 0;

beforeAll(async () => {
  pair = await AgentPair.start("metro", "bare");
});
afterAll(() => pair?.close());

const state = (side: Side): Promise<string | undefined> => pair.state(side);
const settle = (side: Side, ...options: string[]) =>
  dejavm(["settle", MOVED, ...options, "--state-dir", pair.stateDir(side)]);

/** Types one more letter to the machine, which must have had all those before. */
async function countsOn(side: Side): Promise<void> {
  expect(await countOnce(pair.agent(side).client, MOVED, count)).toBe(++count);
}

/** Begins to move it from there; settles when the target has recorded it as its own, and died. */
async function moveHalf(from: Side, to: Side): Promise<{ readonly ended: Promise<unknown> }> {
  await pair.agent(to).close();
  await pair.startAgain(to, AFTER_LIVE);
  const { report } = await startMigration(pair.agent(from).client, MOVED, { to }, () => undefined);
  await expect.poll(() => pair.agent(to).isGone, { timeout: 60_000 }).toBe(true);
  return { ended: report };
}

async function comesToRunOn(side: Side): Promise<void> {
  await expect.poll(() => state(side), { timeout: 60_000 }).toBe("running");
}

test("[AG9] while nothing is in doubt there is nothing to settle", async () => {
  await countsOn("lima");
  const { status, stderr } = await settle("lima", "--live-here", "--peer-is-stopped");
  expect(status).toBe(1);
  expect(stderr).toContain("E_VM_STATE");
  await countsOn("lima");
});

test("[AG9] a target that died with the machine: ps says what to do, settle does it", async () => {
  const { ended } = await moveHalf("lima", "oslo");
  await expect.poll(() => state("lima")).toBe("in-doubt");
  const { stdout } = await dejavm(["ps", "--state-dir", pair.stateDir("lima")]);
  expect(stdout).toContain(`dejavm settle ${MOVED} --live-here|--live-there --peer-is-stopped`);

  const where = await settle("lima", "--peer-is-stopped");
  expect([where.status, where.stderr.slice(0, 15)]).toEqual([2, "dejavm: E_USAGE"]);
  const both = await settle("lima", "--live-here", "--live-there", "--peer-is-stopped");
  expect(both.status).toBe(2);
  const rash = await settle("lima", "--live-there");
  expect(rash.status).toBe(1);
  expect(rash.stderr).toContain("--peer-is-stopped");
  expect(await state("lima")).toBe("in-doubt");

  const settled = await settle("lima", "--live-there", "--peer-is-stopped");
  expect(settled).toEqual({ status: 0, stdout: "", stderr: `${MOVED} lives there\n` });
  expect(await ended).toMatchObject({ outcome: { kind: "moved" } });
  expect(await state("lima")).toBe("moved");
  await pair.startAgain("oslo");
  await comesToRunOn("oslo");
  await countsOn("oslo");
});

test("[AG9] both died, the target for good: here is where it lives, with all it had", async () => {
  await moveHalf("oslo", "lima");
  await pair.agent("oslo").kill();
  await pair.startAgain("oslo");
  await expect.poll(() => state("oslo")).toBe("in-doubt");
  const typed = await dejavm(["exec", MOVED, "true", "--state-dir", pair.stateDir("oslo")]);
  expect([typed.status, typed.stderr]).toEqual([1, expect.stringContaining("E_VM_STATE")]);

  const settled = await settle("oslo", "--live-here", "--peer-is-stopped", "--json");
  expect(JSON.parse(settled.stdout)).toEqual({ name: MOVED, live: "here" });
  await comesToRunOn("oslo");
  await countsOn("oslo");
  expect((await settle("oslo", "--live-there", "--peer-is-stopped")).status).toBe(1);
  await countsOn("oslo");
});
