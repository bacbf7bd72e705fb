/** A DHCP server (RFC 2131, RFC 2132) for one guest with one address. */
import { get32, put32 } from "./bytes.ts";
import type { DropReason } from "./metrics.ts";
import { NETWORK } from "./policy.ts";
import { MAC_BYTES } from "./wire.ts";

const FIXED_BYTES = 236;
const MAGIC = 0x6382_5363;
const MIN_REPLY_BYTES = 300;
/** Offsets in the fixed part. */
const FIELD = {
  Operation: 0,
  HardwareType: 1,
  Transaction: 4,
  Flags: 10,
  ClientAddress: 12,
  YourAddress: 16,
  ServerAddress: 20,
  ClientHardware: 28,
} as const;
const CLIENT_HARDWARE_BYTES = 16;
const OPERATION = { Request: 1, Reply: 2 } as const;
const MESSAGE = { Discover: 1, Offer: 2, Request: 3, Ack: 5, Nak: 6, Inform: 8 } as const;
const OPTION = {
  Pad: 0,
  Netmask: 1,
  Router: 3,
  Dns: 6,
  Mtu: 26,
  RequestedAddress: 50,
  LeaseSeconds: 51,
  MessageType: 53,
  Server: 54,
  End: 255,
} as const;
/** 255.255.255.255: the client has no address yet. */
const EVERYBODY = 0xffff_ffff;
const LEASE_SECONDS = 86_400;
/** What a client has without being told. */
const USUAL_MTU = 1500;

/** A reply and where it goes. */
export interface DhcpReply {
  readonly payload: Uint8Array;
  readonly target: number;
}

/** Answers the UDP payload of a client; gives why there is no answer, if so. */
export function answerDhcp(request: Uint8Array, mtu: number): DhcpReply | DropReason {
  if (request.length < FIXED_BYTES + 4 || get32(request, FIXED_BYTES) !== MAGIC) {
    return "bad-message";
  }
  const ethernet =
    request[FIELD.HardwareType] === 1 && request[FIELD.HardwareType + 1] === MAC_BYTES;
  if (request[FIELD.Operation] !== OPERATION.Request || !ethernet) return "bad-message";
  const options = readOptions(request.subarray(FIXED_BYTES + 4));
  if (options === undefined) return "bad-message";
  const clientAddress = get32(request, FIELD.ClientAddress);
  switch (options.get(OPTION.MessageType)?.[0]) {
    case MESSAGE.Discover:
      return reply(request, MESSAGE.Offer, mtu);
    case MESSAGE.Request: {
      const server = options.get(OPTION.Server);
      // The client has chosen another server.
      if (server !== undefined && get32(server, 0) !== NETWORK.gateway) return "not-for-us";
      const requested = options.get(OPTION.RequestedAddress);
      const wanted = requested === undefined ? clientAddress : get32(requested, 0);
      return reply(request, wanted === NETWORK.guest ? MESSAGE.Ack : MESSAGE.Nak, mtu);
    }
    case MESSAGE.Inform:
      return reply(request, MESSAGE.Ack, mtu, clientAddress);
    default:
      return "not-for-us";
  }
}

/** By code; undefined where an option runs past the end. */
function readOptions(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> | undefined {
  const options = new Map<number, Uint8Array>();
  let at = 0;
  while (at < bytes.length) {
    const code = bytes[at++] ?? OPTION.End;
    if (code === OPTION.End) break;
    if (code === OPTION.Pad) continue;
    const length = bytes[at++];
    if (length === undefined || at + length > bytes.length) return undefined;
    options.set(code, bytes.subarray(at, at + length));
    at += length;
  }
  return options;
}

/** `informed`: the address of a client that wants no lease. */
function reply(
  request: Uint8Array,
  type: (typeof MESSAGE)[keyof typeof MESSAGE],
  mtu: number,
  informed?: number,
): DhcpReply {
  const payload = new Uint8Array(MIN_REPLY_BYTES);
  payload.set(request.subarray(0, FIELD.Flags + 2));
  payload[FIELD.Operation] = OPERATION.Reply;
  // Seconds and hops are the client's own.
  payload.fill(0, FIELD.Transaction + 4, FIELD.Flags);
  const hardware = FIELD.ClientHardware;
  payload.set(request.subarray(hardware, hardware + CLIENT_HARDWARE_BYTES), hardware);
  put32(payload, FIELD.ServerAddress, NETWORK.gateway);
  put32(payload, FIXED_BYTES, MAGIC);
  const options: number[] = [OPTION.MessageType, 1, type];
  options.push(OPTION.Server, 4, ...bytes4(NETWORK.gateway));
  if (type !== MESSAGE.Nak) {
    options.push(OPTION.Netmask, 4, ...bytes4(NETWORK.netmask));
    options.push(OPTION.Router, 4, ...bytes4(NETWORK.gateway));
    options.push(OPTION.Dns, 4, ...bytes4(NETWORK.dns));
    if (mtu !== USUAL_MTU) options.push(OPTION.Mtu, 2, mtu >>> 8, mtu & 255);
    if (informed === undefined) {
      put32(payload, FIELD.YourAddress, NETWORK.guest);
      options.push(OPTION.LeaseSeconds, 4, ...bytes4(LEASE_SECONDS));
    }
  }
  payload.set([...options, OPTION.End], FIXED_BYTES + 4);
  return { payload, target: informed ?? EVERYBODY };
}

function bytes4(value: number): number[] {
  const bytes = new Uint8Array(4);
  put32(bytes, 0, value);
  return [...bytes];
}
