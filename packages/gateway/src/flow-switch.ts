/**
 * After a move a guest has two or more edges with the same addresses: the gateway beside it, and
 * those that own flows from before. This says to which of them a frame of the guest's belongs.
 */
import { formatAddress } from "./address.ts";
import { get16 } from "./bytes.ts";
import { emptyPacket, isFragment, parseIpv4 } from "./ipv4.ts";
import type { Flow } from "./socket-events.ts";
import { ETHER_TYPE, ETHERNET_BYTES, MAC_BYTES, PROTOCOL } from "./wire.ts";

/** Fragmented datagrams whose way is remembered; later parts of others go to the gateway here. */
const MAX_FRAGMENTED = 64;

/** `Tunnel` is whatever leads to another gateway. */
export class FlowSwitch<Tunnel> {
  readonly #owners = new Map<string, { readonly tunnel: Tunnel; readonly flow: Flow }>();
  readonly #packet = emptyPacket();
  /** By identification and protocol, oldest first. */
  readonly #fragmented = new Map<number, Tunnel>();

  /** Flows that are not over. */
  get flowCount(): number {
    return this.#owners.size;
  }

  /** Those of one tunnel, or of all. */
  flows(tunnel?: Tunnel): Flow[] {
    const owned = [...this.#owners.values()];
    return owned.filter((o) => tunnel === undefined || o.tunnel === tunnel).map(({ flow }) => flow);
  }

  /** From now on the gateway behind `tunnel` has these flows. */
  add(tunnel: Tunnel, flows: Iterable<Flow>): void {
    for (const flow of flows) this.#owners.set(nameOf(flow), { tunnel, flow });
  }

  /** The tunnel for a frame of the guest's; undefined: the gateway here. */
  route(frame: Uint8Array): Tunnel | undefined {
    if (this.#owners.size === 0 || frame.length < ETHERNET_BYTES) return undefined;
    if (get16(frame, 2 * MAC_BYTES) !== ETHER_TYPE.Ipv4) return undefined;
    const packet = this.#packet;
    if (parseIpv4(frame, packet) !== undefined) return undefined;
    const fragmentKey = (packet.identification << 8) | packet.protocol;
    if (packet.offset > 0) return this.#fragmented.get(fragmentKey);
    const { start, end, protocol, target } = packet;
    if (end - start < 4 || (protocol !== PROTOCOL.Tcp && protocol !== PROTOCOL.Udp)) {
      return undefined;
    }
    const owner = this.#owners.get(
      nameOf({
        protocol: protocol === PROTOCOL.Tcp ? "tcp" : "udp",
        guestPort: get16(frame, start),
        remoteAddress: formatAddress(target),
        remotePort: get16(frame, start + 2),
      }),
    );
    if (owner !== undefined && isFragment(packet)) this.#remember(fragmentKey, owner.tunnel);
    return owner?.tunnel;
  }

  /** The gateway that owned the flow says that it is over; whether it was its to say. */
  flowEnded(tunnel: Tunnel, flow: Flow): boolean {
    const isOwner = this.#owners.get(nameOf(flow))?.tunnel === tunnel;
    if (isOwner) this.#owners.delete(nameOf(flow));
    return isOwner;
  }

  /** The tunnel is no more: its flows go to the gateway here, which answers with RST. */
  remove(tunnel: Tunnel): void {
    for (const [name, o] of this.#owners) if (o.tunnel === tunnel) this.#owners.delete(name);
    for (const [key, owner] of this.#fragmented) if (owner === tunnel) this.#fragmented.delete(key);
  }

  #remember(key: number, tunnel: Tunnel): void {
    this.#fragmented.delete(key);
    this.#fragmented.set(key, tunnel);
    if (this.#fragmented.size <= MAX_FRAGMENTED) return;
    const [oldest] = this.#fragmented.keys();
    if (oldest !== undefined) this.#fragmented.delete(oldest);
  }
}

function nameOf({ protocol, guestPort, remoteAddress, remotePort }: Flow): string {
  return `${protocol} ${guestPort} ${remoteAddress} ${remotePort}`;
}
