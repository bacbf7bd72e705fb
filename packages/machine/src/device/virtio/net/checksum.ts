/** Checksums of frames, done for the guest: IPv4 with TCP or UDP (RFC 791, 768, 9293). */
import { finishSum, pseudoSum, sumBytes, sumIsRight } from "@dejavm/base";

const IPV4_AT = 14;
const IPV4_MIN_BYTES = 20;
const ETHER_TYPE_IPV4 = 0x0800;
const PROTOCOL = { Tcp: 6, Udp: 17 } as const;
/** Where a UDP header has its checksum; 0 there means that there is none. */
const UDP_CHECKSUM_AT = 6;
/** More fragments, or an offset. */
const FRAGMENT_MASK = 0x3fff;

/**
 * Finishes the checksum at `start` + `offset`, where the driver left the sum of the pseudo-header:
 * over all bytes from `start` on. False if the place lies outside the frame.
 */
export function completeChecksum(frame: Uint8Array, start: number, offset: number): boolean {
  const at = start + offset;
  if (at + 2 > frame.length) return false;
  // 0 would mean "none" in UDP; both forms of zero are the same number.
  const sum = finishSum(sumBytes(frame, start, frame.length)) || 0xffff;
  frame[at] = sum >>> 8;
  frame[at + 1] = sum;
  return true;
}

/** Whether the frame is a whole TCP or UDP packet with a checksum, and that is right. */
export function checksumIsRight(frame: Uint8Array): boolean {
  if (frame.length < IPV4_AT + IPV4_MIN_BYTES) return false;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const first = view.getUint8(IPV4_AT);
  if (view.getUint16(IPV4_AT - 2) !== ETHER_TYPE_IPV4 || first >>> 4 !== 4) return false;
  const start = IPV4_AT + (first & 15) * 4;
  const end = IPV4_AT + view.getUint16(IPV4_AT + 2);
  const fragment = (view.getUint16(IPV4_AT + 6) & FRAGMENT_MASK) !== 0;
  const protocol = view.getUint8(IPV4_AT + 9);
  if (fragment || start < IPV4_AT + IPV4_MIN_BYTES || end > frame.length) return false;
  if (end < start + UDP_CHECKSUM_AT + 2) return false;
  if (protocol === PROTOCOL.Udp && view.getUint16(start + UDP_CHECKSUM_AT) === 0) return false;
  if (protocol !== PROTOCOL.Tcp && protocol !== PROTOCOL.Udp) return false;
  const ends = { source: view.getUint32(IPV4_AT + 12), target: view.getUint32(IPV4_AT + 16) };
  return sumIsRight(sumBytes(frame, start, end, pseudoSum(ends, protocol, end - start)));
}
