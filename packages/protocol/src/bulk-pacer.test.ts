import { describe, expect, it } from "vitest";
import { BulkPacer } from "./bulk-pacer.ts";
import { PacedPath, type PacedPathOptions } from "./test-support/paced-path.ts";

const MBIT = 125;
const INTERCONTINENTAL = { bytesPerMs: 50 * MBIT, rttMs: 150, jitterMs: 0 };
/** The shortest message there is, in bytes. */
const SHORTEST = 4096;

/** Share of the rate that arrives while `ms` go by, and the queue's delays meanwhile, ascending. */
function watch(path: PacedPath, ms: number): { share: number; queues: readonly number[] } {
  const before = path.deliveredBytes;
  path.queues.length = 0;
  path.run(ms);
  const share = (path.deliveredBytes - before) / ms / path.bytesPerMs;
  return { share, queues: path.queues.toSorted((a, b) => a - b) };
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
}

describe("bulk pacer", () => {
  const paths: [string, PacedPathOptions][] = [5, 50, 200, 1000].flatMap((mbit) =>
    [10, 60, 150].flatMap((rttMs) =>
      [0, 10].map((jitterMs): [string, PacedPathOptions] => {
        const name = `${mbit} Mbit/s, ${rttMs} ms, hosts busy for up to ${jitterMs} ms`;
        return [name, { bytesPerMs: mbit * MBIT, rttMs, jitterMs }];
      }),
    ),
  );

  it.each(paths)("[PR7] carries nine tenths of the rate and queues little: %s", (_, options) => {
    const path = new PacedPath(options);
    path.run(3000);
    const { share, queues } = watch(path, 6000);
    expect(share).toBeGreaterThan(0.9);
    const own = SHORTEST / options.bytesPerMs;
    expect(at(queues, 0.5)).toBeLessThan(14 + own);
    expect(at(queues, 0.95)).toBeLessThan(18 + options.jitterMs + 2 * own);
  });

  it("[PR7] keeps most of the rate where hosts are busy for a long time again and again", () => {
    for (let seed = 1; seed <= 5; seed++) {
      const path = new PacedPath({ ...INTERCONTINENTAL, jitterMs: 60, seed });
      path.run(3000);
      expect(watch(path, 6000).share, `seed ${seed}`).toBeGreaterThan(0.7);
    }
  });

  it("[PR7] finds out a path through hosts that are busy half of the time", () => {
    for (let seed = 1; seed <= 5; seed++) {
      const busy = { jitterMs: 100, busyShare: 0.5, seed };
      const path = new PacedPath({ ...INTERCONTINENTAL, ...busy });
      path.run(3000);
      expect(watch(path, 6000).share, `seed ${seed}`).toBeGreaterThan(0.3);
    }
  });

  it("[PR7] has found out a path of 1 MB after ten round trips", () => {
    const path = new PacedPath(INTERCONTINENTAL);
    path.run(1500);
    expect(path.pacer.bytesPerMs).toBeGreaterThan(0.9 * path.bytesPerMs);
    expect(watch(path, 500).share).toBeGreaterThan(0.75);
  });

  it("[PR7] does not take a sender that has little for a path that carries little", () => {
    const slow = { ...INTERCONTINENTAL, offeredBytesPerMs: 500 };
    const path = new PacedPath(slow);
    path.run(5000);
    path.offeredBytesPerMs = Number.POSITIVE_INFINITY;
    path.run(1500);
    expect(watch(path, 1000).share).toBeGreaterThan(0.9);
    path.offeredBytesPerMs = 500;
    path.run(10_000);
    expect(path.pacer.bytesPerMs).toBeGreaterThan(0.9 * path.bytesPerMs);
  });

  it("[PR7] small messages now and then do not hold up what comes after them", () => {
    const pacer = new BulkPacer(0);
    for (let now = 0; now < 2000; now += 50) {
      expect(pacer.sendAt(300) ?? Number.POSITIVE_INFINITY).toBeLessThanOrEqual(now);
      const sent = pacer.sent(300, now);
      pacer.appLimited();
      pacer.acknowledged(sent, now + 10);
    }
    let bytes = 0;
    for (let now = 2000; now < 2100; now++) {
      for (let at = pacer.sendAt(4096); at !== undefined && at <= now; at = pacer.sendAt(4096)) {
        pacer.sent(4096, now);
        bytes += 4096;
      }
    }
    expect(bytes).toBeGreaterThan(100_000);
  });

  it("[PR7] follows a path that carries less, more, or has become longer", () => {
    const path = new PacedPath(INTERCONTINENTAL);
    path.run(3000);
    path.bytesPerMs /= 4;
    path.run(4000);
    const less = watch(path, 2000);
    expect(less.share).toBeGreaterThan(0.85);
    expect(at(less.queues, 0.5)).toBeLessThan(25);
    path.bytesPerMs *= 4;
    path.run(6000);
    expect(watch(path, 2000).share).toBeGreaterThan(0.85);
    path.rttMs += 50;
    path.run(3000);
    const longer = watch(path, 3000);
    expect(longer.share).toBeGreaterThan(0.85);
    expect(at(longer.queues, 0.5)).toBeLessThan(20);
  });

  it("[PR7] goes on after a stall as before", () => {
    const path = new PacedPath(INTERCONTINENTAL);
    path.run(3000);
    for (let n = 0; n < 3; n++) {
      path.stalledUntil = path.now + 400;
      path.run(1500);
      expect(watch(path, 1000).share).toBeGreaterThan(0.85);
    }
  });

  it("[PR7] stays below what the user allows", () => {
    const path = new PacedPath({ ...INTERCONTINENTAL, maxBytesPerMs: 1000 });
    path.run(2000);
    const { share } = watch(path, 4000);
    expect(share * path.bytesPerMs).toBeGreaterThan(900);
    expect(share * path.bytesPerMs).toBeLessThan(1020);
  });
});
