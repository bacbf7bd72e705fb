import type { ControlMessageOf } from "@dejavm/protocol";
import { expect, test } from "vitest";
import { Checkpoints } from "./checkpoints.ts";
import { MigrationLog } from "./migration-log.ts";
import type { Limit } from "./migration-report.ts";
import { Observations } from "./observations.ts";
import type { LinkView } from "./source-types.ts";
import { begun, LINK } from "./test-support/seen.ts";

function told(position: bigint, waitingMs: number): ControlMessageOf<"target-progress"> {
  return {
    kind: "target-progress",
    position,
    ticks: position,
    frontier: position,
    cpuMs: 0,
    waitingMs,
    durableSequence: 0,
    digestsMatched: 0,
    matchedPosition: 0n,
  };
}

/** A migration whose first checkpoint has begun. */
function moving(): { readonly seen: Observations; readonly checkpoints: Checkpoints } {
  const log = new MigrationLog({ migration: "m", lineage: "l", name: "web" }, 0);
  const checkpoints = new Checkpoints(log);
  checkpoints.begun(begun(0, new Uint32Array(0)), 0);
  const seen = new Observations();
  seen.link = LINK;
  return { seen, checkpoints };
}

test("replay is starved while it waits for a tenth of its time, and before that is known", () => {
  const { seen, checkpoints } = moving();
  const starvedAfter = (waitingMs: number, now: number): boolean | undefined => {
    seen.targetProgress(told(BigInt(now), waitingMs), now);
    return seen.situation(checkpoints, now)?.isReplayStarved;
  };
  expect(starvedAfter(3, 1000)).toBe(true);
  expect(starvedAfter(23, 1100)).toBe(true);
  expect(starvedAfter(33, 1200)).toBe(false);
  expect(starvedAfter(33, 1300)).toBe(false);
  expect(starvedAfter(44, 1400)).toBe(true);
});

test("how fast replay is, is known soon after a wait that was told only when it was over", () => {
  const { seen, checkpoints } = moving();
  seen.targetProgress(told(1000n, 5), 1000);
  // Something else is told: nobody has said yet that replay stands still.
  seen.targetProgress({ ...told(1000n, 5), durableSequence: 1 }, 3000);
  seen.targetProgress(told(20_000n, 2005), 3100);
  seen.targetProgress(told(120_000n, 2005), 3200);
  expect(seen.situation(checkpoints, 3200)?.replaySpeed).toBe(1000);
});

test("what a migration waits for", () => {
  const { seen, checkpoints } = moving();
  const limit = (link: Partial<LinkView>): Limit => {
    seen.link = { ...LINK, ...link };
    return seen.limit(checkpoints, 2000);
  };
  expect(limit({ isUp: false })).toBe("outage");
  // Something waits for room; what was sent is on its way; all is there, and is taken in.
  expect(limit({ isStarved: false })).toBe("path");
  expect(limit({ isStarved: true, bulkUnderWayBytes: 1 })).toBe("path");
  expect(limit({ isStarved: true })).toBe("hosts");
  seen.targetProgress({ ...told(1n, 0), completeCheckpoint: 0 }, 1000);
  expect(limit({ isStarved: false })).toBe("replay");
  // Pages that are to be read are the hosts' part, whatever is on its way.
  checkpoints.begun(begun(1, Uint32Array.of(1, 2)), 1000);
  expect(limit({ isStarved: true, bulkUnderWayBytes: 1 })).toBe("hosts");
});

test("the time that each of it takes is summed up", () => {
  const log = new MigrationLog({ migration: "m", lineage: "l", name: "web" }, 0);
  log.limitedBy("hosts", 100);
  log.limitedBy("path", 150);
  log.limitedBy(undefined, 300);
  log.limitedBy("hosts", 310);
  log.limitedBy("path", 340);
  const { limitedByMs } = log.report({ kind: "moved", epoch: 2 }, LINK, 400);
  expect(limitedByMs).toEqual({ outage: 0, path: 80, hosts: 10, replay: 0 });
});
