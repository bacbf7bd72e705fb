/**
 * Messages between a flow switch and a gateway that owns flows from before a move. The carrier
 * keeps messages whole and in order; numbers are big-endian.
 *
 *     frame      | 1 | Ethernet frame, 14 .. 65,550 bytes |
 *     flows      | 2 | n times: flow |
 *     flow-ended | 3 | flow |
 *     bye        | 4 |
 *     flow       | protocol u8 | guest port u16 | remote address u32 | remote port u16 |
 */
import { address, formatAddress } from "./address.ts";
import { get16, get32, put16, put32 } from "./bytes.ts";
import { gatewayError } from "./errors.ts";
import { MAX_FRAME_BYTES } from "./gateway-core.ts";
import type { Flow } from "./socket-events.ts";
import { ETHERNET_BYTES, PROTOCOL } from "./wire.ts";

/** What a tunnel carries. */
export type TunnelMessage =
  /** Either way. */
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  /** To the switch, first of all: the flows that the gateway has. */
  | { readonly kind: "flows"; readonly flows: readonly Flow[] }
  | { readonly kind: "flow-ended"; readonly flow: Flow }
  /** Either way: nothing more comes. */
  | { readonly kind: "bye" };

const TYPE = { Frame: 1, Flows: 2, FlowEnded: 3, Bye: 4 } as const;
const FLOW_BYTES = 9;
/** More flows than a gateway's limits allow, by far. */
const MAX_FLOWS = 65_536;

/** The bytes of a message. */
export function encodeTunnelMessage(message: TunnelMessage): Uint8Array {
  switch (message.kind) {
    case "frame": {
      const bytes = new Uint8Array(1 + message.bytes.length);
      bytes[0] = TYPE.Frame;
      bytes.set(message.bytes, 1);
      return bytes;
    }
    case "flows":
      return encodeFlows(TYPE.Flows, message.flows);
    case "flow-ended":
      return encodeFlows(TYPE.FlowEnded, [message.flow]);
    case "bye":
      return Uint8Array.of(TYPE.Bye);
  }
}

/** A frame is a view of `bytes`. Throws E_NET_TUNNEL at anything that is no message. */
export function decodeTunnelMessage(bytes: Uint8Array): TunnelMessage {
  const body = bytes.subarray(1);
  const count = body.length / FLOW_BYTES;
  switch (bytes[0]) {
    case TYPE.Frame:
      if (body.length < ETHERNET_BYTES || body.length > MAX_FRAME_BYTES) break;
      return { kind: "frame", bytes: body };
    case TYPE.Flows:
      if (!Number.isInteger(count) || count > MAX_FLOWS) break;
      return { kind: "flows", flows: Array.from({ length: count }, (_, i) => flowAt(body, i)) };
    case TYPE.FlowEnded:
      if (count !== 1) break;
      return { kind: "flow-ended", flow: flowAt(body, 0) };
    case TYPE.Bye:
      if (body.length > 0) break;
      return { kind: "bye" };
    default:
  }
  throw notAMessage(`type ${bytes[0] ?? "none"} with ${body.length} bytes`);
}

function encodeFlows(type: number, flows: readonly Flow[]): Uint8Array {
  const bytes = new Uint8Array(1 + flows.length * FLOW_BYTES);
  bytes[0] = type;
  for (const [index, flow] of flows.entries()) {
    const at = 1 + index * FLOW_BYTES;
    bytes[at] = flow.protocol === "tcp" ? PROTOCOL.Tcp : PROTOCOL.Udp;
    put16(bytes, at + 1, flow.guestPort);
    put32(bytes, at + 3, address(flow.remoteAddress));
    put16(bytes, at + 7, flow.remotePort);
  }
  return bytes;
}

function flowAt(body: Uint8Array, index: number): Flow {
  const at = index * FLOW_BYTES;
  const protocol = body[at];
  if (protocol !== PROTOCOL.Tcp && protocol !== PROTOCOL.Udp) {
    throw notAMessage(`a flow of protocol ${protocol}`);
  }
  return {
    protocol: protocol === PROTOCOL.Tcp ? "tcp" : "udp",
    guestPort: get16(body, at + 1),
    remoteAddress: formatAddress(get32(body, at + 3)),
    remotePort: get16(body, at + 7),
  };
}

function notAMessage(what: string): Error {
  return gatewayError(
    "E_NET_TUNNEL",
    `cannot read a message of a flow tunnel: ${what}`,
    "use the same version of Déjà VM on both hosts",
  );
}
