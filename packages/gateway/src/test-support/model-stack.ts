/** A guest on a real gateway: model connections on a clock that follows the wall. */
import { Prng } from "@dejavm/base";
import type { StreamPlug } from "../driver/stream-server.ts";
import { NETWORK } from "../policy.ts";
import { readSegment } from "./guest-frames.ts";
import { ModelTcp } from "./model-tcp.ts";

const TICK_MS = 2;

/** Plugs itself into the gateway; `close` ends it. */
export class ModelStack {
  #gateway: StreamPlug;
  readonly #connections = new Map<number, ModelTcp>();
  readonly #servers = new Map<number, Uint8Array>();
  readonly #timer: NodeJS.Timeout;
  readonly #prng = new Prng(1);

  constructor(gateway: StreamPlug) {
    this.#gateway = gateway;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    gateway.plug((frame) => this.receive(frame));
  }

  /** Takes the cable over to another gateway. */
  replug(gateway: StreamPlug): void {
    this.#gateway = gateway;
    gateway.plug((frame) => this.receive(frame));
  }

  get connections(): readonly ModelTcp[] {
    return [...this.#connections.values()];
  }

  /** Whoever connects to `port` gets `data`. */
  serve(port: number, data: Uint8Array): void {
    this.#servers.set(port, data);
  }

  connect(guestPort: number, remotePort: number, data: Uint8Array): ModelTcp {
    return this.#add(guestPort, remotePort, data, true);
  }

  receive(frame: Uint8Array): void {
    const segment = readSegment(frame);
    if (segment === undefined) return;
    const { sourcePort, targetPort } = segment;
    const served = this.#servers.get(targetPort);
    let connection = this.#connections.get((targetPort << 16) | sourcePort);
    if (connection === undefined && served !== undefined) {
      connection = this.#add(targetPort, sourcePort, served, false);
    }
    connection?.handle(segment, performance.now());
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #add(guestPort: number, remotePort: number, data: Uint8Array, active: boolean): ModelTcp {
    const ends = { guestPort, remotePort, remoteAddress: NETWORK.gateway };
    const send = (frame: Uint8Array): void => this.#gateway.sendFrame(frame);
    const size = { mss: 1460, windowScale: 2, bufferBytes: 200_000 };
    const options = { ...ends, ...size, prng: this.#prng, active, data, send };
    const connection = new ModelTcp(options, performance.now());
    this.#connections.set((guestPort << 16) | remotePort, connection);
    return connection;
  }

  #tick(): void {
    for (const connection of this.#connections.values()) connection.tick(performance.now());
  }
}
