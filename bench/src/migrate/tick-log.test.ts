import { describe, expect, test } from "vitest";
import { parseTick, TICK_PORT, TickLog } from "./tick-log.ts";

/** An Ethernet frame with a UDP datagram in it. */
function frameWith(text: string, { port = TICK_PORT, protocol = 17, padding = 0 } = {}) {
  const payload = Buffer.from(text);
  const frame = Buffer.alloc(14 + 20 + 8 + payload.length + padding);
  frame.writeUInt16BE(0x0800, 12);
  frame[14] = 0x45;
  frame[14 + 9] = protocol;
  frame.writeUInt16BE(port, 14 + 20 + 2);
  frame.writeUInt16BE(8 + payload.length, 14 + 20 + 4);
  payload.copy(frame, 14 + 20 + 8);
  return new Uint8Array(frame);
}

describe("a tick", () => {
  test("is found in its frame, padding left away", () => {
    const tick = { atMs: 5, sequence: 17, guestNs: 123456789, progress: 42 };
    expect(parseTick(frameWith("17 123456789 42"), 5)).toEqual(tick);
    expect(parseTick(frameWith("17 123456789 42", { padding: 9 }), 5)).toEqual(tick);
  });

  test.each([
    ["another port", frameWith("1 2 3", { port: 53 })],
    ["TCP", frameWith("1 2 3", { protocol: 6 })],
    ["other text", frameWith("hello")],
    ["a short frame", new Uint8Array(20)],
    ["ARP", frameWith("1 2 3").fill(6, 12, 14)],
  ])("is not in %s", (_what, frame) => {
    expect(parseTick(frame, 0)).toBeUndefined();
  });
});

describe("a log of ticks", () => {
  const logOf = (...times: number[]) => {
    const log = new TickLog();
    for (const [sequence, atMs] of times.entries()) {
      log.add({ atMs, sequence, guestNs: 0, progress: sequence * 10 });
    }
    return log;
  };

  test("knows the longest silence, also one that began before or has not ended", () => {
    const log = logOf(0, 10, 20, 90, 100);
    expect(log.longestGapMs(0, 100)).toBe(70);
    expect(log.longestGapMs(50, 100)).toBe(70);
    expect(log.longestGapMs(95, 100)).toBe(10);
    expect(log.longestGapMs(95, 300)).toBe(200);
    expect(new TickLog().longestGapMs(10, 300)).toBe(290);
  });

  test("knows what was done in between", () => {
    expect(logOf(0, 500, 1000).progressBetween(0, 1000)).toBe(20);
    expect(logOf(0, 500, 1000).progressBetween(100, 1000)).toBe(10);
    expect(logOf().progressBetween(0, 1000)).toBe(0);
  });

  test("knows ticks that came again", () => {
    const log = logOf(0, 10);
    log.add({ atMs: 20, sequence: 1, guestNs: 0, progress: 0 });
    log.add({ atMs: 30, sequence: 2, guestNs: 0, progress: 0 });
    expect(log.repeated).toBe(1);
  });
});
