/** ARP (RFC 826): who has the gateway's addresses. */
import { get16, get32, put16, put32 } from "./bytes.ts";
import type { Link } from "./ipv4.ts";
import type { DropReason } from "./metrics.ts";
import { NETWORK } from "./policy.ts";
import { ARP, ARP_BYTES, ETHER_TYPE, ETHERNET_BYTES, MAC_BYTES, MIN_WIRE_BYTES } from "./wire.ts";

/** The answer to a request, or why there is none. */
export function answerArp(frame: Uint8Array, link: Link): Uint8Array | DropReason {
  const at = ETHERNET_BYTES;
  if (frame.length < at + ARP_BYTES) return "malformed";
  const forEthernet = get16(frame, at) === ARP.Ethernet && get16(frame, at + 2) === ETHER_TYPE.Ipv4;
  const sizes = get16(frame, at + 4) === ((MAC_BYTES << 8) | 4);
  if (!forEthernet || !sizes) return "malformed";
  const target = get32(frame, at + 24);
  const ours = target === NETWORK.gateway || target === NETWORK.dns;
  if (get16(frame, at + 6) !== ARP.Request || !ours) return "not-for-us";
  const reply = new Uint8Array(MIN_WIRE_BYTES);
  const guestMac = frame.subarray(at + 8, at + 8 + MAC_BYTES);
  reply.set(guestMac, 0);
  reply.set(link.gatewayMac, MAC_BYTES);
  put16(reply, 2 * MAC_BYTES, ETHER_TYPE.Arp);
  put16(reply, at, ARP.Ethernet);
  put16(reply, at + 2, ETHER_TYPE.Ipv4);
  put16(reply, at + 4, (MAC_BYTES << 8) | 4);
  put16(reply, at + 6, ARP.Reply);
  reply.set(link.gatewayMac, at + 8);
  put32(reply, at + 14, target);
  reply.set(guestMac, at + 18);
  put32(reply, at + 24, get32(frame, at + 14));
  return reply;
}
