/** UDP flows: their time, their sockets, the host itself, and who may not. */
import { describe, expect, test } from "vitest";
import { address } from "./address.ts";
import { parseForward } from "./forwards.ts";
import { NETWORK } from "./policy.ts";
import { ipFrame, readDatagram, udpFrame } from "./test-support/guest-frames.ts";
import { Harness } from "./test-support/harness.ts";
import { PROTOCOL } from "./wire.ts";

const OUT = { sourcePort: 4000, targetPort: 9, payload: Uint8Array.of(1) };
const SOCKET = { kind: "guest-port", port: 4000 } as const;
const [ONE, OTHER] = [address("198.51.100.7"), address("198.51.100.8")];
const QUERY = Uint8Array.of(1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1);

test("a flow ends after two minutes without a datagram, either way", () => {
  const harness = new Harness();
  harness.frame(udpFrame(OUT, { target: ONE }));
  harness.wait(119_000);
  const peer = { host: "198.51.100.7", port: 9 };
  harness.event({ kind: "udp-data", socket: SOCKET, peer, bytes: OUT.payload });
  harness.wait(119_999);
  expect(harness.core.openFlows()).toHaveLength(1);
  harness.wait(1);
  expect(harness.core.openFlows()).toEqual([]);
});

test("a port's socket stays until the last of its flows has ended", () => {
  const harness = new Harness();
  harness.frame(udpFrame(OUT, { target: ONE }));
  harness.wait(60_000);
  harness.frame(udpFrame(OUT, { target: OTHER }));
  const closed = (ms: number) => harness.wait(ms).filter(({ kind }) => kind === "udp-close");
  expect(closed(119_000)).toEqual([]);
  expect(harness.core.openFlows()).toHaveLength(1);
  expect(closed(1000)).toEqual([{ kind: "udp-close", socket: SOCKET }]);
});

test("the gateway's address means the host's loopback, if the policy allows it", () => {
  const harness = new Harness({ rules: [{ action: "allow", address: "host" }] });
  expect(harness.frame(udpFrame(OUT))).toMatchObject([
    { kind: "udp-send", host: "127.0.0.1", port: 9 },
  ]);
  const peer = { host: "127.0.0.1", port: 9 };
  const [frame] = harness.event({ kind: "udp-data", socket: SOCKET, peer, bytes: OUT.payload });
  const source = frame?.kind === "frame" ? readDatagram(frame.bytes)?.source : undefined;
  expect(source).toBe(NETWORK.gateway);
});

describe("[NE3] the policy", () => {
  test("keeps peers of a forward out, and is not told to them", () => {
    const rules = [{ action: "deny", direction: "in", address: "192.0.2.0/24" }] as const;
    const harness = new Harness({ rules });
    harness.core.addForward(1, parseForward("0:53/udp"));
    const from = (host: string) => {
      const socket = { kind: "forward", id: 1 } as const;
      const peer = { host, port: 5 };
      return harness.event({ kind: "udp-data", socket, peer, bytes: OUT.payload }).length;
    };
    expect(from("192.0.2.1")).toBe(0);
    expect(harness.drops("policy")).toBe(1);
    expect(from("192.0.3.1")).toBe(1);
  });

  test("holds for DNS, too", () => {
    const rules = [{ action: "deny", address: "10.0.2.3" }] as const;
    const harness = new Harness({ rules, resolvers: [{ host: "192.0.2.53", port: 53 }] });
    const datagram = { sourcePort: 5353, targetPort: 53, payload: QUERY };
    expect(harness.frame(udpFrame(datagram, { target: NETWORK.dns }))).toEqual([]);
    expect(harness.drops("policy")).toBe(1);
  });
});

const ECHO = Uint8Array.of(8, 0, 0xf7, 0xff, 0, 0, 0, 0);
const DISCOVER = { sourcePort: 68, targetPort: 67, payload: new Uint8Array(300) };

test.each([
  ["a datagram", udpFrame(OUT, { source: OTHER, target: ONE })],
  ["a datagram without an address", udpFrame(OUT, { source: 0, target: ONE })],
  ["a ping", ipFrame(PROTOCOL.Icmp, ECHO, { source: OTHER })],
  ["a ping without an address", ipFrame(PROTOCOL.Icmp, ECHO, { source: 0 })],
  ["a question for an address", udpFrame(DISCOVER, { source: OTHER })],
])("%s that is not the guest's is dropped", (_, frame) => {
  const harness = new Harness();
  expect(harness.frame(frame)).toEqual([]);
  expect(harness.drops("source")).toBe(1);
});

test("queries on their way never share a number", () => {
  const resolvers = [{ host: "192.0.2.53", port: 53 }];
  const harness = new Harness({ resolvers, limits: { dnsQueries: 2000 } });
  const numbers = new Set<number>();
  for (let i = 0; i < 2000; i++) {
    const datagram = { sourcePort: 1000 + i, targetPort: 53, payload: QUERY };
    const [sent] = harness.frame(udpFrame(datagram, { target: NETWORK.dns }));
    if (sent?.kind === "udp-send") numbers.add(((sent.bytes[0] ?? 0) << 8) | (sent.bytes[1] ?? 0));
  }
  expect(numbers.size).toBe(2000);
});
