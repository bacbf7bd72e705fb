import { assert, describe, expect, it } from "vitest";
import type { BulkMessage } from "./bulk.ts";
import { decodeFrame, encodeFrame, type Message } from "./frame.ts";
import { LinkPair } from "./test-support/link-pair.ts";

const CONTINENTAL = { oneWayMs: 30, bytesPerMs: 25_000 };
const INTERCONTINENTAL = { oneWayMs: 75, bytesPerMs: 6250 };

function segment(n: number, length = 100): Message {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, n);
  return { kind: "segment", bytes };
}

/** Milliseconds that the shortest bulk message takes: what is leaving cannot be overtaken. */
function shortestMs(bytesPerMs: number): number {
  return 4096 / bytesPerMs;
}

function group(n: number, bytes = 4 * 4096): BulkMessage {
  const count = Math.max(1, Math.floor(bytes / 4096));
  return {
    kind: "page-group",
    checkpoint: 0,
    codec: "raw",
    pages: Array.from({ length: count }, (_, i) => n * 4 + i),
    data: new Uint8Array(count * 4096).fill(n),
  };
}

function numbers(delivered: readonly { readonly message: Message }[]): number[] {
  return delivered.flatMap(({ message }) =>
    message.kind === "segment" ? [new DataView(message.bytes.slice().buffer).getUint32(0)] : [],
  );
}

function groups(delivered: readonly { readonly message: Message }[]): number[] {
  return delivered.flatMap(({ message }) =>
    message.kind === "page-group" ? [(message.pages[0] ?? 0) / 4] : [],
  );
}

describe("link", () => {
  it("[PR1] carries messages both ways in order, once", () => {
    const pair = new LinkPair(CONTINENTAL);
    pair.run(200);
    for (let n = 0; n < 100; n++) pair.a.link.send(segment(n), pair.now);
    for (let n = 0; n < 50; n++) pair.b.link.send(segment(n), pair.now);
    pair.run(500);
    expect(numbers(pair.b.delivered)).toEqual(Array.from({ length: 100 }, (_, n) => n));
    expect(numbers(pair.a.delivered)).toEqual(Array.from({ length: 50 }, (_, n) => n));
    expect(pair.a.peer).toEqual({ agent: "listener", version: 1, capabilities: ["x"] });
    expect(pair.a.link.isQuiet).toBe(true);
  });

  it("[PR1] what waits follows the first hello at once, and bulk is dialled beside it", () => {
    const pair = new LinkPair(INTERCONTINENTAL);
    pair.a.link.send(segment(0), pair.now);
    pair.run(1);
    const early = pair.carried.map(({ bytes }) => decodeFrame(bytes));
    expect(early.map(({ kind }) => kind)).toEqual(["hello", "message", "hello"]);
    pair.run(100);
    expect(numbers(pair.b.delivered)).toEqual([0]);
    expect(pair.a.link.isUp).toBe(false);
  });

  it("[PR2] what followed a hello that was never answered is not lost, and comes once", () => {
    for (const breakAt of [1, 80, 140]) {
      const pair = new LinkPair(INTERCONTINENTAL);
      pair.a.link.send(segment(0), pair.now);
      pair.run(breakAt);
      pair.breakConnections();
      pair.a.link.send(segment(1), pair.now);
      pair.run(2000);
      expect(numbers(pair.b.delivered)).toEqual([0, 1]);
    }
  });

  it("[PR2] goes on after a cut: nothing lost, nothing acknowledged sent twice", () => {
    for (const seconds of [1, 60]) {
      const pair = new LinkPair(INTERCONTINENTAL);
      pair.run(1000);
      let sent = 0;
      const feed = (until: number) => {
        for (; pair.now < until; pair.run(pair.now + 20)) {
          pair.a.link.send(segment(sent), pair.now);
          if (pair.a.link.wantsBulk) pair.a.link.sendBulk(group(sent), pair.now);
          sent++;
        }
      };
      feed(3000);
      pair.cut = true;
      feed(3000 + seconds * 1000);
      pair.cut = false;
      const from = pair.carried.length;
      feed(3000 + seconds * 1000 + 5000);
      pair.run(pair.now + 10_000);
      expect(numbers(pair.b.delivered)).toEqual(Array.from({ length: sent }, (_, n) => n));
      expect(new Set(groups(pair.b.delivered)).size).toBe(groups(pair.b.delivered).length);
      expect(pair.a.events.includes("lost E_LINK_LOST")).toBe(false);
      if (seconds < 8) continue;
      expect(pair.a.events).toEqual(["up", "down", "up"]);
      const resumed = pair.carried.slice(from).filter(({ from: side }) => side === "a");
      const first = resumed.map(({ bytes }) => decodeFrame(bytes)).find((f) => f.kind === "hello");
      assert(first?.kind === "hello");
      expect(first.known).toBe(true);
    }
  });

  it("[PR2] acknowledged messages are not repeated when connections break", () => {
    const pair = new LinkPair(CONTINENTAL);
    pair.run(200);
    for (let n = 0; n < 20; n++) pair.a.link.send(segment(n), pair.now);
    pair.run(pair.now + 200);
    for (let n = 20; n < 30; n++) pair.a.link.send(segment(n), pair.now);
    pair.run(pair.now + 5);
    pair.breakConnections();
    pair.run(pair.now + 1000);
    const sequences = pair.carried.flatMap(({ from, bytes }) => {
      const frame = decodeFrame(bytes);
      return from === "a" && frame.kind === "message" ? [frame.sequence] : [];
    });
    expect(sequences.filter((n) => n < 20)).toHaveLength(20);
    expect(numbers(pair.b.delivered)).toEqual(Array.from({ length: 30 }, (_, n) => n));
  });

  it("[PR3] gives up a link that stays down, on both sides", () => {
    const pair = new LinkPair(CONTINENTAL);
    pair.run(1000);
    pair.cut = true;
    pair.run(200_000);
    expect(pair.a.events).toEqual(["up", "down", "lost E_LINK_LOST"]);
    expect(pair.b.events).toEqual(["up", "down", "lost E_LINK_LOST"]);
  });

  it("[PR3] never gives up once it was told so", () => {
    const pair = new LinkPair(CONTINENTAL);
    pair.run(1000);
    pair.a.link.neverGiveUp();
    pair.b.link.neverGiveUp();
    pair.cut = true;
    pair.run(500_000);
    pair.cut = false;
    pair.run(510_000);
    expect(pair.a.events).toEqual(["up", "down", "up"]);
  });

  it("[PR4] an agent that was restarted does not know the link", () => {
    const pair = new LinkPair(CONTINENTAL);
    pair.run(1000);
    const fresh = new LinkPair(CONTINENTAL);
    pair.b.link = fresh.b.link;
    pair.breakConnections();
    pair.a.link.send(segment(1), pair.now);
    pair.run(2000);
    expect(pair.a.events.at(-1)).toBe("lost E_LINK_UNKNOWN");
  });

  it("[PR5] refuses garbage, floods and gaps with a coded error", () => {
    const cases: [string, Uint8Array][] = [
      ["lost E_PROTOCOL_MALFORMED", Uint8Array.of(0x77, 1, 2, 3, 4)],
      ["lost E_PROTOCOL_MALFORMED", new Uint8Array(9 * 1024 * 1024)],
      [
        "lost E_PROTOCOL_SEQUENCE",
        encodeFrame({ kind: "message", sequence: 7, message: segment(7) }),
      ],
      ["lost E_PROTOCOL_SEQUENCE", encodeFrame({ kind: "ack", next: 99 })],
    ];
    for (const [want, bytes] of cases) {
      const pair = new LinkPair(CONTINENTAL);
      pair.run(1000);
      pair.b.link.handle({ kind: "received", connection: 1, bytes }, pair.now);
      pair.run(1001);
      expect(pair.b.events.at(-1)).toBe(want);
    }
  });

  it("[PR5] stops at the limit of what waits for a peer", () => {
    const pair = new LinkPair(CONTINENTAL);
    pair.run(1000);
    pair.cut = true;
    for (let n = 0; n < 65; n++) pair.a.link.send(segment(n, 1024 * 1024), pair.now);
    pair.run(1001);
    expect(pair.a.events.at(-1)).toBe("lost E_LINK_BACKLOG");
  });

  it("[PR6] versions without a common one are refused", () => {
    const pair = new LinkPair(CONTINENTAL);
    const other = new LinkPair(CONTINENTAL, { versions: { oldest: 2, newest: 3 } });
    pair.b.link = other.b.link;
    pair.run(1000);
    expect(pair.b.events).toEqual(["lost E_PROTOCOL_VERSION"]);
  });
});

describe("bulk", () => {
  it("wants larger messages while none waits: the hosts are what limits then", () => {
    const pair = new LinkPair(CONTINENTAL);
    const { link } = pair.a;
    const whenStarved = link.bulkMessageBytes;
    expect(link.measures.isStarved).toBe(true);
    // Nothing leaves before the peer has greeted.
    link.sendBulk(group(0), pair.now);
    expect(link.measures.isStarved).toBe(false);
    expect(link.bulkMessageBytes).toBe(whenStarved / 2);
  });

  it.each([
    ["metro", { oneWayMs: 5, bytesPerMs: 40_000 }],
    ["continental", CONTINENTAL],
    ["intercontinental", INTERCONTINENTAL],
    ["5 Mbit/s", { oneWayMs: 75, bytesPerMs: 625 }],
  ])("[PR7] fills the path and delays the trace by 20 ms at most: %s", (_, path) => {
    const pair = new LinkPair(path);
    pair.run(1000);
    const start = pair.now;
    const end = start + 5000;
    const sentAt: number[] = [];
    while (pair.now < end) {
      const { link } = pair.a;
      while (link.wantsBulk) link.sendBulk(group(0, link.bulkMessageBytes), pair.now);
      if (sentAt.length < (pair.now - start) / 5) {
        sentAt.push(pair.now);
        link.send(segment(sentAt.length - 1), pair.now);
      }
      pair.run(pair.now + 0.5);
    }
    pair.run(end + 500);
    const arrivals = pair.b.delivered.filter(({ message }) => message.kind === "segment");
    // In the first seconds nobody knows yet what the path carries.
    const delays = arrivals
      .map(({ at }, i) => at - (sentAt[i] ?? 0) - path.oneWayMs)
      .filter((_, i) => (sentAt[i] ?? 0) > start + 3000);
    const bytes = pair.b.delivered.map(({ message, at }) =>
      message.kind === "page-group" && at > start + 3000 && at < end ? message.data.length : 0,
    );
    const rate = bytes.reduce((sum, length) => sum + length, 0) / 2000 / path.bytesPerMs;
    const sorted = delays.toSorted((x, y) => x - y);
    expect(rate).toBeGreaterThan(0.9);
    const own = shortestMs(path.bytesPerMs);
    expect(sorted[Math.floor(sorted.length * 0.9)]).toBeLessThan(20 + own);
  });
});
