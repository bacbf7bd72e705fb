/**
 * What passes between the core and whoever has the sockets. A TCP socket has a number: even ones
 * are given by the core with `tcp-connect`, odd ones by the driver with `tcp-accepted`. A number is
 * not used again. After `tcp-reset`, `tcp-failed` and `tcp-lost`, and once both `tcp-end` and
 * `tcp-ended` have passed, the socket is forgotten by both sides.
 */

/** A UDP socket of the host, by who wants it. */
export type UdpSocketId =
  /** For the datagrams that the guest sends from this port. */
  | { readonly kind: "guest-port"; readonly port: number }
  /** The listener of a forward. */
  | { readonly kind: "forward"; readonly id: number }
  /** For queries to this resolver: an index into the configuration's list. */
  | { readonly kind: "resolver"; readonly index: number };

/** To the guest's cable and to the host's sockets, in order. */
export type GatewayOutput =
  /** The frame is the receiver's. */
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  | {
      readonly kind: "tcp-connect";
      readonly socket: number;
      readonly host: string;
      readonly port: number;
    }
  /** Answered by `tcp-sent` once the host has taken the bytes; they will not change. */
  | { readonly kind: "tcp-send"; readonly socket: number; readonly bytes: Uint8Array }
  /** No more comes from the guest. */
  | { readonly kind: "tcp-end"; readonly socket: number }
  | { readonly kind: "tcp-reset"; readonly socket: number }
  /** Whether the core can take more of what the host sends. */
  | { readonly kind: "tcp-read"; readonly socket: number; readonly on: boolean }
  | {
      readonly kind: "udp-send";
      readonly socket: UdpSocketId;
      readonly host: string;
      readonly port: number;
      readonly bytes: Uint8Array;
    }
  /** Not needed any more; it is opened again by the next `udp-send`. */
  | { readonly kind: "udp-close"; readonly socket: UdpSocketId }
  /** A flow is over: what a tunnel to this gateway is told. */
  | { readonly kind: "flow-ended"; readonly flow: Flow };

/** From the host's sockets. */
export type SocketEvent =
  | { readonly kind: "tcp-connected"; readonly socket: number }
  | { readonly kind: "tcp-failed"; readonly socket: number }
  /** A peer has connected to a forward. */
  | {
      readonly kind: "tcp-accepted";
      readonly socket: number;
      readonly forward: number;
      readonly peer: PeerAddress;
    }
  /** The bytes are the core's until the call returns. */
  | { readonly kind: "tcp-data"; readonly socket: number; readonly bytes: Uint8Array }
  | { readonly kind: "tcp-sent"; readonly socket: number; readonly bytes: number }
  /** The peer sends no more. */
  | { readonly kind: "tcp-ended"; readonly socket: number }
  /** Reset by the peer, or broken. */
  | { readonly kind: "tcp-lost"; readonly socket: number }
  | {
      readonly kind: "udp-data";
      readonly socket: UdpSocketId;
      readonly peer: PeerAddress;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "udp-failed"; readonly socket: UdpSocketId };

/** Where a datagram or connection came from; `host` is the text of an IPv4 or IPv6 address. */
export interface PeerAddress {
  readonly host: string;
  readonly port: number;
}

/** A flow as the guest sees it. Plain data: it moves with the VM. */
export interface Flow {
  readonly protocol: "tcp" | "udp";
  readonly guestPort: number;
  /** Dotted IPv4 address. */
  readonly remoteAddress: string;
  readonly remotePort: number;
}
