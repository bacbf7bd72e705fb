/** Every limit of `GatewayLimits`, as it is by default and as a VM may have it; what is counted. */
import { describe, expect, test } from "vitest";
import { address } from "./address.ts";
import { parseForward } from "./forwards.ts";
import { DEFAULT_LIMITS, type GatewayLimits } from "./limits.ts";
import { NETWORK } from "./policy.ts";
import type { GatewayOutput } from "./socket-events.ts";
import { FLAG } from "./tcp/wire.ts";
import { tcpFrame, udpFrame } from "./test-support/guest-frames.ts";
import { Harness, segments } from "./test-support/harness.ts";

const REMOTE = { guestPort: 40_000, remotePort: 80, remoteAddress: address("198.51.100.7") };
const RESOLVERS = [{ host: "192.0.2.53", port: 53 }];
const QUERY = Uint8Array.of(1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1);

const syn = (harness: Harness, guestPort: number): GatewayOutput[] =>
  harness.frame(tcpFrame({ ...REMOTE, guestPort, sequence: 7, flags: FLAG.Syn }));
const datagram = (harness: Harness, sourcePort: number): GatewayOutput[] => {
  const payload = Uint8Array.of(1);
  const ends = { target: REMOTE.remoteAddress };
  return harness.frame(udpFrame({ sourcePort, targetPort: 9, payload }, ends));
};
const query = (harness: Harness, sourcePort: number): GatewayOutput[] =>
  harness.frame(udpFrame({ sourcePort, targetPort: 53, payload: QUERY }, { target: NETWORK.dns }));

describe("default limits hold exactly", () => {
  test.each([
    ["half-open-limit", 1024, syn],
    ["udp-flow-limit", 1024, datagram],
    ["dns-limit", 256, query],
  ] as const)("%s: %i", (reason, limit, attempt) => {
    const harness = new Harness({ resolvers: RESOLVERS });
    for (let i = 0; i < limit; i++) expect(attempt(harness, 1000 + i)).toHaveLength(1);
    expect(harness.drops(reason)).toBe(0);
    expect(attempt(harness, 999)).toEqual([]);
    expect(harness.drops(reason)).toBe(1);
  });

  test("connection-limit: 4096", () => {
    const harness = new Harness();
    for (let i = 0; i < 4096; i++) harness.open({ ...REMOTE, guestPort: 1000 + i });
    expect(harness.core.metrics().now).toMatchObject({ tcpConnections: 4096, tcpHalfOpen: 0 });
    expect(syn(harness, 999)).toEqual([]);
    expect(harness.drops("connection-limit")).toBe(1);
  });

  test("rate-limit: 20,000 new flows per second, of TCP and UDP together", () => {
    const limits: Partial<GatewayLimits> = { udpFlows: 60_000 };
    const harness = new Harness({ limits });
    for (let i = 0; i < 20_000; i++) datagram(harness, 1000 + i);
    expect(harness.core.metrics().now.udpFlows).toBe(20_000);
    expect(datagram(harness, 30_000)).toEqual([]);
    expect(syn(harness, 30_000)).toEqual([]);
    expect(harness.drops("rate-limit")).toBe(2);
    harness.wait(1);
    expect(syn(harness, 30_000)).toHaveLength(1);
  });
});

describe("buffers of all connections together", () => {
  test("may take 128 MiB by default", () => {
    expect(DEFAULT_LIMITS.bufferBytes).toBe(128 * 2 ** 20);
  });

  const limits = { bufferBytes: 100_000 };
  const full = (bytes: number) => {
    const harness = new Harness({ limits });
    const { socket } = harness.open(REMOTE);
    harness.event({ kind: "tcp-data", socket, bytes: new Uint8Array(bytes) });
    return harness;
  };

  test("above the limit a host is read only while little waits", () => {
    const harness = full(100_001);
    const { socket } = harness.open({ ...REMOTE, guestPort: 40_001 });
    const give = (bytes: number) =>
      harness
        .event({ kind: "tcp-data", socket, bytes: new Uint8Array(bytes) })
        .some((output) => output.kind === "tcp-read" && !output.on);
    expect([give(16_000), give(1000)]).toEqual([false, true]);
  });

  test("above the limit a new connection's window is a trickle", () => {
    const windowOf = (harness: Harness) => {
      const { ours, theirs, socket } = harness.open({ ...REMOTE, guestPort: 40_001 });
      const payload = new Uint8Array(1000);
      const numbers = { sequence: ours, acknowledgement: theirs, flags: FLAG.Ack };
      const outputs = [
        ...harness.frame(tcpFrame({ ...REMOTE, guestPort: 40_001, ...numbers, payload })),
        ...harness.event({ kind: "tcp-sent", socket, bytes: 1000 }),
        ...harness.wait(5),
      ];
      return (segments(outputs).at(-1)?.window ?? 0) << 4;
    };
    expect(windowOf(full(100_001))).toBeLessThanOrEqual(4096);
    expect(windowOf(full(90_000))).toBeGreaterThan(400_000);
  });

  test("above twice the limit none is opened", () => {
    const harness = full(200_001);
    expect(syn(harness, 1)).toEqual([]);
    expect(harness.drops("buffer-limit")).toBe(1);
    expect(syn(full(200_000), 1)).toHaveLength(1);
  });
});

test("a connection that waits to be forgotten makes way at the limit, others do not", () => {
  const harness = new Harness({ limits: { tcpConnections: 2 } });
  harness.open({ ...REMOTE, guestPort: 1 });
  const { socket, ours, theirs } = harness.open({ ...REMOTE, guestPort: 2 });
  expect(syn(harness, 3)).toEqual([]);
  harness.event({ kind: "tcp-ended", socket });
  const fin = { sequence: ours, acknowledgement: theirs + 1, flags: FLAG.Ack | FLAG.Fin };
  harness.frame(tcpFrame({ ...REMOTE, guestPort: 2, ...fin }));
  expect(syn(harness, 3)).toContainEqual(expect.objectContaining({ kind: "tcp-connect" }));
  const left = harness.core.openFlows().map(({ guestPort }) => guestPort);
  expect(new Set(left)).toEqual(new Set([1, 3]));
});

describe("counters", () => {
  test("of connections by who opened them, and of those that failed", () => {
    const harness = new Harness();
    harness.core.addForward(1, parseForward("0:22"));
    const peer = { host: "192.0.2.9", port: 5 };
    harness.open(REMOTE);
    for (const socket of [1, 3]) {
      harness.event({ kind: "tcp-accepted", socket, forward: 1, peer });
    }
    syn(harness, 1);
    harness.event({ kind: "tcp-failed", socket: 4 });
    const counters = harness.core.metrics();
    expect(counters).toMatchObject({ tcpOpenedOut: 2, tcpOpenedIn: 2, tcpFailed: 1 });
  });

  test("of bytes both ways are first transmissions; of timeouts and what is sent again", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    harness.event({ kind: "tcp-data", socket, bytes: new Uint8Array(500) });
    harness.wait(1500);
    const payload = new Uint8Array(300);
    const data = { sequence: ours, acknowledgement: theirs + 500, flags: FLAG.Ack, payload };
    for (let i = 0; i < 2; i++) harness.frame(tcpFrame({ ...REMOTE, ...data }));
    const { tcpTimeouts, tcpRetransmits, ...counters } = harness.core.metrics();
    expect(counters).toMatchObject({ tcpBytesToGuest: 500, tcpBytesFromGuest: 300 });
    expect(tcpTimeouts).toBeGreaterThan(0);
    expect(tcpRetransmits).toBe(tcpTimeouts);
  });

  test("of datagrams, flows and DNS", () => {
    const harness = new Harness();
    for (let i = 0; i < 3; i++) datagram(harness, 4000);
    const socket = { kind: "guest-port", port: 4000 } as const;
    const peer = { host: "198.51.100.7", port: 9 };
    harness.event({ kind: "udp-data", socket, peer, bytes: QUERY });
    harness.event({ kind: "udp-failed", socket });
    query(harness, 5);
    expect(harness.core.metrics()).toMatchObject({
      udpFlowsOpened: 1,
      udpDatagramsFromGuest: 3,
      udpDatagramsToGuest: 1,
      dnsQueries: 1,
      dnsFailures: 1,
    });
    expect(harness.drops("host-error")).toBe(1);
  });

  test("of frames while the cable is out, both ways", () => {
    const harness = new Harness();
    datagram(harness, 4000);
    harness.core.setPlugged(false, harness.now);
    datagram(harness, 4000);
    const socket = { kind: "guest-port", port: 4000 } as const;
    const peer = { host: "198.51.100.7", port: 9 };
    harness.event({ kind: "udp-data", socket, peer, bytes: QUERY });
    expect(harness.drops("unplugged")).toBe(2);
  });
});
