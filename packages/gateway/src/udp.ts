/**
 * UDP (RFC 768): the guest's datagrams go out through one socket of the host for each of its ports;
 * answers come in only from peers that it has spoken to. Peers of a forward get a port of the
 * gateway each. Flows end when nothing has passed for a while.
 */
import { finishSum, pseudoSum, sumBytes, sumIsRight } from "@dejavm/base";
import { formatAddress, parseAddress } from "./address.ts";
import { get16, put16 } from "./bytes.ts";
import { Deadlines, type Timed } from "./deadlines.ts";
import type { Environment } from "./environment.ts";
import { FlowTable } from "./flow-table.ts";
import type { PortForward } from "./forwards.ts";
import type { Packet } from "./ipv4.ts";
import type { DropReason } from "./metrics.ts";
import { HOST_LOOPBACK, NETWORK } from "./policy.ts";
import type { Flow, PeerAddress, UdpSocketId } from "./socket-events.ts";
import { PROTOCOL, UDP_BYTES } from "./wire.ts";

/** RFC 4787 asks for 2 minutes. */
export const UDP_IDLE_MS = 120_000;

/** A datagram of the guest's; the payload is a view. */
export interface Datagram {
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly payload: Uint8Array;
}

/** Reads the datagram in `packet`, or gives why it must be dropped. */
export function parseDatagram(packet: Packet): Datagram | DropReason {
  const { bytes, start, end } = packet;
  if (end - start < UDP_BYTES) return "malformed";
  const length = get16(bytes, start + 4);
  if (length < UDP_BYTES || length > end - start) return "malformed";
  // 0 stands for "no checksum".
  if (get16(bytes, start + 6) !== 0) {
    const sum = pseudoSum(packet, PROTOCOL.Udp, length);
    if (!sumIsRight(sumBytes(bytes, start, start + length, sum))) return "checksum";
  }
  return {
    sourcePort: get16(bytes, start),
    targetPort: get16(bytes, start + 2),
    payload: bytes.subarray(start + UDP_BYTES, start + length),
  };
}

/** The IPv4 payload of a datagram. */
export function datagramBytes(
  ends: { readonly source: number; readonly target: number },
  { sourcePort, targetPort, payload }: Datagram,
): Uint8Array {
  const bytes = new Uint8Array(UDP_BYTES + payload.length);
  put16(bytes, 0, sourcePort);
  put16(bytes, 2, targetPort);
  put16(bytes, 4, bytes.length);
  bytes.set(payload, UDP_BYTES);
  const sum = sumBytes(bytes, 0, bytes.length, pseudoSum(ends, PROTOCOL.Udp, bytes.length));
  // A sum of 0 is sent as its other form.
  put16(bytes, 6, finishSum(sum) || 0xffff);
  return bytes;
}

class UdpFlow implements Timed {
  readonly guestPort: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
  readonly socket: UdpSocketId;
  readonly peer: PeerAddress;
  deadline = 0;
  wakeAt = 0;
  heapIndex = -1;

  constructor(
    key: {
      readonly guestPort: number;
      readonly remoteAddress: number;
      readonly remotePort: number;
    },
    socket: UdpSocketId,
    peer: PeerAddress,
  ) {
    this.guestPort = key.guestPort;
    this.remoteAddress = key.remoteAddress;
    this.remotePort = key.remotePort;
    this.socket = socket;
    this.peer = peer;
  }
}

/** A datagram on its way to the guest. */
export interface ToGuest {
  readonly source: number;
  readonly sourcePort: number;
  readonly guestPort: number;
  readonly payload: Uint8Array;
}

/** See the head of this file. */
export class UdpLayer {
  readonly #env: Environment;
  readonly #deliver: (datagram: ToGuest) => void;
  readonly #flows = new FlowTable<UdpFlow>();
  /** Flows of forwards, by forward and peer. */
  readonly #forwarded = new Map<string, UdpFlow>();
  /** Flows that use the socket of a guest's port. */
  readonly #users = new Map<number, number>();
  readonly #deadlines = new Deadlines<UdpFlow>();

  constructor(env: Environment, deliver: (datagram: ToGuest) => void) {
    this.#env = env;
    this.#deliver = deliver;
  }

  get flowCount(): number {
    return this.#flows.size;
  }

  get deadline(): number {
    return this.#deadlines.next;
  }

  *openFlows(): Generator<Flow, void, undefined> {
    for (const flow of this.#flows.values()) yield flowOf(flow);
  }

  /** A datagram of the guest's to the outside; false where the policy forbids it. */
  handleDatagram(target: number, datagram: Datagram, now: number): boolean {
    const { sourcePort: guestPort, targetPort: remotePort, payload } = datagram;
    let flow = this.#flows.get(guestPort, target, remotePort);
    if (flow === undefined) {
      const peer = this.#whereTo(target, remotePort);
      if (peer === undefined) {
        this.#env.metrics.drop("policy");
        return false;
      }
      if (!this.#mayOpen(now)) return true;
      const socket = { kind: "guest-port", port: guestPort } as const;
      flow = this.#open({ guestPort, remoteAddress: target, remotePort }, socket, peer);
      this.#users.set(guestPort, (this.#users.get(guestPort) ?? 0) + 1);
    }
    this.#used(flow, now);
    this.#env.metrics.counters.udpDatagramsFromGuest++;
    this.#env.emit({ kind: "udp-send", socket: flow.socket, ...flow.peer, bytes: payload });
    return true;
  }

  /** A datagram that reached the socket of a guest's port. */
  handleAnswer(guestPort: number, peer: PeerAddress, bytes: Uint8Array, now: number): void {
    const from = parseAddress(peer.host) ?? 0;
    const flow =
      this.#flows.get(guestPort, from, peer.port) ??
      (peer.host === HOST_LOOPBACK
        ? this.#flows.get(guestPort, NETWORK.gateway, peer.port)
        : undefined);
    if (flow === undefined) this.#env.metrics.drop("unknown-peer");
    else this.#toGuest(flow, bytes, now);
  }

  /** A datagram that reached the listener of a forward. */
  handleForwarded(
    { id, forward }: { readonly id: number; readonly forward: PortForward },
    peer: PeerAddress,
    bytes: Uint8Array,
    now: number,
  ): void {
    const name = `${id} ${peer.host} ${peer.port}`;
    let flow = this.#forwarded.get(name);
    if (flow === undefined) {
      const { guestPort } = forward;
      const from = parseAddress(peer.host) ?? 0;
      const attempt = { direction: "in", protocol: "udp", address: from, port: guestPort } as const;
      if (this.#env.retired() || !this.#env.policy().allows(attempt)) {
        this.#env.metrics.drop("policy");
        return;
      }
      if (!this.#mayOpen(now)) return;
      const remotePort = this.#freePort(guestPort, peer.port);
      const key = { guestPort, remoteAddress: NETWORK.gateway, remotePort };
      flow = this.#open(key, { kind: "forward", id }, peer);
      this.#forwarded.set(name, flow);
    }
    this.#toGuest(flow, bytes, now);
  }

  handleDeadlines(now: number): void {
    for (;;) {
      const due = this.#deadlines.take(now);
      if (due === undefined) return;
      this.#end(due);
    }
  }

  /** The listener of a forward is gone, and its flows with it. */
  dropForward(id: number): void {
    for (const flow of Array.from(this.#forwarded.values())) {
      if (flow.socket.kind === "forward" && flow.socket.id === id) this.#end(flow);
    }
  }

  #whereTo(address: number, port: number): PeerAddress | undefined {
    const attempt = { direction: "out", protocol: "udp", address, port } as const;
    if (this.#env.retired() || !this.#env.policy().allows(attempt)) return undefined;
    return { host: address === NETWORK.gateway ? HOST_LOOPBACK : formatAddress(address), port };
  }

  #mayOpen(now: number): boolean {
    const { limits, metrics, newFlows } = this.#env;
    if (this.#flows.size >= limits.udpFlows) metrics.drop("udp-flow-limit");
    else if (newFlows.take(now)) return true;
    else metrics.drop("rate-limit");
    return false;
  }

  #open(
    key: {
      readonly guestPort: number;
      readonly remoteAddress: number;
      readonly remotePort: number;
    },
    socket: UdpSocketId,
    peer: PeerAddress,
  ): UdpFlow {
    const flow = new UdpFlow(key, socket, peer);
    this.#flows.add(flow, flow);
    this.#env.metrics.counters.udpFlowsOpened++;
    return flow;
  }

  /** The peer's own port if it can be had. There are more ports than flows. */
  #freePort(guestPort: number, wanted: number): number {
    let port = wanted;
    while (port === 0 || this.#flows.get(guestPort, NETWORK.gateway, port) !== undefined) {
      port = (port + 1) & 0xffff;
    }
    return port;
  }

  #toGuest(flow: UdpFlow, payload: Uint8Array, now: number): void {
    this.#used(flow, now);
    this.#env.metrics.counters.udpDatagramsToGuest++;
    const { remoteAddress: source, remotePort: sourcePort, guestPort } = flow;
    this.#deliver({ source, sourcePort, guestPort, payload });
  }

  #used(flow: UdpFlow, now: number): void {
    flow.deadline = now + UDP_IDLE_MS;
    this.#deadlines.update(flow);
  }

  #end(flow: UdpFlow): void {
    this.#deadlines.remove(flow);
    this.#flows.delete(flow);
    this.#env.emit({ kind: "flow-ended", flow: flowOf(flow) });
    const { socket, peer } = flow;
    if (socket.kind === "forward") {
      this.#forwarded.delete(`${socket.id} ${peer.host} ${peer.port}`);
      return;
    }
    const users = (this.#users.get(flow.guestPort) ?? 1) - 1;
    if (users > 0) {
      this.#users.set(flow.guestPort, users);
      return;
    }
    this.#users.delete(flow.guestPort);
    this.#env.emit({ kind: "udp-close", socket });
  }
}

function flowOf(flow: UdpFlow): Flow {
  return {
    protocol: "udp",
    guestPort: flow.guestPort,
    remoteAddress: formatAddress(flow.remoteAddress),
    remotePort: flow.remotePort,
  };
}
