/**
 * The guest's network without any input or output of its own: Ethernet frames on one side, events
 * and commands of the host's sockets on the other. Time is an argument, in ms, and never goes back.
 *
 * `handleFrame`, `handleSocketEvent` and `handleDeadline` take things in; after each, `poll` until
 * it gives nothing more. Outputs come in the order in which they arose; what TCP connections send
 * comes last, so that frames taken in together are answered together. `deadline` says when to call
 * next if nothing else happens.
 */
import { assert, Prng, unreachable } from "@dejavm/base";
import { answerArp } from "./arp.ts";
import { get16 } from "./bytes.ts";
import { answerDhcp } from "./dhcp.ts";
import { DnsRelay } from "./dns.ts";
import type { Environment, Resolver } from "./environment.ts";
import type { PortForward } from "./forwards.ts";
import { Fragments } from "./fragments.ts";
import { answerEcho, unreachable as unreachableMessage } from "./icmp.ts";
import {
  emptyPacket,
  framesOf,
  type Ipv4Header,
  type Ipv4Packet,
  isFragment,
  type Link,
  type Packet,
  parseIpv4,
} from "./ipv4.ts";
import { DEFAULT_LIMITS, type GatewayLimits, RateLimit } from "./limits.ts";
import { type DropReason, type GatewayMetrics, Metrics } from "./metrics.ts";
import { NETWORK, Policy, type PolicyRule } from "./policy.ts";
import type { Flow, GatewayOutput, SocketEvent } from "./socket-events.ts";
import { TcpLayer, type TcpSocketEvent } from "./tcp/layer.ts";
import { type Datagram, datagramBytes, parseDatagram, type ToGuest, UdpLayer } from "./udp.ts";
import { ETHER_TYPE, ETHERNET_BYTES, MAC_BYTES, PORT, PROTOCOL, UNREACHABLE } from "./wire.ts";

/** Longest frame of the seam: 65,536 bytes behind an Ethernet header. */
export const MAX_FRAME_BYTES = 65_550;
/** As QEMU's user network has it. */
const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x02);
const BROADCAST_MAC = new Uint8Array(MAC_BYTES).fill(255);
/** Largest packet where nothing else is said. */
const DEFAULT_MTU = 1500;
/** Smallest: what every IPv4 host takes. */
const MIN_MTU = 576;
/** Largest that `makeFrame`'s frames and the seam can carry. */
const MAX_MTU = 65_535;

/** What a core is made from. */
export interface CoreOptions {
  /** 32 bits; sequence numbers, ports and DNS numbers come from it. */
  readonly seed: number;
  readonly resolvers: readonly Resolver[];
  readonly rules?: readonly PolicyRule[];
  readonly limits?: Partial<GatewayLimits>;
  /** Largest IPv4 packet on the cable, told by DHCP; MIN_MTU .. MAX_MTU. */
  readonly mtu?: number;
  /** The guest's card, 6 bytes; learned from its frames where it is not given. */
  readonly guestMac?: Uint8Array;
}

/** See the head of this file. */
export class GatewayCore {
  readonly #metrics = new Metrics();
  readonly #link: Link = { gatewayMac: GATEWAY_MAC, guestMac: BROADCAST_MAC.slice() };
  readonly #mtu: number;
  readonly #env: Environment;
  readonly #fragments = new Fragments();
  readonly #packet = emptyPacket();
  readonly #tcp: TcpLayer;
  readonly #udp: UdpLayer;
  readonly #dns: DnsRelay;
  readonly #forwards = new Map<number, PortForward>();
  #policy: Policy;
  #outputs: GatewayOutput[] = [];
  #taken = 0;
  #plugged = true;
  #retired = false;
  #identification = 0;
  #now = 0;

  /** Throws E_NET_POLICY. */
  constructor(options: CoreOptions) {
    const { seed, resolvers, rules, limits, mtu = DEFAULT_MTU, guestMac } = options;
    if (guestMac !== undefined) this.#link.guestMac.set(guestMac);
    assert(mtu >= MIN_MTU && mtu <= MAX_MTU, `an MTU of ${mtu} bytes`);
    this.#policy = new Policy(rules);
    this.#mtu = mtu;
    const allLimits = { ...DEFAULT_LIMITS, ...limits };
    this.#env = {
      link: this.#link,
      metrics: this.#metrics,
      limits: allLimits,
      resolvers,
      mtu,
      newFlows: new RateLimit(allLimits.newFlowsPerSecond),
      emit: (output) => this.#emit(output),
      policy: () => this.#policy,
      retired: () => this.#retired,
    };
    const prng = new Prng(seed);
    this.#tcp = new TcpLayer(this.#env, prng.u32());
    this.#udp = new UdpLayer(this.#env, (datagram) => this.#sendDatagram(datagram));
    this.#dns = new DnsRelay(this.#env, prng, (guestPort, payload) => {
      this.#sendDatagram({ source: NETWORK.dns, sourcePort: PORT.Dns, guestPort, payload });
    });
  }

  /** When to call `handleDeadline` at the latest, in ms; Infinity: not at all. */
  get deadline(): number {
    if (!this.#plugged) return Math.min(this.#udp.deadline, this.#dns.deadline);
    return Math.min(this.#tcp.deadline, this.#udp.deadline, this.#dns.deadline);
  }

  /** A frame of the guest's; it must not change any more. */
  handleFrame(frame: Uint8Array, now: number): void {
    this.#now = now;
    this.#metrics.counters.framesFromGuest++;
    this.#metrics.counters.bytesFromGuest += frame.length;
    const problem = this.#plugged ? this.#takeFrame(frame) : "unplugged";
    if (problem !== undefined) this.#metrics.drop(problem);
  }

  handleSocketEvent(event: SocketEvent, now: number): void {
    this.#now = now;
    switch (event.kind) {
      case "udp-data":
        this.#takeUdpData(event);
        break;
      case "udp-failed":
        this.#metrics.drop("host-error");
        break;
      default:
        this.#takeTcpEvent(event);
    }
  }

  /** Does what is due. */
  handleDeadline(now: number): void {
    this.#now = now;
    if (this.#plugged) this.#tcp.handleDeadlines(now);
    this.#udp.handleDeadlines(now);
    this.#dns.handleDeadlines(now);
  }

  /** The next output, if there is one now. */
  poll(): GatewayOutput | undefined {
    if (this.#taken === this.#outputs.length) {
      this.#outputs = [];
      this.#taken = 0;
      if (this.#plugged) this.#tcp.flush(this.#now);
    }
    const output = this.#outputs[this.#taken];
    if (output !== undefined) this.#taken++;
    return output;
  }

  /**
   * Takes the cable out or puts it back. Connections of the host stay open meanwhile; TCP towards
   * the guest stands still and goes on where it was.
   */
  setPlugged(plugged: boolean, now: number): void {
    this.#now = now;
    if (plugged && !this.#plugged) this.#tcp.replugged();
    this.#plugged = plugged;
  }

  /** From now on only flows that are open are served: the VM has another gateway. */
  retire(): void {
    this.#retired = true;
  }

  setRules(rules: readonly PolicyRule[]): void {
    this.#policy = new Policy(rules);
  }

  /** A listener of the host belongs to this forward from now on. */
  addForward(id: number, forward: PortForward): void {
    this.#forwards.set(id, forward);
  }

  /** Connections that came through the forward stay. */
  removeForward(id: number): void {
    this.#forwards.delete(id);
    this.#udp.dropForward(id);
  }

  /** Resets all TCP connections, both sides. */
  abortAll(now: number): void {
    this.#now = now;
    this.#tcp.abortAll();
  }

  openFlows(): Flow[] {
    return [...this.#tcp.openFlows(), ...this.#udp.openFlows()];
  }

  metrics(): GatewayMetrics {
    return this.#metrics.report({
      plugged: this.#plugged,
      tcpConnections: this.#tcp.connectionCount,
      tcpHalfOpen: this.#tcp.halfOpenCount,
      udpFlows: this.#udp.flowCount,
      bufferedBytes: this.#tcp.bufferedBytes,
    });
  }

  #emit(output: GatewayOutput): void {
    if (output.kind === "frame") {
      if (!this.#plugged) {
        this.#metrics.drop("unplugged");
        return;
      }
      this.#metrics.counters.framesToGuest++;
      this.#metrics.counters.bytesToGuest += output.bytes.length;
    }
    this.#outputs.push(output);
  }

  #takeTcpEvent(event: TcpSocketEvent): void {
    const id = event.kind === "tcp-accepted" ? event.forward : undefined;
    const forward = id === undefined ? undefined : this.#forwards.get(id);
    this.#tcp.handleSocketEvent(event, forward, this.#now);
  }

  #takeUdpData(event: Extract<SocketEvent, { kind: "udp-data" }>): void {
    const { socket, peer, bytes } = event;
    switch (socket.kind) {
      case "guest-port":
        this.#udp.handleAnswer(socket.port, peer, bytes, this.#now);
        break;
      case "resolver":
        this.#dns.handleAnswer(socket.index, bytes);
        break;
      case "forward": {
        const { id } = socket;
        const forward = this.#forwards.get(id);
        if (forward === undefined) this.#metrics.drop("unknown-peer");
        else this.#udp.handleForwarded({ id, forward }, peer, bytes, this.#now);
        break;
      }
      default:
        unreachable(socket);
    }
  }

  #takeFrame(frame: Uint8Array): DropReason | undefined {
    if (frame.length < ETHERNET_BYTES || frame.length > MAX_FRAME_BYTES) return "malformed";
    if (!isForUs(frame)) return "not-for-us";
    switch (get16(frame, 2 * MAC_BYTES)) {
      case ETHER_TYPE.Arp: {
        if (this.#retired) return "not-for-us";
        const answer = answerArp(frame, this.#link);
        if (typeof answer === "string") return answer;
        this.#learnGuest(frame);
        this.#emit({ kind: "frame", bytes: answer });
        return undefined;
      }
      case ETHER_TYPE.Ipv4:
        return this.#takeIpv4(frame);
      default:
        return "not-for-us";
    }
  }

  #takeIpv4(frame: Uint8Array): DropReason | undefined {
    const packet = this.#packet;
    const problem = parseIpv4(frame, packet);
    if (problem !== undefined) return problem;
    // Before DHCP the guest has no address.
    if (packet.source !== NETWORK.guest && packet.source !== 0) return "source";
    this.#learnGuest(frame);
    if (!isFragment(packet)) return this.#takePacket(packet, packet);
    const result = this.#fragments.add(packet, this.#now);
    switch (result.kind) {
      case "waiting":
        return undefined;
      case "dropped":
        return result.reason;
      case "whole":
        return this.#takePacket(result.packet, packet);
      default:
        return unreachable(result);
    }
  }

  /** `last`: the packet, or the last of its fragments, as it came. */
  #takePacket(packet: Packet, last: Ipv4Packet): DropReason | undefined {
    if (packet.protocol === PROTOCOL.Udp) return this.#takeUdp(packet, last);
    if (packet.source !== NETWORK.guest) return "source";
    switch (packet.protocol) {
      case PROTOCOL.Tcp:
        this.#tcp.handlePacket(packet, this.#now);
        return undefined;
      case PROTOCOL.Icmp: {
        const ours = packet.target === NETWORK.gateway || packet.target === NETWORK.dns;
        if (this.#retired || !ours) return "not-for-us";
        const answer = answerEcho(packet);
        if (typeof answer === "string") return answer;
        this.#sendPacket({ source: packet.target, target: packet.source }, PROTOCOL.Icmp, answer);
        return undefined;
      }
      default:
        return "not-for-us";
    }
  }

  #takeUdp(packet: Packet, last: Ipv4Packet): DropReason | undefined {
    const datagram = parseDatagram(packet);
    if (typeof datagram === "string") return datagram;
    if (datagram.targetPort === PORT.DhcpServer) return this.#takeDhcp(datagram);
    if (packet.source !== NETWORK.guest) return "source";
    const { sourcePort, targetPort, payload } = datagram;
    if (packet.target === NETWORK.dns && targetPort === PORT.Dns && !this.#retired) {
      if (
        !this.#policy.allows({
          direction: "out",
          protocol: "udp",
          address: NETWORK.dns,
          port: PORT.Dns,
        })
      ) {
        return "policy";
      }
      this.#dns.handleQuery(sourcePort, payload, this.#now);
      return undefined;
    }
    if (!this.#udp.handleDatagram(packet.target, datagram, this.#now)) {
      const message = unreachableMessage(last, UNREACHABLE.Prohibited);
      const ends = { source: NETWORK.gateway, target: packet.source };
      this.#sendPacket(ends, PROTOCOL.Icmp, message);
    }
    return undefined;
  }

  #takeDhcp(datagram: Datagram): DropReason | undefined {
    if (this.#retired || datagram.sourcePort !== PORT.DhcpClient) return "not-for-us";
    const answer = answerDhcp(datagram.payload, this.#mtu);
    if (typeof answer === "string") return answer;
    const ends = { source: NETWORK.gateway, target: answer.target };
    const bytes = datagramBytes(ends, {
      sourcePort: PORT.DhcpServer,
      targetPort: PORT.DhcpClient,
      payload: answer.payload,
    });
    this.#sendPacket(ends, PROTOCOL.Udp, bytes);
    return undefined;
  }

  #learnGuest(frame: Uint8Array): void {
    this.#link.guestMac.set(frame.subarray(MAC_BYTES, 2 * MAC_BYTES));
  }

  #sendDatagram({ source, sourcePort, guestPort, payload }: ToGuest): void {
    const ends = { source, target: NETWORK.guest };
    const bytes = datagramBytes(ends, { sourcePort, targetPort: guestPort, payload });
    this.#sendPacket(ends, PROTOCOL.Udp, bytes);
  }

  #sendPacket(
    ends: Pick<Ipv4Header, "source" | "target">,
    protocol: number,
    payload: Uint8Array,
  ): void {
    this.#identification = (this.#identification + 1) & 0xffff;
    // Any guest takes datagrams in parts of the usual size, whatever its card was told.
    const mtu = Math.min(this.#mtu, DEFAULT_MTU);
    const how = { mtu, identification: this.#identification };
    for (const bytes of framesOf(this.#link, { ...ends, protocol }, payload, how)) {
      this.#emit({ kind: "frame", bytes });
    }
  }
}

/** Ours, or to everybody. */
function isForUs(frame: Uint8Array): boolean {
  return startsWith(frame, GATEWAY_MAC) || startsWith(frame, BROADCAST_MAC);
}

function startsWith(frame: Uint8Array, mac: Uint8Array): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (frame[i] !== mac[i]) return false;
  return true;
}
