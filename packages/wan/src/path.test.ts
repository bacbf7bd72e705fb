import { describe, expect, test } from "vitest";
import type { Payload } from "./link.ts";
import { type WanEvent, WanPath } from "./path.ts";
import { type LinkConditions, parseWanProfile, type WanProfile } from "./profile.ts";

const CONDITIONS: LinkConditions = {
  delayMs: 10,
  jitterMs: 0,
  rateMbit: 8,
  queueBytes: undefined,
  stalledShare: 0,
  stallMs: 0,
};

function profile(script: readonly object[] = []): WanProfile {
  const text = JSON.stringify({ both: { ...CONDITIONS, queueBytes: 65_536 }, script });
  return parseWanProfile(text, "test");
}

/** Polls each millisecond; gives each event with its time. */
function watch(path: WanPath, fromMs: number, toMs: number): [number, WanEvent][] {
  const seen: [number, WanEvent][] = [];
  for (let now = fromMs; now <= toMs; now++) {
    for (const event of path.poll(now)) {
      seen.push([now, event]);
      if (event.kind !== "deliver" || typeof event.what === "string") continue;
      path.taken(event.flow, event.direction, event.what.length, now);
    }
  }
  return seen;
}

const lengthOf = (what: Payload) => (typeof what === "string" ? 0 : what.length);
const delivered = (seen: readonly [number, WanEvent][]) =>
  seen.reduce((sum, [, event]) => sum + (event.kind === "deliver" ? lengthOf(event.what) : 0), 0);
const resets = (seen: readonly [number, WanEvent][]) =>
  seen.flatMap(([at, event]) => (event.kind === "reset" ? [[at, event.flow, event.end]] : []));

test("[WN1] a connection is made in a round trip; request and answer take another", () => {
  const path = new WanPath(profile(), 1);
  expect(path.connect(1, 100)).toBe("dial");
  path.offer(1, "up", Uint8Array.of(1), 100);
  const [request] = watch(path, 100, 131);
  expect(request?.[0]).toBe(131);
  path.offer(1, "down", Uint8Array.of(2), 131);
  expect(watch(path, 131, 160)[0]?.[0]).toBe(142);
});

test("[WN5] the directions do not share a queue", () => {
  const path = new WanPath(profile(), 1);
  path.connect(1, 0);
  watch(path, 0, 99);
  path.offer(1, "up", new Uint8Array(65_536), 100);
  path.offer(1, "down", Uint8Array.of(1), 100);
  const [first] = watch(path, 100, 200);
  expect(first?.[0]).toBe(111);
  expect(first?.[1]).toMatchObject({ direction: "down" });
});

describe("a script", () => {
  test("[WN9] counts time from the first connection", () => {
    const path = new WanPath(profile([{ atMs: 50, do: "cut", forMs: 100 }]), 1);
    expect(watch(path, 0, 1000)).toEqual([]);
    expect(path.connect(1, 1000)).toBe("dial");
    expect(path.nextMs()).toBe(1050);
    const seen = watch(path, 1000, 1100);
    expect(resets(seen)).toEqual([
      [1050, 1, "client"],
      [1050, 1, "server"],
    ]);
  });

  test("[WN9] a cut resets both ends, loses what is on the way, refuses until it is over", () => {
    const path = new WanPath(profile([{ atMs: 50, do: "cut", forMs: 100 }]), 1);
    path.connect(1, 0);
    path.offer(1, "up", new Uint8Array(20_000), 30);
    const seen = watch(path, 30, 200);
    expect(delivered(seen)).toBeGreaterThan(5000);
    expect(delivered(seen)).toBeLessThan(11_000);
    expect(path.statistics.open).toBe(0);
    expect(path.connect(2, 149)).toBe("reset");
    expect(path.connect(3, 150)).toBe("dial");
  });

  test("[WN9] a cut at a byte comes exactly after it", () => {
    for (const atUpBytes of [1, 1447, 1448, 5000]) {
      const path = new WanPath(profile([{ atUpBytes, do: "cut" }]), 1);
      path.connect(1, 0);
      path.offer(1, "up", new Uint8Array(20_000), 0);
      const seen = watch(path, 0, 300);
      expect(delivered(seen)).toBe(atUpBytes);
      expect(resets(seen)).toHaveLength(2);
      expect(seen.at(-1)?.[1].kind).toBe("reset");
    }
  });

  test("[WN9] bytes before a step come out before it, however late it is looked at", () => {
    const path = new WanPath(profile([{ atMs: 50, do: "cut" }]), 1);
    path.connect(1, 0);
    path.offer(1, "up", Uint8Array.of(1), 0);
    expect(path.poll(500).map(({ kind }) => kind)).toEqual(["deliver", "reset", "reset"]);
  });

  test("[WN9] half-open: one end is reset, what the other sends vanishes", () => {
    const script = [{ atMs: 50, do: "half-open", kept: "client", forMs: 20 }];
    const path = new WanPath(profile(script), 1);
    path.connect(1, 0);
    expect(resets(watch(path, 0, 60))).toEqual([[50, 1, "server"]]);
    for (let i = 0; i < 100; i++) {
      path.offer(1, "up", new Uint8Array(65_536), 60);
      expect(path.hungry(1, "up")).toBe(true);
    }
    expect(watch(path, 60, 500)).toEqual([]);
    expect(path.connect(2, 69)).toBe("swallow");
    expect(path.connect(3, 70)).toBe("dial");
  });

  test("[WN9] a cut after half-open resets the end that was kept", () => {
    const script = [
      { atMs: 50, do: "half-open", kept: "client" },
      { atMs: 90, do: "cut" },
    ];
    const path = new WanPath(profile(script), 1);
    path.connect(1, 0);
    expect(resets(watch(path, 0, 100))).toEqual([
      [50, 1, "server"],
      [90, 1, "client"],
    ]);
  });

  test("[WN8] sets conditions of one direction or both", () => {
    const script = [
      { atMs: 100, do: "set", both: { delayMs: 50 }, down: { delayMs: 100 } },
      { atMs: 200, do: "stall", forMs: 300, direction: "up" },
    ];
    const path = new WanPath(profile(script), 1);
    path.connect(1, 0);
    watch(path, 0, 110);
    path.offer(1, "up", Uint8Array.of(1), 110);
    path.offer(1, "down", Uint8Array.of(1), 110);
    expect(watch(path, 110, 250).map(([at]) => at)).toEqual([161, 211]);
    path.offer(1, "up", Uint8Array.of(1), 250);
    expect(watch(path, 250, 600).map(([at]) => at)).toEqual([551]);
  });
});
