/** The UDP sockets of the host for one gateway. */
import { createSocket, type Socket } from "node:dgram";
import type { GatewayOutput, SocketEvent, UdpSocketId } from "../socket-events.ts";

/** Commands of `GatewayOutput` that are about UDP. */
export type UdpCommand = Extract<GatewayOutput, { kind: `udp-${string}` }>;

/** See the head of this file. */
export class UdpSockets {
  readonly #onEvent: (event: SocketEvent) => void;
  readonly #sockets = new Map<string, Socket>();

  constructor(onEvent: (event: SocketEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** Takes over the listener of a forward. */
  adopt(id: UdpSocketId, socket: Socket): void {
    this.#sockets.set(nameOf(id), socket);
    this.#watch(id, socket);
  }

  run(command: UdpCommand): void {
    if (command.kind === "udp-close") {
      this.close(command.socket);
      return;
    }
    const { socket: id, host, port, bytes } = command;
    const socket = this.#sockets.get(nameOf(id)) ?? this.#open(id, host);
    socket.send(bytes, port, host, (error) => {
      if (error) this.#onEvent({ kind: "udp-failed", socket: id });
    });
  }

  close(id: UdpSocketId): void {
    this.#sockets.get(nameOf(id))?.close();
    this.#sockets.delete(nameOf(id));
  }

  closeAll(): void {
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }

  #open(id: UdpSocketId, host: string): Socket {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    this.adopt(id, socket);
    return socket;
  }

  #watch(id: UdpSocketId, socket: Socket): void {
    socket.on("message", (bytes, { address: host, port }) => {
      this.#onEvent({ kind: "udp-data", socket: id, peer: { host, port }, bytes });
    });
    socket.on("error", () => this.#onEvent({ kind: "udp-failed", socket: id }));
  }
}

function nameOf(id: UdpSocketId): string {
  switch (id.kind) {
    case "guest-port":
      return `guest-port ${id.port}`;
    case "forward":
      return `forward ${id.id}`;
    case "resolver":
      return `resolver ${id.index}`;
  }
}
