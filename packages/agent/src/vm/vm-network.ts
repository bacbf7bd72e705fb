/**
 * A machine's network here: the gateway beside it. Frames of a machine that has just arrived wait
 * until the network is ready for it.
 */
import {
  type FlowEdge,
  Gateway,
  type NetworkPolicy,
  type PortForward,
  parseForward,
  parseRule,
  SwitchedNetwork,
  type Tunnel,
} from "@dejavm/gateway";
import { NET_MTU } from "@dejavm/machine";
import type { VmConfig } from "@dejavm/source-agent";
import type { WebSocket } from "ws";
import { type NetworkNote, networkNote } from "./machine-config.ts";

/** Frames that wait for the network; a machine makes few before anybody answers. */
const MAX_HELD_FRAMES = 1000;

/** A frame and when it left the machine, milliseconds since 1970. */
export interface StampedFrame {
  readonly frame: Uint8Array;
  readonly atMs: number;
}

type FrameListener = (stamped: StampedFrame) => void;

const MAX_RECENT_FRAMES = 200;
/** Bulk is not worth keeping. */
const MAX_RECENT_FRAME_BYTES = 1514;
/** Connections through a link that broke are given up after this. */
const TUNNEL_GRACE_MS = 120_000;

/** See the head of this file. */
export class VmNetwork {
  readonly gateway: Gateway;
  readonly #switched: SwitchedNetwork;
  readonly #flowsKnown = Promise.withResolvers<void>();
  readonly #listeners = new Set<FrameListener>();
  /** What left the machine lately: who watches a machine that arrives is always late. */
  readonly #recent: StampedFrame[] = [];
  #held: Uint8Array[] = [];
  #plugged = false;

  private constructor(gateway: Gateway) {
    this.gateway = gateway;
    this.#switched = new SwitchedNetwork(gateway);
  }

  /** Throws E_NET_*. Forwards that belong to the machine are opened, or left for `openForwards`. */
  static async start(config: VmConfig, forwards: "open" | "later"): Promise<VmNetwork> {
    const whole = policyOf(networkNote(config));
    const policy = forwards === "open" ? whole : { ...whole, forwards: [] };
    const gateway = await Gateway.start({ policy, mtu: NET_MTU, guestMac: config.mac });
    return new VmNetwork(gateway);
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
    this.#switched.plug(toGuest);
    this.#plugged = true;
    for (const frame of this.#held.splice(0)) this.#switched.sendFrame(frame);
  }

  /** The cable is out: connections of the host's stand still. */
  unplug(): void {
    this.#switched.unplug();
    this.#plugged = false;
    this.#held = [];
  }

  /** A frame as it leaves the live machine. */
  fromGuest(frame: Uint8Array): void {
    const stamped = { frame, atMs: performance.timeOrigin + performance.now() };
    for (const listener of this.#listeners) listener(stamped);
    if (frame.length <= MAX_RECENT_FRAME_BYTES) this.#recent.push(stamped);
    if (this.#recent.length > MAX_RECENT_FRAMES) this.#recent.shift();
    if (this.#plugged) this.#switched.sendFrame(frame);
    else if (this.#held.length < MAX_HELD_FRAMES) this.#held.push(frame);
  }

  /**
   * A link to the host whose gateway has connections of the machine's from before. One that breaks
   * is dialled again by the other side; its connections wait so long.
   */
  attachTunnel(link: WebSocket): void {
    const tunnel: Tunnel = {
      send: (message) => {
        if (link.readyState === link.OPEN) link.send(message);
      },
    };
    link.on("message", (data: Buffer) => {
      try {
        const isOver = this.#switched.receive(tunnel, new Uint8Array(data));
        this.#flowsKnown.resolve();
        if (isOver) link.close();
      } catch {
        link.terminate();
      }
    });
    link.on("error", () => link.terminate());
    link.on("close", () => {
      setTimeout(() => this.#switched.removeTunnel(tunnel), TUNNEL_GRACE_MS).unref();
    });
  }

  /** Settles when it is known which connections others have, or after `limitMs`. */
  async flowsKnown(limitMs: number): Promise<void> {
    const limit = Promise.withResolvers<void>();
    const timer = setTimeout(limit.resolve, limitMs);
    await Promise.race([this.#flowsKnown.promise, limit.promise]);
    clearTimeout(timer);
  }

  /** The guest's connections, whoever has them: for the host that it moves to. */
  get edge(): FlowEdge {
    return this.#switched;
  }

  /** Connections that go through another host. */
  get tunnelledFlows(): number {
    return this.#switched.tunnelledFlows;
  }

  /** Hears of frames that left the machine lately, then of each that does; the answer ends that. */
  tap(listener: FrameListener): () => void {
    for (const stamped of this.#recent) listener(stamped);
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
