/** All TCP connections of a guest: finds them, opens them within policy and limits, times them. */
import { formatAddress, parseAddress } from "../address.ts";
import { Deadlines } from "../deadlines.ts";
import type { Environment } from "../environment.ts";
import { FlowTable } from "../flow-table.ts";
import type { PortForward } from "../forwards.ts";
import type { Packet } from "../ipv4.ts";
import { HOST_LOOPBACK, NETWORK } from "../policy.ts";
import type { Flow, PeerAddress, SocketEvent } from "../socket-events.ts";
import { IPV4_BYTES, PORT } from "../wire.ts";
import { TcpConnection, type TcpEnds, type TcpEnvironment } from "./connection.ts";
import { emptySegment, parseSegment, resetFor, type Segment } from "./segment.ts";
import { FLAG, TCP_BYTES } from "./wire.ts";

/** Ports of the gateway from which peers of forwards seem to come. */
const FIRST_ALIAS_PORT = 1024;
const ALIAS_PORTS = 65_536 - FIRST_ALIAS_PORT;
/** The initial sequence number grows by this much per ms (RFC 9293, section 3.4.1). */
const SEQUENCE_PER_MS = 250;

/** Events of `SocketEvent` that are about TCP. */
export type TcpSocketEvent = Extract<SocketEvent, { kind: `tcp-${string}` }>;

/** See the head of this file. */
export class TcpLayer {
  readonly #env: Environment;
  readonly #connections: TcpEnvironment;
  readonly #flows = new FlowTable<TcpConnection>();
  readonly #sockets = new Map<number, TcpConnection>();
  readonly #halfOpen = new Set<TcpConnection>();
  readonly #deadlines = new Deadlines<TcpConnection>();
  readonly #segment = emptySegment();
  readonly #seed: number;
  #dirty: TcpConnection[] = [];
  #bufferedBytes = 0;
  #lastSocket = 0;
  #lastAlias: number;

  /** `seed`: any 32 bits; makes sequence numbers and ports. */
  constructor(env: Environment, seed: number) {
    this.#env = env;
    this.#seed = seed;
    this.#lastAlias = (seed >>> 0) % ALIAS_PORTS;
    this.#connections = {
      link: env.link,
      metrics: env.metrics,
      mss: env.mtu - IPV4_BYTES - TCP_BYTES,
      emit: env.emit,
      onClosed: (connection) => this.#closed(connection),
      onOpen: (connection) => this.#opened(connection),
      onBuffered: (bytes) => {
        this.#bufferedBytes += bytes;
      },
      scarce: () => this.#bufferedBytes > env.limits.bufferBytes,
    };
  }

  get connectionCount(): number {
    return this.#flows.size;
  }

  get halfOpenCount(): number {
    return this.#halfOpen.size;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  get deadline(): number {
    return this.#deadlines.next;
  }

  *openFlows(): Generator<Flow, void, undefined> {
    for (const { ends } of this.#flows.values()) yield flowOf(ends);
  }

  /** A TCP packet of the guest's. */
  handlePacket(packet: Packet, now: number): void {
    const segment = this.#segment;
    const problem = parseSegment(packet, segment);
    if (problem !== undefined) {
      this.#env.metrics.drop(problem);
      return;
    }
    const found = this.#flows.get(segment.sourcePort, packet.target, segment.targetPort);
    if (found !== undefined && !(isSyn(segment) && found.makesWayFor(segment))) {
      found.handleSegment(segment, now);
      this.#touch(found);
      return;
    }
    found?.abort();
    if (isSyn(segment)) this.#open(packet, segment, now);
    else if ((segment.flags & FLAG.Rst) === 0) {
      this.#env.metrics.drop("unknown-flow");
      this.#refuse(packet, segment);
    }
  }

  handleSocketEvent(event: TcpSocketEvent, forward: PortForward | undefined, now: number): void {
    if (event.kind === "tcp-accepted") {
      this.#accept(event.socket, event.peer, forward, now);
      return;
    }
    const connection = this.#sockets.get(event.socket);
    if (connection === undefined) return;
    switch (event.kind) {
      case "tcp-connected":
        connection.hostConnected();
        break;
      case "tcp-failed":
        connection.hostFailed();
        break;
      case "tcp-data":
        connection.hostData(event.bytes);
        break;
      case "tcp-sent":
        connection.hostTook(event.bytes);
        break;
      case "tcp-ended":
        connection.hostEnded();
        break;
      case "tcp-lost":
        connection.hostLost();
        break;
    }
    this.#touch(connection);
  }

  handleDeadlines(now: number): void {
    for (;;) {
      const due = this.#deadlines.take(now);
      if (due === undefined) return;
      due.handleDeadline(now);
      this.#touch(due);
    }
  }

  /** Lets every connection that something happened to send what it can. */
  flush(now: number): void {
    if (this.#dirty.length === 0) return;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const connection of dirty) {
      connection.dirty = false;
      connection.flush(now);
      if (connection.state !== "closed") this.#deadlines.update(connection);
    }
  }

  replugged(): void {
    for (const connection of this.#flows.values()) {
      connection.replugged();
      this.#touch(connection);
    }
  }

  /** Resets every connection, both sides. */
  abortAll(): void {
    for (const connection of Array.from(this.#flows.values())) connection.abort();
  }

  #touch(connection: TcpConnection): void {
    if (connection.dirty) return;
    connection.dirty = true;
    this.#dirty.push(connection);
  }

  #open(packet: Packet, syn: Segment, now: number): void {
    const { metrics } = this.#env;
    const ends: TcpEnds = {
      guestAddress: packet.source,
      guestPort: syn.sourcePort,
      remoteAddress: packet.target,
      remotePort: syn.targetPort,
    };
    const where = this.#whereTo(ends);
    if (where === undefined) {
      metrics.drop("policy");
      this.#refuse(packet, syn);
      return;
    }
    // The guest tries again: a limit is no refusal.
    if (!this.#mayOpen(now)) return;
    const socket = (this.#lastSocket += 2);
    const iss = this.#firstSequence(ends, now);
    this.#add(new TcpConnection(this.#connections, { ends, socket, iss }, syn));
    metrics.counters.tcpOpenedOut++;
    this.#env.emit({ kind: "tcp-connect", socket, ...where });
  }

  /** Where the host connects to for the guest; undefined where it may not. */
  #whereTo(ends: TcpEnds): PeerAddress | undefined {
    const { remoteAddress, remotePort: port } = ends;
    const attempt = { direction: "out", protocol: "tcp", address: remoteAddress, port } as const;
    if (this.#env.retired() || !this.#env.policy().allows(attempt)) return undefined;
    if (remoteAddress === NETWORK.gateway) return { host: HOST_LOOPBACK, port };
    if (remoteAddress === NETWORK.dns && port === PORT.Dns) return this.#env.resolvers[0];
    return { host: formatAddress(remoteAddress), port };
  }

  #mayOpen(now: number): boolean {
    const { limits, metrics, newFlows } = this.#env;
    if (this.#flows.size >= limits.tcpConnections && !this.#evict()) {
      metrics.drop("connection-limit");
      return false;
    }
    if (this.#halfOpen.size >= limits.tcpHalfOpen) {
      metrics.drop("half-open-limit");
      return false;
    }
    if (this.#bufferedBytes > 2 * limits.bufferBytes) {
      metrics.drop("buffer-limit");
      return false;
    }
    if (newFlows.take(now)) return true;
    metrics.drop("rate-limit");
    return false;
  }

  /** A connection that is only waiting to be forgotten gives its place to a new one. */
  #evict(): boolean {
    for (const connection of this.#flows.values()) {
      if (connection.state !== "time-wait") continue;
      connection.expire();
      return true;
    }
    return false;
  }

  #accept(socket: number, peer: PeerAddress, forward: PortForward | undefined, now: number): void {
    const ends = forward && this.#endsFor(peer, forward);
    if (ends === undefined || !this.#mayOpen(now)) {
      this.#env.emit({ kind: "tcp-reset", socket });
      return;
    }
    const iss = this.#firstSequence(ends, now);
    const connection = new TcpConnection(this.#connections, { ends, socket, iss });
    this.#add(connection);
    this.#env.metrics.counters.tcpOpenedIn++;
    this.#touch(connection);
  }

  #endsFor(peer: PeerAddress, { guestPort }: PortForward): TcpEnds | undefined {
    const attempt = {
      direction: "in",
      protocol: "tcp",
      address: parseAddress(peer.host) ?? 0,
      port: guestPort,
    } as const;
    if (this.#env.retired() || !this.#env.policy().allows(attempt)) {
      this.#env.metrics.drop("policy");
      return undefined;
    }
    const remoteAddress = NETWORK.gateway;
    for (let tries = 0; tries < ALIAS_PORTS; tries++) {
      this.#lastAlias = (this.#lastAlias + 1) % ALIAS_PORTS;
      const remotePort = FIRST_ALIAS_PORT + this.#lastAlias;
      if (this.#flows.get(guestPort, remoteAddress, remotePort) !== undefined) continue;
      return { guestAddress: NETWORK.guest, guestPort, remoteAddress, remotePort };
    }
    this.#env.metrics.drop("connection-limit");
    return undefined;
  }

  #add(connection: TcpConnection): void {
    this.#flows.add(connection.ends, connection);
    this.#sockets.set(connection.socket, connection);
    this.#halfOpen.add(connection);
  }

  #opened(connection: TcpConnection): void {
    this.#halfOpen.delete(connection);
  }

  #closed(connection: TcpConnection): void {
    this.#halfOpen.delete(connection);
    this.#deadlines.remove(connection);
    this.#sockets.delete(connection.socket);
    this.#flows.delete(connection.ends);
    this.#env.emit({ kind: "flow-ended", flow: flowOf(connection.ends) });
  }

  #refuse(packet: Packet, segment: Segment): void {
    this.#env.metrics.counters.tcpResetsSent++;
    this.#env.emit({ kind: "frame", bytes: resetFor(this.#env.link, packet, segment) });
  }

  /** Grows with time and differs from connection to connection (RFC 6528). */
  #firstSequence(ends: TcpEnds, now: number): number {
    let hash = this.#seed;
    for (const part of [ends.guestPort, ends.remotePort, ends.remoteAddress]) {
      hash = Math.imul(hash ^ part, 0x85eb_ca6b);
      hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2_ae35);
      hash ^= hash >>> 13;
    }
    return (hash + Math.floor(now * SEQUENCE_PER_MS)) >>> 0;
  }
}

function isSyn(segment: Segment): boolean {
  return (segment.flags & (FLAG.Syn | FLAG.Ack | FLAG.Rst | FLAG.Fin)) === FLAG.Syn;
}

function flowOf(ends: TcpEnds): Flow {
  return {
    protocol: "tcp",
    guestPort: ends.guestPort,
    remoteAddress: formatAddress(ends.remoteAddress),
    remotePort: ends.remotePort,
  };
}
