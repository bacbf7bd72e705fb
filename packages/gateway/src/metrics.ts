/** What a gateway counts. Plain data; numbers only grow, but for those under `now`. */

/** Why a frame, datagram or connection was not passed on. */
export type DropReason = (typeof DROP_REASONS)[number];

/** Every reason, in the order in which `metrics` lists them. */
export const DROP_REASONS = [
  /** Shorter than its headers, longer than the seam allows, or lengths that contradict. */
  "malformed",
  /** A checksum that does not add up. */
  "checksum",
  /** Not for us: another Ethernet type, address, IP version or protocol. */
  "not-for-us",
  /** From an address that is not the guest's. */
  "source",
  /** A fragment that overlaps, is too late, or one of too many. */
  "fragment",
  /** The VM's policy forbids it. */
  "policy",
  "connection-limit",
  "half-open-limit",
  "rate-limit",
  "udp-flow-limit",
  "dns-limit",
  /** Buffers of all connections together are full. */
  "buffer-limit",
  /** A segment of a connection that nobody knows: answered with RST. */
  "unknown-flow",
  /** A datagram from a peer that the guest has not spoken to. */
  "unknown-peer",
  /** A TCP segment outside the window or with impossible numbers. */
  "segment",
  /** An answer that is none: malformed DNS or DHCP. */
  "bad-message",
  /** A frame for the guest while its cable is out. */
  "unplugged",
  /** The host could not send or connect. */
  "host-error",
] as const;

/** Sums since the gateway began. */
export interface Counters {
  framesFromGuest: number;
  framesToGuest: number;
  bytesFromGuest: number;
  bytesToGuest: number;
  /** TCP connections that the guest opened, that came through a forward, and that failed. */
  tcpOpenedOut: number;
  tcpOpenedIn: number;
  tcpFailed: number;
  /** Payload bytes of TCP, first transmissions only. */
  tcpBytesFromGuest: number;
  tcpBytesToGuest: number;
  tcpRetransmits: number;
  tcpFastRetransmits: number;
  tcpTimeouts: number;
  tcpResetsSent: number;
  udpFlowsOpened: number;
  udpDatagramsFromGuest: number;
  udpDatagramsToGuest: number;
  dnsQueries: number;
  dnsFailures: number;
}

/** What `Gateway.metrics` gives. */
export interface GatewayMetrics extends Readonly<Counters> {
  readonly drops: Readonly<Record<DropReason, number>>;
  readonly now: {
    readonly plugged: boolean;
    readonly tcpConnections: number;
    readonly tcpHalfOpen: number;
    readonly udpFlows: number;
    /** Bytes that wait in buffers, both ways. */
    readonly bufferedBytes: number;
  };
}

/** The counters of one gateway. */
export class Metrics {
  readonly counters: Counters = {
    framesFromGuest: 0,
    framesToGuest: 0,
    bytesFromGuest: 0,
    bytesToGuest: 0,
    tcpOpenedOut: 0,
    tcpOpenedIn: 0,
    tcpFailed: 0,
    tcpBytesFromGuest: 0,
    tcpBytesToGuest: 0,
    tcpRetransmits: 0,
    tcpFastRetransmits: 0,
    tcpTimeouts: 0,
    tcpResetsSent: 0,
    udpFlowsOpened: 0,
    udpDatagramsFromGuest: 0,
    udpDatagramsToGuest: 0,
    dnsQueries: 0,
    dnsFailures: 0,
  };
  readonly #drops = new Map<DropReason, number>(DROP_REASONS.map((reason) => [reason, 0]));

  drop(reason: DropReason): void {
    this.#drops.set(reason, this.dropsOf(reason) + 1);
  }

  dropsOf(reason: DropReason): number {
    return this.#drops.get(reason) ?? 0;
  }

  report(now: GatewayMetrics["now"]): GatewayMetrics {
    const drops: Partial<Record<DropReason, number>> = {};
    for (const reason of DROP_REASONS) drops[reason] = this.dropsOf(reason);
    return { ...this.counters, drops: drops as Record<DropReason, number>, now };
  }
}
