import { expect, test } from "vitest";
import { ReplayProgress } from "./replay-progress.ts";

const REPLAYED = {
  kind: "replayed",
  position: 10n,
  ticks: 20n,
  cpuMs: 3,
  waitingMs: 4,
  sequence: 0,
  fedBytes: 0,
  absentPages: 0,
} as const;

test("what has changed is told at the interval, equal digests at once", () => {
  const progress = new ReplayProgress(50);
  expect(progress.toTell(0)).toBeUndefined();
  progress.replayed(REPLAYED);
  const told = { position: 10n, ticks: 20n, cpuMs: 3, waitingMs: 4 };
  expect(progress.toTell(0)).toEqual({ ...told, digestsMatched: 0, matchedPosition: 0n });
  progress.replayed({ ...REPLAYED, position: 11n });
  expect(progress.toTell(49)).toBeUndefined();
  expect(progress.toTell(50)).toMatchObject({ position: 11n });
  expect(progress.toTell(200)).toBeUndefined();
  progress.digestMatched({ kind: "digest-matched", digest: "d", position: 9n, ticks: 9n });
  progress.replayed({ ...REPLAYED, position: 12n });
  expect(progress.toTell(201)).toMatchObject({ digestsMatched: 1, matchedPosition: 9n });
  progress.digestMatched({ kind: "digest-matched", digest: "d", position: 12n, ticks: 9n });
  expect(progress.toTell(202)).toMatchObject({ position: 12n, digestsMatched: 2 });
});
