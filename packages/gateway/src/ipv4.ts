/** IPv4 packets (RFC 791) inside Ethernet frames: taking them apart and making them. */
import { finishSum, sumBytes, sumIsRight } from "@dejavm/base";
import { get16, get32, put16, put32 } from "./bytes.ts";
import type { DropReason } from "./metrics.ts";
import {
  DEFAULT_TTL,
  ETHER_TYPE,
  ETHERNET_BYTES,
  FRAGMENT_OFFSET_MASK,
  FRAGMENT_UNIT_BYTES,
  IPV4_BYTES,
  IPV4_FLAG,
  MAC_BYTES,
} from "./wire.ts";

/** A packet in a buffer: the payload is `bytes[start .. end-1]`. */
export interface Packet {
  bytes: Uint8Array;
  source: number;
  target: number;
  protocol: number;
  start: number;
  end: number;
}

/** A packet with what tells where it belongs among its fragments. */
export interface Ipv4Packet extends Packet {
  /** Start of the IPv4 header in `bytes`. */
  header: number;
  identification: number;
  /** Offset of the payload in the whole datagram, in bytes. */
  offset: number;
  moreFragments: boolean;
}

/** One to be filled by `parseIpv4` again and again. */
export function emptyPacket(): Ipv4Packet {
  return {
    bytes: new Uint8Array(0),
    source: 0,
    target: 0,
    protocol: 0,
    start: 0,
    end: 0,
    header: 0,
    identification: 0,
    offset: 0,
    moreFragments: false,
  };
}

/** Whether the packet is a part of a datagram. */
export function isFragment(packet: Ipv4Packet): boolean {
  return packet.moreFragments || packet.offset > 0;
}

/** Reads the packet in `frame` into `into`; gives why it must be dropped, if so. */
export function parseIpv4(frame: Uint8Array, into: Ipv4Packet): DropReason | undefined {
  const header = ETHERNET_BYTES;
  if (frame.length < header + IPV4_BYTES) return "malformed";
  const first = frame[header] ?? 0;
  if (first >>> 4 !== 4) return "not-for-us";
  const headerBytes = (first & 15) * 4;
  const totalBytes = get16(frame, header + 2);
  if (headerBytes < IPV4_BYTES || totalBytes < headerBytes) return "malformed";
  if (frame.length < header + totalBytes) return "malformed";
  if (!sumIsRight(sumBytes(frame, header, header + headerBytes))) return "checksum";
  const flags = get16(frame, header + 6);
  into.bytes = frame;
  into.header = header;
  into.identification = get16(frame, header + 4);
  into.moreFragments = (flags & IPV4_FLAG.MoreFragments) !== 0;
  into.offset = (flags & FRAGMENT_OFFSET_MASK) * FRAGMENT_UNIT_BYTES;
  into.protocol = frame[header + 9] ?? 0;
  into.source = get32(frame, header + 12);
  into.target = get32(frame, header + 16);
  into.start = header + headerBytes;
  into.end = header + totalBytes;
  return undefined;
}

/** The two ends of the cable. */
export interface Link {
  readonly gatewayMac: Uint8Array;
  /** Learned from the guest's frames; broadcast before that. */
  guestMac: Uint8Array;
}

/** What stands in a header that we write. */
export interface Ipv4Header {
  readonly source: number;
  readonly target: number;
  readonly protocol: number;
}

/** Fields that only fragments and their like need. */
export interface FragmentField {
  readonly identification: number;
  /** Flags and offset as in the header. */
  readonly flags: number;
}

const WHOLE: FragmentField = { identification: 0, flags: IPV4_FLAG.DontFragment };

/** Where the payload of a frame of `makeFrame` begins. */
export const PAYLOAD_START = ETHERNET_BYTES + IPV4_BYTES;

/**
 * A frame to the guest with its Ethernet and IPv4 headers filled in, and room for `payloadBytes`
 * from PAYLOAD_START on. It begins at an offset of 2 in its buffer: the IPv4 header is aligned.
 */
export function makeFrame(
  link: Link,
  { source, target, protocol }: Ipv4Header,
  payloadBytes: number,
  fragment: FragmentField = WHOLE,
): Uint8Array {
  const frame = new Uint8Array(new ArrayBuffer(2 + PAYLOAD_START + payloadBytes), 2);
  frame.set(link.guestMac, 0);
  frame.set(link.gatewayMac, MAC_BYTES);
  put16(frame, 2 * MAC_BYTES, ETHER_TYPE.Ipv4);
  const at = ETHERNET_BYTES;
  frame[at] = (4 << 4) | (IPV4_BYTES / 4);
  put16(frame, at + 2, IPV4_BYTES + payloadBytes);
  put16(frame, at + 4, fragment.identification);
  put16(frame, at + 6, fragment.flags);
  frame[at + 8] = DEFAULT_TTL;
  frame[at + 9] = protocol;
  put32(frame, at + 12, source);
  put32(frame, at + 16, target);
  put16(frame, at + 10, finishSum(sumBytes(frame, at, at + IPV4_BYTES)));
  return frame;
}

/**
 * The frames of a datagram: one, or as many fragments as `mtu` makes necessary. `payload` is what
 * follows the IPv4 header, checksum and all.
 */
export function* framesOf(
  link: Link,
  header: Ipv4Header,
  payload: Uint8Array,
  { mtu, identification }: { readonly mtu: number; readonly identification: number },
): Generator<Uint8Array, void, undefined> {
  if (IPV4_BYTES + payload.length <= mtu) {
    const frame = makeFrame(link, header, payload.length);
    frame.set(payload, PAYLOAD_START);
    yield frame;
    return;
  }
  const step = Math.floor((mtu - IPV4_BYTES) / FRAGMENT_UNIT_BYTES) * FRAGMENT_UNIT_BYTES;
  for (let offset = 0; offset < payload.length; offset += step) {
    const part = payload.subarray(offset, offset + step);
    const more = offset + step < payload.length ? IPV4_FLAG.MoreFragments : 0;
    const flags = more | (offset / FRAGMENT_UNIT_BYTES);
    const frame = makeFrame(link, header, part.length, { identification, flags });
    frame.set(part, PAYLOAD_START);
    yield frame;
  }
}
