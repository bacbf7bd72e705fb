/**
 * Links that other agents open for connections of machines that have come from there. A machine may
 * leave and come back while such links are still open: each stays with the network that it was for.
 */
import type { WebSocket } from "ws";
import type { VmNetwork } from "../vm/vm-network.ts";

/** Where such links are dialled: lineage and migration follow. */
const TUNNEL_PATH = "/v1/tunnel/";

/** The path of one migration's link: what was relayed for it is found again by it. */
export function tunnelPath(lineage: string, migration: string): string {
  return `${TUNNEL_PATH}${lineage}/${migration}`;
}

/** A link may come before its machine. */
const MAX_WAITING = 64;

interface Waiting {
  readonly path: string;
  readonly link: WebSocket;
}

/** What the desk needs of a machine's network. */
type Network = Pick<VmNetwork, "attachTunnel">;

/** Brings each link to the network of its machine, whichever is there first. */
export class TunnelDesk {
  /** Of machines that are here or come, by lineage. */
  readonly #networks = new Map<string, Network>();
  /** Networks that links have been brought to, by the path: a link that broke is dialled again. */
  readonly #attached = new Map<string, Network>();
  /** By lineage. */
  readonly #waiting = new Map<string, Waiting>();

  /** Whether the path is one of these; then the link is taken. */
  accept(path: string, link: WebSocket): boolean {
    if (!path.startsWith(TUNNEL_PATH)) return false;
    const lineage = path.slice(TUNNEL_PATH.length).split("/")[0] ?? "";
    const network = this.#attached.get(path) ?? this.#networks.get(lineage);
    if (network !== undefined) this.#attach(network, { path, link });
    else this.#wait(lineage, { path, link });
    return true;
  }

  /** The machine of that lineage comes, and has its network here. */
  open(lineage: string, network: Network): void {
    this.#networks.set(lineage, network);
    const waiting = this.#waiting.get(lineage);
    if (waiting === undefined) return;
    this.#waiting.delete(lineage);
    this.#attach(network, waiting);
    waiting.link.resume();
  }

  /** The machine has moved on: what comes for it now comes with it, should it be back. */
  departed(lineage: string): void {
    this.#networks.delete(lineage);
  }

  /** That network has no connections any more, or its machine has not come after all. */
  close(lineage: string, network: Network): void {
    if (this.#networks.get(lineage) === network) this.#networks.delete(lineage);
    for (const [path, has] of this.#attached) if (has === network) this.#attached.delete(path);
  }

  #attach(network: Network, { path, link }: Waiting): void {
    this.#attached.set(path, network);
    network.attachTunnel(link);
  }

  #wait(lineage: string, waiting: Waiting): void {
    const { link } = waiting;
    if (this.#waiting.size >= MAX_WAITING) {
      link.terminate();
      return;
    }
    link.pause();
    link.on("close", () => {
      if (this.#waiting.get(lineage) === waiting) this.#waiting.delete(lineage);
    });
    this.#waiting.set(lineage, waiting);
  }
}
