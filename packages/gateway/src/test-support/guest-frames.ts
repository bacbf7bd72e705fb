/** Frames as a guest makes them, and what is in those that it gets. */
import { emptyPacket, type Link, makeFrame, PAYLOAD_START, parseIpv4 } from "../ipv4.ts";
import { NETWORK } from "../policy.ts";
import { ByteRing } from "../tcp/ring.ts";
import { emptySegment, parseSegment, type Segment, segmentFrame } from "../tcp/segment.ts";
import { type Datagram, datagramBytes, parseDatagram } from "../udp.ts";
import { PROTOCOL } from "../wire.ts";

export const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0xde, 0x0a, 1);
const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0, 2, 2);

/** `makeFrame` addresses frames to the guest; seen from the guest the two change places. */
const GUEST_LINK: Link = { guestMac: GATEWAY_MAC, gatewayMac: GUEST_MAC };

export interface GuestSegment {
  readonly remoteAddress?: number;
  readonly remotePort: number;
  readonly guestPort: number;
  readonly sequence: number;
  readonly acknowledgement?: number;
  readonly flags: number;
  readonly window?: number;
  readonly mss?: number;
  readonly windowScale?: number | undefined;
  readonly payload?: Uint8Array;
}

export function tcpFrame(segment: GuestSegment): Uint8Array {
  const { payload = new Uint8Array(0), mss, windowScale } = segment;
  const ring = new ByteRing();
  ring.write(payload);
  const header = {
    source: NETWORK.guest,
    target: segment.remoteAddress ?? NETWORK.gateway,
    sourcePort: segment.guestPort,
    targetPort: segment.remotePort,
    sequence: segment.sequence,
    acknowledgement: segment.acknowledgement ?? 0,
    flags: segment.flags,
    window: segment.window ?? 65_535,
    ...(mss === undefined ? {} : { mss }),
    windowScale,
  };
  const data = payload.length > 0 ? { ring, offset: 0, count: payload.length } : undefined;
  return segmentFrame(GUEST_LINK, header, data);
}

export function ipFrame(
  protocol: number,
  payload: Uint8Array,
  { source = NETWORK.guest, target = NETWORK.gateway }: { source?: number; target?: number } = {},
): Uint8Array {
  const frame = makeFrame(GUEST_LINK, { source, target, protocol }, payload.length);
  frame.set(payload, PAYLOAD_START);
  return frame;
}

export function udpFrame(
  datagram: Datagram,
  ends: { source?: number; target?: number } = {},
): Uint8Array {
  const { source = NETWORK.guest, target = NETWORK.gateway } = ends;
  return ipFrame(PROTOCOL.Udp, datagramBytes({ source, target }, datagram), { source, target });
}

/** The segment in a frame to the guest; undefined where there is none or it is damaged. */
export function readSegment(frame: Uint8Array): (Segment & { source: number }) | undefined {
  const packet = emptyPacket();
  if (parseIpv4(frame, packet) !== undefined || packet.protocol !== PROTOCOL.Tcp) return undefined;
  const segment = emptySegment();
  if (parseSegment(packet, segment) !== undefined) return undefined;
  return { ...segment, source: packet.source };
}

export function readDatagram(frame: Uint8Array): (Datagram & { source: number }) | undefined {
  const packet = emptyPacket();
  if (parseIpv4(frame, packet) !== undefined || packet.protocol !== PROTOCOL.Udp) return undefined;
  const datagram = parseDatagram(packet);
  return typeof datagram === "string" ? undefined : { ...datagram, source: packet.source };
}
