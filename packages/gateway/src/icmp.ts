/** ICMP (RFC 792): echo to the gateway's addresses, and errors to the guest. */
import { finishSum, sumBytes, sumIsRight } from "@dejavm/base";
import { put16 } from "./bytes.ts";
import type { Ipv4Packet, Packet } from "./ipv4.ts";
import type { DropReason } from "./metrics.ts";
import { ICMP, ICMP_BYTES, type UNREACHABLE } from "./wire.ts";

/** How much of a datagram comes back with an error about it. */
const QUOTED_BYTES = 8;

/** The ICMP message that answers an echo request, or why there is none. */
export function answerEcho(packet: Packet): Uint8Array | DropReason {
  const { bytes, start, end } = packet;
  if (end - start < ICMP_BYTES) return "malformed";
  if (!sumIsRight(sumBytes(bytes, start, end))) return "checksum";
  if (bytes[start] !== ICMP.Echo) return "not-for-us";
  const reply = bytes.slice(start, end);
  reply[0] = ICMP.EchoReply;
  return withChecksum(reply);
}

/** The ICMP message that says why `packet` went nowhere. */
export function unreachable(
  packet: Ipv4Packet,
  code: (typeof UNREACHABLE)[keyof typeof UNREACHABLE],
): Uint8Array {
  const quotedEnd = Math.min(packet.end, packet.start + QUOTED_BYTES);
  const quoted = packet.bytes.subarray(packet.header, quotedEnd);
  const message = new Uint8Array(ICMP_BYTES + quoted.length);
  message[0] = ICMP.Unreachable;
  message[1] = code;
  message.set(quoted, ICMP_BYTES);
  return withChecksum(message);
}

function withChecksum(message: Uint8Array): Uint8Array {
  put16(message, 2, 0);
  put16(message, 2, finishSum(sumBytes(message, 0, message.length)));
  return message;
}
