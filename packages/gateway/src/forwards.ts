/** Port forwards: from a port of the host to one of the guest. */
import { isIpv4 } from "./address.ts";
import { gatewayError } from "./errors.ts";

/** Plain data that belongs to the VM and moves with it. */
export interface PortForward {
  readonly protocol: "tcp" | "udp";
  /** Where the host listens; an IPv4 address. */
  readonly hostAddress: string;
  /** 0: any free port, which `Gateway.forwards` then shows. */
  readonly hostPort: number;
  readonly guestPort: number;
}

/** The host's address where none is given: the guest is not shown to the world unasked. */
const DEFAULT_HOST_ADDRESS = "127.0.0.1";
/** Listeners of one VM. */
export const MAX_FORWARDS = 256;

/** `[HOSTIP:]HOSTPORT:GUESTPORT[/tcp|/udp]`; throws E_NET_FORWARD. */
export function parseForward(text: string): PortForward {
  const match = /^(?:([\d.]+):)?(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/.exec(text);
  if (match === null) throw badForward(text);
  const [, hostAddress = DEFAULT_HOST_ADDRESS, hostPort, guestPort, protocol] = match;
  const forward: PortForward = {
    protocol: protocol === "udp" ? "udp" : "tcp",
    hostAddress,
    hostPort: Number(hostPort),
    guestPort: Number(guestPort),
  };
  const { hostPort: host, guestPort: guest } = forward;
  if (!isIpv4(hostAddress) || host > 65_535 || guest < 1 || guest > 65_535) throw badForward(text);
  return forward;
}

/** A forward as `parseForward` takes it. */
export function formatForward(forward: PortForward): string {
  const { protocol, hostAddress, hostPort, guestPort } = forward;
  return `${hostAddress}:${hostPort}:${guestPort}/${protocol}`;
}

function badForward(text: string): Error {
  return gatewayError(
    "E_NET_FORWARD",
    `cannot forward ${JSON.stringify(text)}`,
    "want [HOSTIP:]HOSTPORT:GUESTPORT[/tcp|/udp], such as 6379:6379 or 127.0.0.1:8080:80/tcp",
  );
}
