/** A gateway whose VM has moved serves open flows, and is nobody to anyone else. */
import { finishSum, sumBytes } from "@dejavm/base";
import { expect, test } from "vitest";
import { address } from "./address.ts";
import { put16, put32 } from "./bytes.ts";
import { parseForward } from "./forwards.ts";
import { NETWORK } from "./policy.ts";
import { FLAG } from "./tcp/wire.ts";
import { GUEST_MAC, ipFrame, tcpFrame, udpFrame } from "./test-support/guest-frames.ts";
import { Harness, segments } from "./test-support/harness.ts";
import { PROTOCOL } from "./wire.ts";

const REMOTE = { guestPort: 40_000, remotePort: 80, remoteAddress: address("198.51.100.7") };
const QUERY = Uint8Array.of(1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1);

function arpRequest(): Uint8Array {
  const frame = new Uint8Array(60);
  frame.fill(255, 0, 6);
  frame.set(GUEST_MAC, 6);
  frame.set([8, 6, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  frame.set(GUEST_MAC, 22);
  put32(frame, 28, NETWORK.guest);
  put32(frame, 38, NETWORK.gateway);
  return frame;
}

function echoRequest(): Uint8Array {
  const message = Uint8Array.of(8, 0, 0, 0, 1, 2, 3, 4);
  put16(message, 2, finishSum(sumBytes(message, 0, message.length)));
  return ipFrame(PROTOCOL.Icmp, message);
}

function dhcpDiscover(): Uint8Array {
  const payload = new Uint8Array(300);
  payload.set([1, 1, 6, 0, 0xaa, 0xbb, 0xcc, 0xdd]);
  payload.set(GUEST_MAC, 28);
  payload.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
  const datagram = { sourcePort: 68, targetPort: 67, payload };
  return udpFrame(datagram, { source: 0, target: 0xffff_ffff });
}

const dns = { sourcePort: 5353, targetPort: 53, payload: QUERY };
const datagram = { sourcePort: 4000, targetPort: 9, payload: Uint8Array.of(1) };
const SERVICES: readonly (readonly [string, Uint8Array])[] = [
  ["ARP", arpRequest()],
  ["pings", echoRequest()],
  ["DHCP", dhcpDiscover()],
  ["DNS", udpFrame(dns, { target: NETWORK.dns })],
];
const resolvers = [{ host: "192.0.2.53", port: 53 }];

test.each(SERVICES)(
  "[NE7] %s: answered before the move, left to the other gateway after it",
  (_, frame) => {
    const harness = new Harness({ resolvers });
    const relayed = (outputs: readonly { kind: string }[]) =>
      outputs.some(({ kind }) => kind === "frame" || kind === "udp-send");
    expect(relayed(harness.frame(frame))).toBe(true);
    harness.core.retire();
    const after = harness.frame(frame);
    // A datagram to the DNS address is one like others then: it is refused.
    expect(after.filter(({ kind }) => kind === "udp-send")).toEqual([]);
    const drops = harness.drops("not-for-us") + harness.drops("policy");
    expect(drops).toBe(1);
  },
);

test("[NE7] open flows go on; new ones of either side are refused", () => {
  const harness = new Harness();
  harness.core.addForward(1, parseForward("0:22"));
  harness.core.addForward(2, parseForward("0:53/udp"));
  const { socket, ours, theirs } = harness.open(REMOTE);
  const target = REMOTE.remoteAddress;
  harness.frame(udpFrame(datagram, { target }));
  harness.core.retire();
  const payload = Uint8Array.of(9);
  const data = { sequence: ours, acknowledgement: theirs, flags: FLAG.Ack, payload };
  expect(harness.frame(tcpFrame({ ...REMOTE, ...data }))).toMatchObject([
    { kind: "tcp-send", socket },
  ]);
  expect(harness.frame(udpFrame(datagram, { target }))).toMatchObject([{ kind: "udp-send" }]);
  const syn = tcpFrame({ ...REMOTE, guestPort: 1, sequence: 7, flags: FLAG.Syn });
  expect(segments(harness.frame(syn))).toMatchObject([{ flags: FLAG.Rst | FLAG.Ack }]);
  const other = harness.frame(udpFrame({ ...datagram, sourcePort: 4001 }, { target }));
  expect(other.filter(({ kind }) => kind !== "frame")).toEqual([]);
  const peer = { host: "192.0.2.9", port: 5 };
  expect(harness.event({ kind: "tcp-accepted", socket: 1, forward: 1, peer })).toEqual([
    { kind: "tcp-reset", socket: 1 },
  ]);
  const listener = { kind: "forward", id: 2 } as const;
  expect(harness.event({ kind: "udp-data", socket: listener, peer, bytes: payload })).toEqual([]);
  expect(harness.drops("policy")).toBe(4);
});
