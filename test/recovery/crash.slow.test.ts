/**
 * `dejavm run --name` dies by SIGKILL, at random moments and between durable writes, and is brought
 * back: no count that was acknowledged is ever lost. DEJAVM_KILLS says how many random moments;
 * above 20, every named place is visited as well.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Prng } from "@dejavm/base";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { countingGuest } from "./counting-guest.ts";
import { RunProcess } from "./run-process.ts";

const KILLS = Number(process.env["DEJAVM_KILLS"] ?? 8);
const SEED = Number(process.env["DEJAVM_SEED"] ?? Date.now() % 1_000_000);
/** One kill and the way back, on a host that is busy with other things. */
const MAX_KILL_MS = 60_000;
/** So many milliseconds of execution between checkpoints: often while a test looks. */
const REPLAY_LIMIT = ["--replay-limit", "0.4"];

/** Every named place between durable writes that a run comes by, and how often it goes past. */
const FAIL_POINTS = [
  "append.before-commit:4",
  "append.done:5",
  "absorb.before-commit:2",
  "checkpoint.begun:2",
  "checkpoint.pages-put:2",
  "checkpoint.before-commit:2",
  "checkpoint.committed:2",
  "ownership.synced:1",
  "compact.done:1",
  "retain.before-commit:1",
];
/** The same places at the very beginning, and those of less account. */
const MORE_FAIL_POINTS = [
  "append.before-commit:1",
  "append.done:1",
  "absorb.before-commit:1",
  "absorb.done:2",
  "tail.removed:1",
  "checkpoint.begun:1",
  "checkpoint.pages-put:1",
  "checkpoint.before-commit:1",
  "checkpoint.committed:1",
  "ownership.committed:1",
  "compact.before-commit:1",
  "retain.removed:1",
];

let directory = "";
let made = false;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-crash-"));
  writeFileSync(join(directory, "guest"), countingGuest());
  made = false;
});
afterEach(() => rmSync(directory, { recursive: true }));

/** The machine is made at first and brought back afterwards. */
function start(env: Record<string, string> = {}, durable = false): RunProcess {
  const creating = ["--firmware", join(directory, "guest"), "--memory", "64M", "--pace", "live"];
  const args = made ? [] : [...creating, ...(durable ? ["--durable"] : [])];
  return new RunProcess({ stateHome: directory, args: [...args, ...REPLAY_LIMIT], env });
}

/** Types until the process is gone, or for a time; then it is killed. Gives what was known. */
async function typeUntilDeath(run: RunProcess, milliseconds: number): Promise<void> {
  const until = performance.now() + milliseconds;
  while (!run.isGone && performance.now() < until) {
    run.type();
    const answer = run.nextCount();
    await Promise.race([answer, sleep(Math.max(1, until - performance.now()))]);
  }
  run.kill();
  await run.exited;
}

/** Brings it back and makes sure that it counts on from what was acknowledged. */
async function checkBack(acknowledged: number, typed: number): Promise<void> {
  const run = start();
  run.type();
  const count = await run.nextCount();
  expect(run.errors).not.toContain("E_");
  if (acknowledged === 0 && count === undefined) return;
  expect(count).toBeGreaterThan(acknowledged);
  expect(count).toBeLessThanOrEqual(typed + 1);
  run.kill();
  await run.exited;
}

describe("[RV3] nothing acknowledged is lost", () => {
  test(
    `SIGKILL at ${KILLS} random moments (seed ${SEED})`,
    async () => {
      const random = new Prng(SEED);
      let acknowledged = 0;
      let typed = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        const run = start();
        run.type();
        const first = await run.nextCount();
        made = true;
        expect(run.errors).not.toContain("E_");
        expect(first).toBeGreaterThan(acknowledged);
        expect(first).toBeLessThanOrEqual(typed + 1);
        await typeUntilDeath(run, random.below(1500));
        acknowledged = run.acknowledged ?? acknowledged;
        typed += run.typed;
      }
      await checkBack(acknowledged, typed);
    },
    KILLS * MAX_KILL_MS,
  );

  test.each([...FAIL_POINTS, ...(KILLS > 20 ? MORE_FAIL_POINTS : [])])(
    "death at %s",
    async (point) => {
      const random = new Prng(SEED);
      const run = start({ DEJAVM_FAIL_POINT: point }, random.oneIn(2));
      await typeUntilDeath(run, 20_000);
      expect(await run.exited).toBe("SIGKILL");
      const acknowledged = run.acknowledged ?? 0;
      // A machine of which nothing was stored is made again.
      made = acknowledged > 0;
      if (made) await checkBack(acknowledged, run.typed);
    },
  );
});
