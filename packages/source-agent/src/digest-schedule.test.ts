import { expect, test } from "vitest";
import type { Situation } from "./controller.ts";
import { DigestSchedule } from "./digest-schedule.ts";

const SITUATION: Situation = {
  now: 1000,
  sourceSpeed: 1000,
  replaySpeed: 2000,
  lagPositions: 0,
  targetLagPositions: 0,
  positionsSinceCheckpoint: 0,
  share: 1,
  rttMs: 60,
  bytesPerMs: 1000,
  pendingBytes: 0,
  incrementBytes: 0,
  incrementHostMs: 0,
  isComplete: true,
  isDurable: true,
  isReplayStarved: false,
  digestsMatched: 0,
};

/** At which of the milliseconds 1000, 1010, ... 4990 one is due. */
function dueAt(seen: (now: number) => Partial<Situation>): number[] {
  const schedule = new DigestSchedule();
  const times = Array.from({ length: 400 }, (_, i) => 1000 + 10 * i);
  return times.filter((now) => schedule.isDue({ ...SITUATION, now, ...seen(now) }));
}

test("until one was compared it is every 0.4 s, then every 2 s", () => {
  expect(dueAt(() => ({})).slice(0, 4)).toEqual([1000, 1400, 1800, 2200]);
  expect(dueAt(() => ({ digestsMatched: 1 }))).toEqual([1000, 3000]);
});

test("one that was passed before the last page had come is followed by another at once", () => {
  const times = dueAt((now) => ({ isComplete: now >= 1100 }));
  expect(times.slice(0, 3)).toEqual([1000, 1100, 1500]);
  // Where the pages come within a round trip, the first one may still be compared.
  expect(dueAt((now) => ({ isComplete: now >= 1020 })).slice(0, 2)).toEqual([1000, 1060]);
  expect(dueAt((now) => ({ isComplete: now >= 1020, digestsMatched: 1 }))[1]).toBe(3000);
});
