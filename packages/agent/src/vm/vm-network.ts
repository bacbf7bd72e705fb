/**
 * A machine's network here: the gateway beside it. Frames of a machine that has just arrived wait
 * until the network is ready for it.
 */
import {
  Gateway,
  type NetworkPolicy,
  type PortForward,
  parseForward,
  parseRule,
} from "@dejavm/gateway";
import type { VmDefinition } from "../control/api.ts";

/** What is kept with a machine about its network, as text. */
export type NetworkNote = Pick<VmDefinition, "forwards" | "netAllow" | "netDeny">;

/** Frames that wait for the network; a machine makes few before anybody answers. */
const MAX_HELD_FRAMES = 1000;

/** See the head of this file. */
export class VmNetwork {
  readonly gateway: Gateway;
  readonly #listeners = new Set<(frame: Uint8Array) => void>();
  #held: Uint8Array[] = [];
  #plugged = false;

  private constructor(gateway: Gateway) {
    this.gateway = gateway;
  }

  /** Throws E_NET_*. Forwards that belong to the machine are opened, or left for `openForwards`. */
  static async start(note: NetworkNote, forwards: "open" | "later"): Promise<VmNetwork> {
    const policy = policyOf(note);
    const opened = forwards === "open" ? policy : { ...policy, forwards: [] };
    return new VmNetwork(await Gateway.start({ policy: opened }));
  }

  /** A port that is taken here becomes another one; gives a line for each such port. */
  async openForwards(forwards: readonly PortForward[]): Promise<readonly string[]> {
    const notes: string[] = [];
    for (const forward of forwards) {
      try {
        await this.gateway.addForward(forward);
      } catch {
        const { hostPort } = await this.gateway.addForward({ ...forward, hostPort: 0 });
        notes.push(`port ${forward.hostPort} is taken here: ${hostPort} instead`);
      }
    }
    return notes;
  }

  /** Frames of the guest's go out from now on, and `toGuest` gets what comes for it. */
  plug(toGuest: (frame: Uint8Array) => void): void {
    this.gateway.plug(toGuest);
    this.#plugged = true;
    for (const frame of this.#held.splice(0)) this.gateway.sendFrame(frame);
  }

  /** The cable is out: connections of the host's stand still. */
  unplug(): void {
    this.gateway.unplug();
    this.#plugged = false;
    this.#held = [];
  }

  /** A frame as it leaves the live machine. */
  fromGuest(frame: Uint8Array): void {
    for (const listener of this.#listeners) listener(frame);
    if (this.#plugged) this.gateway.sendFrame(frame);
    else if (this.#held.length < MAX_HELD_FRAMES) this.#held.push(frame);
  }

  /** Hears of each frame as it leaves the machine; the answer ends that. */
  tap(listener: (frame: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.gateway.close();
  }
}

/** Denials first: what is forbidden stays so, whatever else is allowed. */
function policyOf({ netAllow, netDeny, forwards }: NetworkNote): NetworkPolicy {
  const rules = [
    ...netDeny.map((text) => parseRule("deny", text)),
    ...netAllow.map((text) => parseRule("allow", text)),
  ];
  return { rules, forwards: forwards.map(parseForward) };
}
