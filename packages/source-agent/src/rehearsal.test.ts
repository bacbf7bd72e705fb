import { describe, expect, test } from "vitest";
import type { Situation } from "./controller.ts";
import { predict } from "./rehearsal.ts";

const SITUATION: Situation = {
  now: 5000,
  sourceSpeed: 50_000,
  replaySpeed: 100_000,
  lagPositions: 20_000_000,
  targetLagPositions: 20_000_000,
  positionsSinceCheckpoint: 20_000_000,
  share: 1,
  rttMs: 100,
  bytesPerMs: 5000,
  pendingBytes: 10_000_000,
  incrementBytes: 1_000_000,
  incrementHostMs: 0,
  isComplete: false,
  isReplayStarved: false,
  isDurable: false,
  digestsMatched: 0,
};
const MEASURED = { elapsedMs: 5000, sentBytes: 4_000_000, downtimeMs: 70 };

describe("[MI8] a rehearsal foretells", () => {
  test("what is left to be sent at the rate, and the chase after it", () => {
    const next = { kind: "wait", why: "a checkpoint is under way" } as const;
    expect(predict({ ...MEASURED, situation: SITUATION, next })).toEqual({
      // 2,100 ms for the pages; the target is 200 ms behind and loses half of that time again.
      totalMs: 5000 + 2100 + (200 + 1050) / 0.5 + 100,
      downtimeMs: 70,
      bytes: 14_000_000,
      converges: true,
      why: "a checkpoint is under way",
    });
  });

  test("that a target which is slower than the guest does not come close", () => {
    const situation = { ...SITUATION, sourceSpeed: 200_000 };
    const next = { kind: "throttle", share: 0.9, why: "the lag does not shrink" } as const;
    const prediction = predict({ ...MEASURED, situation, next });
    const unknown = { downtimeMs: undefined, totalMs: undefined };
    expect(prediction).toMatchObject({ converges: false, ...unknown });
  });

  test("the hand-over where everything is there already", () => {
    const situation = { ...SITUATION, pendingBytes: 0, lagPositions: 0 };
    const next = { kind: "cutover", why: "the target is close" } as const;
    const prediction = predict({ ...MEASURED, situation, next });
    expect(prediction).toMatchObject({ totalMs: 5100, bytes: 4_000_000, downtimeMs: 70 });
  });

  test("nothing where nothing was measured", () => {
    const prediction = predict({ ...MEASURED, situation: undefined, next: undefined });
    expect(prediction).toMatchObject({ converges: false, bytes: 4_000_000 });
  });
});
