/** ARP, ICMP, DHCP, DNS, UDP and fragments, through the core. */
import { finishSum, Prng, sumBytes, sumIsRight } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { address } from "./address.ts";
import { get16, get32, put16, put32 } from "./bytes.ts";
import { MAX_DATAGRAMS } from "./fragments.ts";
import { makeFrame, PAYLOAD_START } from "./ipv4.ts";
import { NETWORK } from "./policy.ts";
import type { GatewayOutput } from "./socket-events.ts";
import { GUEST_MAC, ipFrame, readDatagram, udpFrame } from "./test-support/guest-frames.ts";
import { Harness } from "./test-support/harness.ts";
import { datagramBytes, UDP_IDLE_MS } from "./udp.ts";
import { ETHERNET_BYTES, PROTOCOL } from "./wire.ts";

const REMOTE = address("198.51.100.7");
const RESOLVERS = [
  { host: "192.0.2.53", port: 53 },
  { host: "2001:db8::53", port: 53 },
];

function frames(outputs: readonly GatewayOutput[]): Uint8Array[] {
  return outputs.flatMap((output) => (output.kind === "frame" ? [output.bytes] : []));
}

function datagrams(outputs: readonly GatewayOutput[]) {
  return frames(outputs).flatMap((frame) => readDatagram(frame) ?? []);
}

function arpRequest(target: string): Uint8Array {
  const frame = new Uint8Array(60);
  frame.fill(255, 0, 6);
  frame.set(GUEST_MAC, 6);
  frame.set([8, 6, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  frame.set(GUEST_MAC, 22);
  put32(frame, 28, NETWORK.guest);
  put32(frame, 38, address(target));
  return frame;
}

describe("ARP", () => {
  test("the gateway's two addresses are answered, no others", () => {
    const harness = new Harness();
    for (const text of ["10.0.2.2", "10.0.2.3"]) {
      const [reply] = frames(harness.frame(arpRequest(text)));
      expect(reply?.subarray(0, 6)).toEqual(GUEST_MAC);
      expect(reply && get16(reply, 20)).toBe(2);
      expect(reply && get32(reply, 28)).toBe(address(text));
      expect(reply && get32(reply, 38)).toBe(NETWORK.guest);
    }
    expect(harness.frame(arpRequest("10.0.2.4"))).toEqual([]);
    expect(harness.drops("not-for-us")).toBe(1);
  });
});

describe("ICMP", () => {
  const echo = (): Uint8Array => {
    const message = Uint8Array.of(8, 0, 0, 0, 1, 2, 3, 4, 5);
    put16(message, 2, finishSum(sumBytes(message, 0, message.length)));
    return message;
  };

  test("the gateway answers an echo with the same bytes", () => {
    const [reply] = frames(new Harness().frame(ipFrame(PROTOCOL.Icmp, echo())));
    const message = reply?.subarray(PAYLOAD_START) ?? new Uint8Array(0);
    expect([message[0], ...message.subarray(4)]).toEqual([0, 1, 2, 3, 4, 5]);
    expect(sumIsRight(sumBytes(message, 0, message.length))).toBe(true);
  });

  test("nobody else does", () => {
    const harness = new Harness();
    expect(harness.frame(ipFrame(PROTOCOL.Icmp, echo(), { target: REMOTE }))).toEqual([]);
  });
});

describe("DHCP", () => {
  function request(type: number, more: readonly number[] = []): Uint8Array {
    const payload = new Uint8Array(300);
    payload.set([1, 1, 6, 0, 0xaa, 0xbb, 0xcc, 0xdd]);
    payload.set(GUEST_MAC, 28);
    payload.set([0x63, 0x82, 0x53, 0x63, 53, 1, type, ...more, 255], 236);
    const datagram = { sourcePort: 68, targetPort: 67, payload };
    return udpFrame(datagram, { source: 0, target: 0xffff_ffff });
  }
  const options = (payload: Uint8Array): string =>
    Buffer.from(payload.subarray(240)).toString("hex");

  test("discover, request: 10.0.2.15 with gateway, DNS and, if unusual, the MTU", () => {
    const harness = new Harness({ mtu: 9000 });
    const [offer] = datagrams(harness.frame(request(1)));
    expect(offer).toMatchObject({ source: NETWORK.gateway, sourcePort: 67, targetPort: 68 });
    expect(offer && get32(offer.payload, 16)).toBe(NETWORK.guest);
    expect(offer && get32(offer.payload, 4)).toBe(0xaabb_ccdd);
    const want =
      "350102 36040a000202 0104ffffff00 03040a000202 06040a000203 1a022328 330400015180 ff";
    expect(offer && options(offer.payload)).toMatch(new RegExp(`^${want.replaceAll(" ", "")}0*$`));
    const [ack] = datagrams(harness.frame(request(3, [50, 4, 10, 0, 2, 15])));
    expect(ack && options(ack.payload)).toMatch(/^350105/);
  });

  test("another address is refused; another server's client and nonsense are left alone", () => {
    const harness = new Harness();
    const [nak] = datagrams(harness.frame(request(3, [50, 4, 10, 0, 2, 16])));
    expect(nak && options(nak.payload)).toMatch(/^350106/);
    expect(harness.frame(request(3, [54, 4, 10, 0, 2, 9]))).toEqual([]);
    expect(harness.frame(request(1, [12, 200]))).toEqual([]);
    expect(harness.drops("bad-message")).toBe(1);
  });
});

describe("DNS", () => {
  const question = [3, 119, 119, 119, 0, 0, 1, 0, 1];
  const query = Uint8Array.of(0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...question);
  const ask = (harness: Harness) => {
    const datagram = { sourcePort: 5353, targetPort: 53, payload: query };
    const [sent] = harness.frame(udpFrame(datagram, { target: NETWORK.dns }));
    if (sent?.kind !== "udp-send") throw new Error("no query");
    return sent;
  };
  const answerTo = (bytes: Uint8Array): Uint8Array => {
    const answer = bytes.slice();
    answer[2] = 0x81;
    return answer;
  };
  const peer = { host: "192.0.2.53", port: 53 };

  test("goes to the resolver under a number of our own and comes back under the guest's", () => {
    const harness = new Harness({ resolvers: RESOLVERS });
    const sent = ask(harness);
    expect(sent).toMatchObject({ host: "192.0.2.53", port: 53 });
    const bytes = answerTo(sent.bytes);
    const outputs = harness.event({ kind: "udp-data", socket: sent.socket, peer, bytes });
    const [answer] = datagrams(outputs);
    expect(answer).toMatchObject({ source: NETWORK.dns, sourcePort: 53, targetPort: 5353 });
    expect(answer && get16(answer.payload, 0)).toBe(0x1234);
    // A second answer belongs to nothing.
    expect(harness.event({ kind: "udp-data", socket: sent.socket, peer, bytes })).toEqual([]);
    expect(harness.core.deadline).toBe(Number.POSITIVE_INFINITY);
  });

  test("an answer to another question is none", () => {
    const harness = new Harness({ resolvers: RESOLVERS });
    const sent = ask(harness);
    const bytes = answerTo(sent.bytes);
    bytes[14] = 120;
    expect(harness.event({ kind: "udp-data", socket: sent.socket, peer, bytes })).toEqual([]);
    expect(harness.drops("bad-message")).toBe(1);
  });

  test("silent resolvers follow each other; then the guest hears of a failure", () => {
    const harness = new Harness({ resolvers: RESOLVERS });
    ask(harness);
    const outputs = harness.wait(60_000);
    const asked = outputs.flatMap((each) => (each.kind === "udp-send" ? [each.host] : []));
    expect(asked).toEqual(["2001:db8::53", "192.0.2.53", "2001:db8::53"]);
    const [failure] = datagrams(outputs);
    expect(failure && get16(failure.payload, 2) & 0x800f).toBe(0x8002);
  });

  test("without resolvers it fails at once, and its number is limited", () => {
    const none = new Harness();
    const datagram = { sourcePort: 5353, targetPort: 53, payload: query };
    const frame = udpFrame(datagram, { target: NETWORK.dns });
    expect(datagrams(none.frame(frame))).toHaveLength(1);
    const harness = new Harness({ resolvers: RESOLVERS, limits: { dnsQueries: 2 } });
    expect([1, 2, 3].map(() => harness.frame(frame).length)).toEqual([1, 1, 0]);
    expect(harness.drops("dns-limit")).toBe(1);
  });
});

describe("UDP", () => {
  const out = { sourcePort: 4000, targetPort: 9, payload: Uint8Array.of(1, 2, 3) };
  const frame = udpFrame(out, { target: REMOTE });
  const socket = { kind: "guest-port", port: 4000 } as const;

  test("answers come from peers that were spoken to, no others; then the flow ends", () => {
    const harness = new Harness();
    expect(harness.frame(frame)).toMatchObject([
      { kind: "udp-send", socket, host: "198.51.100.7", port: 9, bytes: out.payload },
    ]);
    const bytes = Uint8Array.of(4);
    const from = (host: string, port: number) =>
      datagrams(harness.event({ kind: "udp-data", socket, peer: { host, port }, bytes }));
    expect(from("198.51.100.7", 9)).toMatchObject([{ source: REMOTE, sourcePort: 9 }]);
    expect(from("198.51.100.7", 10)).toEqual([]);
    expect(harness.drops("unknown-peer")).toBe(1);
    expect(harness.core.openFlows()).toHaveLength(1);
    expect(harness.wait(UDP_IDLE_MS)).toContainEqual({ kind: "udp-close", socket });
    expect(harness.core.openFlows()).toEqual([]);
  });

  test("[NE3] what is forbidden is told by ICMP", () => {
    const harness = new Harness();
    const [reply] = frames(harness.frame(udpFrame(out, { target: address("169.254.169.254") })));
    expect([...(reply?.subarray(PAYLOAD_START, PAYLOAD_START + 2) ?? [])]).toEqual([3, 13]);
    expect(harness.drops("policy")).toBe(1);
  });

  test("peers of a forward are told apart by their ports of the gateway", () => {
    const harness = new Harness();
    const where = { protocol: "udp", hostAddress: "127.0.0.1", hostPort: 53 } as const;
    harness.core.addForward(7, { ...where, guestPort: 53 });
    const listener = { kind: "forward", id: 7 } as const;
    const bytes = Uint8Array.of(8);
    const ports = ["127.0.0.1", "127.0.0.2"].map((host) => {
      const peer = { host, port: 999 };
      const [got] = datagrams(harness.event({ kind: "udp-data", socket: listener, peer, bytes }));
      return got?.sourcePort ?? 0;
    });
    expect(ports).toEqual([999, 1000]);
    const answer = { sourcePort: 53, targetPort: 1000, payload: bytes };
    expect(harness.frame(udpFrame(answer))).toMatchObject([
      { kind: "udp-send", socket: listener, host: "127.0.0.2", port: 999 },
    ]);
    harness.core.removeForward(7);
    expect(harness.core.openFlows()).toEqual([]);
  });

  test("what is larger than the cable's MTU goes to the guest in fragments", () => {
    const harness = new Harness();
    harness.frame(frame);
    const bytes = new Prng(5).fill(new Uint8Array(20_000));
    const peer = { host: "198.51.100.7", port: 9 };
    const parts = frames(harness.event({ kind: "udp-data", socket, peer, bytes }));
    expect(parts.length).toBe(14);
    expect(parts.every((part) => part.length <= ETHERNET_BYTES + 1500)).toBe(true);
    const whole = Buffer.concat(parts.map((part) => part.subarray(PAYLOAD_START)));
    expect(Buffer.compare(whole.subarray(8), bytes)).toBe(0);
  });
});

describe("fragments of the guest", () => {
  const payload = new Prng(6).fill(new Uint8Array(4000));
  const datagram = { sourcePort: 4000, targetPort: 9, payload };
  const whole = datagramBytes({ source: NETWORK.guest, target: REMOTE }, datagram);
  const link = { guestMac: Uint8Array.of(0x52, 0x55, 10, 0, 2, 2), gatewayMac: GUEST_MAC };

  function part(start: number, end: number, identification = 1): Uint8Array {
    const flags = (end < whole.length ? 0x2000 : 0) | (start / 8);
    const header = { source: NETWORK.guest, target: REMOTE, protocol: PROTOCOL.Udp };
    const frame = makeFrame(link, header, end - start, { identification, flags });
    frame.set(whole.subarray(start, end), PAYLOAD_START);
    return frame;
  }

  test("come together in any order, repeated or not", () => {
    const harness = new Harness();
    const parts = [part(1600, 3200), part(0, 1600), part(1600, 3200), part(3200, whole.length)];
    const outputs = parts.flatMap((frame) => harness.frame(frame));
    expect(outputs).toMatchObject([{ kind: "udp-send", bytes: payload }]);
  });

  test.each([
    ["that overlap", [part(0, 1600), part(1592, 3200)]],
    ["beyond the end", [part(3200, whole.length), part(4000, 4016)]],
    ["that begin within another", [part(800, 1600), part(0, 808)]],
  ])("%s lose their datagram", (_name, parts) => {
    const harness = new Harness();
    for (const frame of parts) expect(harness.frame(frame)).toEqual([]);
    expect(harness.drops("fragment")).toBe(1);
  });

  test("of two protocols are two datagrams, whatever their number", () => {
    const harness = new Harness();
    const header = { source: NETWORK.guest, target: REMOTE, protocol: PROTOCOL.Icmp };
    const other = makeFrame(link, header, 1608, { identification: 1, flags: 0x2000 });
    const parts = [part(0, 1600), other, part(1600, 3200), part(3200, whole.length)];
    const outputs = parts.flatMap((frame) => harness.frame(frame));
    expect(outputs).toMatchObject([{ kind: "udp-send", bytes: payload }]);
  });

  test("that end at no multiple of eight are malformed, but for the last", () => {
    const harness = new Harness();
    harness.frame(part(0, 1596));
    expect(harness.drops("malformed")).toBe(1);
  });

  test("wait a while, and not too many do", () => {
    const harness = new Harness();
    for (let id = 0; id <= MAX_DATAGRAMS; id++) harness.frame(part(0, 1600, id));
    expect(harness.drops("fragment")).toBe(1);
    harness.wait(10_001);
    harness.frame(part(0, 1600, 99));
    expect(harness.drops("fragment")).toBe(1);
  });
});
