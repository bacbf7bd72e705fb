/** Links that other agents open for connections of machines that have come from there. */
import type { WebSocket } from "ws";
import type { VmNetwork } from "../vm/vm-network.ts";

/** Where such links are dialled: the lineage follows. */
export const TUNNEL_PATH = "/v1/tunnel/";

/** A link may come before its machine. */
const MAX_WAITING = 64;

/** Brings each link to the network of its machine, whichever is there first. */
export class TunnelDesk {
  readonly #networks = new Map<string, VmNetwork>();
  readonly #waiting = new Map<string, WebSocket>();

  /** A link for the machine of that lineage. */
  accept(lineage: string, link: WebSocket): void {
    const network = this.#networks.get(lineage);
    if (network !== undefined) {
      network.attachTunnel(link);
      return;
    }
    if (this.#waiting.size >= MAX_WAITING) {
      link.terminate();
      return;
    }
    link.pause();
    link.on("close", () => {
      if (this.#waiting.get(lineage) === link) this.#waiting.delete(lineage);
    });
    this.#waiting.set(lineage, link);
  }

  /** The machine of that lineage has its network here. */
  open(lineage: string, network: VmNetwork): void {
    this.#networks.set(lineage, network);
    const link = this.#waiting.get(lineage);
    if (link === undefined) return;
    this.#waiting.delete(lineage);
    network.attachTunnel(link);
    link.resume();
  }

  /** That network has no connections any more; the machine may be back with another one. */
  close(lineage: string, network: VmNetwork): void {
    if (this.#networks.get(lineage) === network) this.#networks.delete(lineage);
  }
}
