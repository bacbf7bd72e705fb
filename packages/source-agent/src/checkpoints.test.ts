import { describe, expect, test } from "vitest";
import { type BegunReport, Checkpoints } from "./checkpoints.ts";
import { MigrationLog } from "./migration-log.ts";

const CHAIN = new Uint8Array(32);

function begun(id: number, pages: number): BegunReport {
  return {
    kind: "checkpoint-begun",
    id,
    state: new Uint8Array(1),
    guestWallNs: 0n,
    trace: { sequence: 0, position: 0n, ticks: 0n, chain: CHAIN },
    since: id === 0 ? undefined : id - 1,
    pages: Uint32Array.from({ length: pages }, (_, i) => i),
    chunks: [],
    pauseMs: 0,
    position: 100n,
    ticks: 100n,
  };
}

function withFirst(pages: number): Checkpoints {
  const log = new MigrationLog({ migration: "m", lineage: "l", name: "web" }, 0);
  const checkpoints = new Checkpoints(log);
  checkpoints.begun(begun(0, pages), 0);
  return checkpoints;
}

describe("the time that the hosts take for an increment", () => {
  test("is foretold from the pace of the last checkpoint, and learned anew with each", () => {
    const checkpoints = withFirst(8000);
    checkpoints.completed(1000);
    // Said again and again, later: that it is complete is no news.
    checkpoints.completed(5000);
    checkpoints.begun(begun(1, 4000), 2000);
    checkpoints.changed(1, 4000);
    // What has changed since the one before does not count any more.
    checkpoints.changed(0, 12_000);
    expect(checkpoints.incrementHostMs(4000)).toBe(500);
    checkpoints.completed(4000);
    expect(checkpoints.incrementHostMs(4000)).toBe(2000);
  });

  test("is not known from a few pages, whose time is that of the way", () => {
    const checkpoints = withFirst(100);
    checkpoints.completed(1000);
    expect(checkpoints.incrementHostMs(2000)).toBe(0);
  });

  test("is known from the first checkpoint while that is under way", () => {
    const checkpoints = withFirst(3000);
    expect(checkpoints.incrementHostMs(1000)).toBe(0);
    const link = { bulkRoom: 1, bytesPerMs: 1e6, bulkMessageBytes: 262_144, isStarved: true };
    const view = {
      ...link,
      isUp: true,
      rttMs: 10,
      bulkUnderWayBytes: 0,
      writtenBytes: 0,
      resumes: 0,
    };
    const reads = [...checkpoints.reads(view)];
    expect(reads.length).toBeGreaterThan(0);
    const taken = 3000 - checkpoints.pendingPages;
    expect(taken).toBeGreaterThan(1024);
    expect(checkpoints.incrementHostMs(1000)).toBeCloseTo((64 * 1000) / taken, 6);
  });
});
