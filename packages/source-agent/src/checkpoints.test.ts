import { describe, expect, test } from "vitest";
import { type BegunReport, Checkpoints } from "./checkpoints.ts";
import { MigrationLog } from "./migration-log.ts";
import { begun as begunWith, LINK } from "./test-support/seen.ts";

const begun = (id: number, pages: number): BegunReport =>
  begunWith(
    id,
    Uint32Array.from({ length: pages }, (_, i) => i),
  );

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
    const view = { ...LINK, bytesPerMs: 1e6, bulkMessageBytes: 262_144 };
    const reads = [...checkpoints.reads(view)];
    expect(reads.length).toBeGreaterThan(0);
    const taken = 3000 - checkpoints.pendingPages;
    expect(taken).toBeGreaterThan(1024);
    expect(checkpoints.incrementHostMs(1000)).toBeCloseTo((64 * 1000) / taken, 6);
  });

  test("the time left is told once enough was read, by the pace so far", () => {
    const checkpoints = withFirst(3000);
    expect(checkpoints.pendingMs(1000)).toBeUndefined();
    const view = { ...LINK, bytesPerMs: 1e6, bulkMessageBytes: 262_144 };
    expect([...checkpoints.reads(view)].length).toBeGreaterThan(0);
    const taken = 3000 - checkpoints.pendingPages;
    expect(checkpoints.pendingMs(1000)).toBeCloseTo((1000 * checkpoints.pendingPages) / taken, 6);
  });
});
