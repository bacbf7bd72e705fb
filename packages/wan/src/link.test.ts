import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { Link } from "./link.ts";
import { type LinkConditions, queueLimit, WAN_PROFILES } from "./profile.ts";
import { blocks, bytesOf, Senders } from "./test-support/sender.ts";

const CONDITIONS: LinkConditions = {
  delayMs: 75,
  jitterMs: 0,
  rateMbit: 50,
  queueBytes: undefined,
  stalledShare: 0,
  stallMs: 0,
};
/** Bytes of a millisecond at 50 Mbit/s. */
const MS_BYTES = 6250;

function linkWith(changes: Partial<LinkConditions>, flows: number, seed = 1): Link {
  const link = new Link({ ...CONDITIONS, ...changes }, new Prng(seed));
  for (let flow = 1; flow <= flows; flow++) link.open(flow, 0);
  return link;
}

describe("one connection", () => {
  test("[WN1] a byte on an idle link takes the delay and its own time at the bottleneck", () => {
    const senders = new Senders(linkWith({}, 1));
    senders.send(1, new Uint8Array(125));
    senders.run(1000);
    expect(senders.arrivals.map(({ atMs }) => atMs)).toEqual([75 + 125 / MS_BYTES]);
  });

  test.each(WAN_PROFILES)("[WN2] $name passes its rate, however coarse the timer", (profile) => {
    const { up } = profile;
    const link = new Link(up, new Prng(1));
    link.open(1, 0);
    const senders = new Senders(link);
    senders.send(1, ...blocks(3000));
    senders.runInSteps(1000 + up.delayMs, 1.5);
    const rate = (bytesOf(senders.arrivals, 1) * 8) / 1e6;
    expect(rate).toBeGreaterThan(up.rateMbit * 0.998);
    expect(rate).toBeLessThanOrEqual(up.rateMbit);
  });

  test("[WN3] bytes arrive as they were sent, the end of the stream after them", () => {
    const prng = new Prng(7);
    const sent = Array.from({ length: 40 }, () => prng.fill(new Uint8Array(prng.below(200_000))));
    const senders = new Senders(linkWith({ jitterMs: 30, stalledShare: 0.2, stallMs: 40 }, 1, 3));
    senders.send(1, ...sent, "fin");
    senders.run(10_000);
    const arrived = senders.arrivals.flatMap(({ what }) => (typeof what === "string" ? [] : what));
    expect(Buffer.concat(arrived).equals(Buffer.concat(sent))).toBe(true);
    expect(senders.arrivals.at(-1)?.what).toBe("fin");
  });

  test("[WN4] no more waits than the queue holds; the sender is not read further", () => {
    const link = linkWith({}, 1);
    const senders = new Senders(link);
    senders.send(1, ...blocks(100));
    senders.run(10);
    const { queuedBytes } = link.statistics;
    const limit = queueLimit(CONDITIONS);
    expect(limit).toBe(150 * MS_BYTES);
    expect(queuedBytes).toBeLessThanOrEqual(limit);
    expect(queuedBytes).toBeGreaterThan(limit - 64 * 1024);
    expect(senders.unread(1)).toBeGreaterThan(80);
  });

  test("a queue shorter than a segment still passes segments", () => {
    const senders = new Senders(linkWith({ queueBytes: 1448 }, 1));
    senders.send(1, ...blocks(1));
    senders.run(500);
    expect(bytesOf(senders.arrivals, 1)).toBe(64 * 1024);
  });

  test("nothing enters before the connection is made", () => {
    const link = new Link(CONDITIONS, new Prng(1));
    link.open(1, 150);
    const senders = new Senders(link);
    senders.send(1, Uint8Array.of(1));
    senders.run(1000);
    expect(senders.arrivals[0]?.atMs).toBeCloseTo(225, 1);
  });
});

describe("several connections", () => {
  test("[WN5] a byte waits behind what others have in the queue, and for its turn", () => {
    const senders = new Senders(linkWith({}, 2));
    senders.send(1, ...blocks(100));
    senders.run(500);
    senders.send(2, Uint8Array.of(1));
    senders.run(1500);
    const late = (senders.arrivals.find(({ flow }) => flow === 2)?.atMs ?? 0) - 500;
    // The whole queue of 150 ms, and at most two segments of 1 ms before there is room.
    expect(late).toBeGreaterThan(75 + 148);
    expect(late).toBeLessThan(75 + 152);
  });

  test("[WN5] greedy senders get equal shares of one rate", () => {
    const senders = new Senders(linkWith({}, 3));
    for (let flow = 1; flow <= 3; flow++) senders.send(flow, ...blocks(200));
    // Who comes first fills the empty queue; after that turns decide.
    senders.run(1075);
    const before = [1, 2, 3].map((flow) => bytesOf(senders.arrivals, flow));
    senders.run(3075);
    const shares = before.map((bytes, at) => bytesOf(senders.arrivals, at + 1) - bytes);
    const total = shares.reduce((sum, bytes) => sum + bytes, 0);
    expect(total).toBeGreaterThan(2000 * MS_BYTES * 0.99);
    for (const share of shares) expect(Math.abs(share - total / 3)).toBeLessThan(total * 0.02);
  });

  test("[WN6] a receiver that takes nothing stops its sender and nobody else", () => {
    const senders = new Senders(linkWith({}, 2));
    senders.deafen(1);
    senders.send(1, ...blocks(200));
    senders.run(4000);
    const stuck = bytesOf(senders.arrivals, 1);
    expect(stuck).toBeGreaterThan(4 * 2 ** 20 - 64 * 1024);
    expect(stuck).toBeLessThanOrEqual(4 * 2 ** 20);
    senders.send(2, ...blocks(10));
    senders.run(4000 + 75 + 110);
    expect(bytesOf(senders.arrivals, 2)).toBe(10 * 64 * 1024);
  });

  test("a connection that is closed leaves nothing behind", () => {
    const link = linkWith({}, 2);
    const senders = new Senders(link);
    senders.send(1, ...blocks(20));
    link.close(1);
    senders.send(2, Uint8Array.of(1));
    senders.run(5000);
    expect(bytesOf(senders.arrivals, 1)).toBe(0);
    expect(bytesOf(senders.arrivals, 2)).toBe(1);
    expect(link.statistics.queuedBytes).toBe(0);
    expect(link.nextMs()).toBeUndefined();
  });
});

describe("conditions", () => {
  test("[WN7] jitter and stalls are the seed's, and never reorder", () => {
    const arrivals = (seed: number) => {
      const senders = new Senders(
        linkWith({ jitterMs: 20, stalledShare: 0.1, stallMs: 90 }, 1, seed),
      );
      senders.send(1, ...blocks(20));
      senders.run(5000);
      return senders.arrivals.map(({ atMs }) => atMs);
    };
    expect(arrivals(5)).toEqual(arrivals(5));
    expect(arrivals(5)).not.toEqual(arrivals(6));
    expect(arrivals(5)).toEqual(arrivals(5).toSorted((a, b) => a - b));
  });

  test("[WN7] 2 % of segments stalled on 5 Mbit/s: that share, and the rate stays", () => {
    const link = linkWith({ rateMbit: 5, stalledShare: 0.02, stallMs: 200 }, 1);
    const senders = new Senders(link);
    senders.send(1, ...blocks(150));
    senders.run(10_275);
    const segments = bytesOf(senders.arrivals, 1) / 1448;
    expect(link.statistics.stalledSegments / segments).toBeGreaterThan(0.015);
    expect(link.statistics.stalledSegments / segments).toBeLessThan(0.025);
    expect((bytesOf(senders.arrivals, 1) * 8) / 1e7).toBeGreaterThan(5 * 0.98);
  });

  test("[WN8] another rate holds from its moment on, also for what is being sent", () => {
    const link = linkWith({ delayMs: 0, queueBytes: 2 ** 20 }, 1);
    const senders = new Senders(link);
    senders.send(1, new Uint8Array(MS_BYTES * 40));
    senders.run(10.5);
    link.setConditions({ ...CONDITIONS, delayMs: 0, rateMbit: 25, queueBytes: 2 ** 20 }, 10.5);
    senders.run(1000);
    expect(senders.arrivals.at(-1)?.atMs).toBeCloseTo(10.5 + (40 - 10.5) * 2, 6);
  });

  test("[WN8] while stalled nothing leaves; what is on the wire arrives; nothing is lost", () => {
    const link = linkWith({ queueBytes: 2 ** 20 }, 1);
    const senders = new Senders(link);
    senders.send(1, new Uint8Array(MS_BYTES * 20));
    senders.run(10.5);
    link.stall(10.5, 510.5);
    senders.run(500);
    expect(bytesOf(senders.arrivals, 1)).toBe(10 * MS_BYTES);
    senders.run(2000);
    expect(bytesOf(senders.arrivals, 1)).toBe(20 * MS_BYTES);
    expect(senders.arrivals.at(-1)?.atMs).toBeCloseTo(20 + 500 + 75, 6);
  });

  test("[WN8] a stall of an idle link holds what comes in it", () => {
    const link = linkWith({}, 1);
    const senders = new Senders(link);
    link.stall(0, 300);
    senders.run(100);
    senders.send(1, new Uint8Array(MS_BYTES));
    senders.run(1000);
    expect(senders.arrivals.at(-1)?.atMs).toBeCloseTo(300 + 1 + 75, 6);
  });
});
