import { expect, test } from "vitest";
import { CheckpointSchedule } from "./checkpoint-schedule.ts";

test("[RV4] a checkpoint is due before the guest has executed for the limit", () => {
  const schedule = new CheckpointSchedule(10_000);
  expect(schedule.isDue(7000, 0)).toBe(false);
  expect(schedule.isDue(8000, 0)).toBe(true);
  schedule.completed(8000);
  expect(schedule.isDue(15_000, 0)).toBe(false);
  expect(schedule.isDue(16_000, 0)).toBe(true);
});

test("one that was given up is tried again later, and later still, but not for ever later", () => {
  const schedule = new CheckpointSchedule(10_000);
  const waits: number[] = [];
  let now = 0;
  for (let i = 0; i < 8; i++) {
    schedule.failed(now);
    const before = now;
    while (!schedule.isDue(9000, now)) now += 1000;
    waits.push(now - before);
  }
  expect(waits).toEqual([5000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000, 60_000]);
  schedule.completed(9000);
  schedule.failed(now);
  expect(schedule.isDue(18_000, now + 5000)).toBe(true);
});
