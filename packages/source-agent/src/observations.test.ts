import type { ControlMessageOf } from "@dejavm/protocol";
import { expect, test } from "vitest";
import { Checkpoints } from "./checkpoints.ts";
import { MigrationLog } from "./migration-log.ts";
import { Observations } from "./observations.ts";
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

test("replay is starved while it waits for a tenth of its time, and before that is known", () => {
  const checkpoints = new Checkpoints(
    new MigrationLog({ migration: "m", lineage: "l", name: "web" }, 0),
  );
  checkpoints.begun(begun(0, new Uint32Array(0)), 0);
  const seen = new Observations();
  seen.link = LINK;
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
