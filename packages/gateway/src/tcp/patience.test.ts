/** How long a connection waits for the guest, how often it tries, and how fast it begins. */
import { describe, expect, test } from "vitest";
import { address } from "../address.ts";
import { parseForward } from "../forwards.ts";
import { NETWORK } from "../policy.ts";
import { tcpFrame } from "../test-support/guest-frames.ts";
import { Harness, segments } from "../test-support/harness.ts";
import { FLAG } from "./wire.ts";

const REMOTE = { guestPort: 40_000, remotePort: 80, remoteAddress: address("198.51.100.7") };
const PEER = { host: "192.0.2.9", port: 5 };

/** A connection of a peer to port 22 of the guest; the SYN that the guest gets. */
function accepted(harness: Harness, socket = 1) {
  harness.core.addForward(1, parseForward("0:22"));
  const outputs = harness.event({ kind: "tcp-accepted", socket, forward: 1, peer: PEER });
  const [found] = segments(outputs);
  if (found === undefined) throw new Error("no SYN");
  return found;
}

describe("patience", () => {
  test("a SYN is repeated five times within a minute or so, then the peer is reset", () => {
    const harness = new Harness();
    accepted(harness);
    const later = harness.wait(130_000);
    const syns = segments(later).filter(({ flags }) => flags === FLAG.Syn);
    expect(syns).toHaveLength(5);
    expect(later).toContainEqual({ kind: "tcp-reset", socket: 1 });
    expect(harness.core.metrics().tcpFailed).toBe(1);
  });

  test("data is repeated twelve times, then both sides are reset", () => {
    const harness = new Harness();
    const { socket } = harness.open(REMOTE);
    harness.event({ kind: "tcp-data", socket, bytes: Uint8Array.of(1) });
    const later = harness.wait(30 * 60_000);
    const data = segments(later).filter(({ start, end }) => end > start);
    expect(data).toHaveLength(12);
    expect(later).toContainEqual({ kind: "tcp-reset", socket });
  });

  test("an idle guest is asked nine times; an answer begins the two hours anew", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    expect(segments(harness.wait(7_300_000))).toHaveLength(2);
    const alive = { sequence: ours, acknowledgement: theirs, flags: FLAG.Ack };
    harness.frame(tcpFrame({ ...REMOTE, ...alive }));
    expect(segments(harness.wait(7_100_000))).toEqual([]);
    const probes = harness.wait(2 * 3_600_000);
    expect(segments(probes).filter(({ flags }) => flags === FLAG.Ack)).toHaveLength(9);
    expect(probes).toContainEqual({ kind: "tcp-reset", socket });
  });

  test("TIME-WAIT lasts ten seconds; a SYN with a later number takes its place", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    harness.event({ kind: "tcp-ended", socket });
    const fin = { sequence: ours, acknowledgement: theirs + 1, flags: FLAG.Ack | FLAG.Fin };
    harness.frame(tcpFrame({ ...REMOTE, ...fin }));
    harness.wait(9_900);
    expect(harness.core.openFlows()).toHaveLength(1);
    const syn = (sequence: number) =>
      harness.frame(tcpFrame({ ...REMOTE, sequence, flags: FLAG.Syn }));
    expect(syn(ours - 10).some(({ kind }) => kind === "tcp-connect")).toBe(false);
    expect(syn(ours + 5000).some(({ kind }) => kind === "tcp-connect")).toBe(true);
    const other = new Harness();
    const second = other.open(REMOTE);
    other.event({ kind: "tcp-ended", socket: second.socket });
    other.frame(tcpFrame({ ...REMOTE, ...fin, acknowledgement: second.theirs + 1 }));
    other.wait(10_000);
    expect(other.core.openFlows()).toEqual([]);
  });
});

describe("what is sent", () => {
  const data = (harness: Harness, socket: number, bytes: number) =>
    segments(harness.event({ kind: "tcp-data", socket, bytes: new Uint8Array(bytes) })).filter(
      ({ start, end }) => end > start,
    );

  test("begins with ten segments, and with one after a timeout", () => {
    const harness = new Harness();
    const { socket } = harness.open(REMOTE);
    expect(data(harness, socket, 40 * 1460)).toHaveLength(10);
    expect(segments(harness.wait(300))).toHaveLength(1);
  });

  test("grows slowly once a loss has shown how much is too much", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE, { window: 60_000 });
    data(harness, socket, 10 * 1460);
    harness.wait(1000);
    const ack = (segmentCount: number) => {
      const acknowledgement = theirs + segmentCount * 1460;
      const frame = { sequence: ours, acknowledgement, flags: FLAG.Ack, window: 60_000 };
      return segments(harness.frame(tcpFrame({ ...REMOTE, ...frame }))).length;
    };
    ack(10);
    data(harness, socket, 200 * 1460);
    // Half of what was on its way at the loss: five segments; then one more for each window.
    let [acked, sent] = [10, 0];
    for (let i = 0; i < 12; i++) sent += ack(++acked);
    expect(sent - 12).toBeGreaterThanOrEqual(0);
    expect(sent - 12).toBeLessThanOrEqual(2);
  });

  test("goes by the window of the newest segment, not of one that comes late", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    const tell = (sequence: number, window: number) => {
      const numbers = { sequence, acknowledgement: theirs, flags: FLAG.Ack, window };
      harness.frame(tcpFrame({ ...REMOTE, ...numbers, payload: Uint8Array.of(1) }));
    };
    tell(ours + 1, 5000);
    tell(ours, 0);
    expect(data(harness, socket, 100)).toHaveLength(1);
  });
});

describe("what is taken", () => {
  const take = (harness: Harness, sequence: number, acknowledgement: number) => {
    const payload = new Uint8Array(1460);
    const numbers = { sequence, acknowledgement, flags: FLAG.Ack };
    return segments(harness.frame(tcpFrame({ ...REMOTE, ...numbers, payload })));
  };

  test("every second full segment is acknowledged at once", () => {
    const harness = new Harness();
    const { ours, theirs } = harness.open(REMOTE);
    const counts = [0, 1, 2, 3].map((i) => take(harness, ours + i * 1460, theirs).length);
    expect(counts).toEqual([0, 1, 0, 1]);
  });

  test("without window scaling in the guest's SYN the window is as it stands", () => {
    const harness = new Harness();
    const syn = tcpFrame({ ...REMOTE, sequence: 7, flags: FLAG.Syn, mss: 1460 });
    const [connect] = harness.frame(syn);
    const socket = connect?.kind === "tcp-connect" ? connect.socket : 0;
    const [answer] = segments(harness.event({ kind: "tcp-connected", socket }));
    expect(answer).toMatchObject({ windowScale: undefined });
    const theirs = (answer?.sequence ?? 0) + 1;
    harness.frame(tcpFrame({ ...REMOTE, sequence: 8, acknowledgement: theirs, flags: FLAG.Ack }));
    take(harness, 8, theirs);
    expect(take(harness, 8 + 1460, theirs)[0]?.window).toBeGreaterThan(60_000);
  });
});

test("a peer's port at the gateway is never one that is in use", () => {
  const rules = [{ action: "allow", address: "host" }] as const;
  const first = accepted(new Harness({ rules })).sourcePort;
  const harness = new Harness({ rules });
  // The guest itself talks from port 22 with the port that would come first.
  const own = { guestPort: 22, remotePort: first, remoteAddress: NETWORK.gateway };
  harness.open(own);
  expect(accepted(harness).sourcePort).toBe(first + 1);
});

test("DNS over TCP goes to the host's first resolver", () => {
  const harness = new Harness({ resolvers: [{ host: "192.0.2.53", port: 5300 }] });
  const where = { guestPort: 1, remotePort: 53, remoteAddress: NETWORK.dns };
  expect(harness.frame(tcpFrame({ ...where, sequence: 7, flags: FLAG.Syn }))).toEqual([
    { kind: "tcp-connect", socket: 2, host: "192.0.2.53", port: 5300 },
  ]);
});
