/** The TCP sockets of the host for one gateway: carries out the core's commands, tells events. */
import { createConnection, type Socket } from "node:net";
import type { GatewayOutput, SocketEvent } from "../socket-events.ts";

/** Commands of `GatewayOutput` that are about TCP. */
export type TcpCommand = Extract<GatewayOutput, { kind: `tcp-${string}` }>;

interface Entry {
  readonly socket: Socket;
  connected: boolean;
  /** Whether the core has room for what the peer sends. */
  wanted: boolean;
  /** Bytes that the core got in this turn. */
  turnBytes: number;
  /** The peer has sent its last byte. */
  ended: boolean;
  /** The guest has. */
  finished: boolean;
}

/**
 * Read from one socket in one turn. The system would give megabytes in one go; only at the end of
 * the turn the core says whether it has room for more.
 */
const MAX_TURN_BYTES = 256 * 1024;

/** See the head of this file. */
export class TcpSockets {
  readonly #onEvent: (event: SocketEvent) => void;
  readonly #entries = new Map<number, Entry>();
  #corked: Socket[] = [];
  /** Whose peers have sent something in this turn. */
  #read: Entry[] = [];
  #lastAccepted = -1;

  constructor(onEvent: (event: SocketEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** Takes over a peer of a forward. */
  accept(socket: Socket, forward: number): void {
    this.#lastAccepted += 2;
    const id = this.#lastAccepted;
    const peer = { host: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 };
    this.#watch(id, socket, true);
    this.#onEvent({ kind: "tcp-accepted", socket: id, forward, peer });
    socket.resume();
  }

  run(command: TcpCommand): void {
    if (command.kind === "tcp-connect") {
      const { socket: id, host, port } = command;
      this.#watch(id, createConnection({ host, port, allowHalfOpen: true, noDelay: true }), false);
      return;
    }
    const entry = this.#entries.get(command.socket);
    if (entry === undefined) return;
    const { socket } = entry;
    switch (command.kind) {
      case "tcp-send":
        this.#send(command.socket, socket, command.bytes);
        break;
      case "tcp-end":
        entry.finished = true;
        socket.end();
        this.#forgetIfOver(command.socket, entry);
        break;
      case "tcp-reset":
        this.#entries.delete(command.socket);
        // A socket that is not connected yet has nobody to reset.
        if (entry.connected) socket.resetAndDestroy();
        else socket.destroy();
        break;
      case "tcp-read":
        entry.wanted = command.on;
        if (!entry.wanted) socket.pause();
        else if (entry.turnBytes < MAX_TURN_BYTES) socket.resume();
        break;
    }
  }

  /** All commands of one turn have been run. */
  flush(): void {
    for (const socket of this.#corked) socket.uncork();
    this.#corked = [];
    for (const entry of this.#read) {
      if (entry.wanted && entry.turnBytes >= MAX_TURN_BYTES) entry.socket.resume();
      entry.turnBytes = 0;
    }
    this.#read = [];
  }

  close(): void {
    for (const { socket } of this.#entries.values()) socket.destroy();
    this.#entries.clear();
  }

  /** Several segments of one turn become one call to the system. */
  #send(id: number, socket: Socket, bytes: Uint8Array): void {
    if (socket.writableCorked === 0) {
      socket.cork();
      this.#corked.push(socket);
    }
    socket.write(bytes, (error) => {
      if (!error) this.#tell(id, { kind: "tcp-sent", socket: id, bytes: bytes.length });
    });
  }

  #watch(id: number, socket: Socket, connected: boolean): void {
    const state = { wanted: true, turnBytes: 0, ended: false, finished: false };
    const entry: Entry = { socket, connected, ...state };
    this.#entries.set(id, entry);
    socket.on("connect", () => {
      entry.connected = true;
      this.#tell(id, { kind: "tcp-connected", socket: id });
    });
    socket.on("data", (bytes: Uint8Array) => {
      if (entry.turnBytes === 0) this.#read.push(entry);
      entry.turnBytes += bytes.length;
      if (entry.turnBytes >= MAX_TURN_BYTES) socket.pause();
      this.#tell(id, { kind: "tcp-data", socket: id, bytes });
    });
    socket.on("end", () => {
      entry.ended = true;
      this.#tell(id, { kind: "tcp-ended", socket: id });
      this.#forgetIfOver(id, entry);
    });
    socket.on("error", () => this.#lost(id, entry));
    socket.on("close", () => this.#lost(id, entry));
  }

  #lost(id: number, { connected }: Entry): void {
    if (!this.#entries.delete(id)) return;
    this.#onEvent({ kind: connected ? "tcp-lost" : "tcp-failed", socket: id });
  }

  /** Both directions are over: what is still to be written goes out by itself. */
  #forgetIfOver(id: number, entry: Entry): void {
    if (entry.ended && entry.finished) this.#entries.delete(id);
  }

  #tell(id: number, event: SocketEvent): void {
    if (this.#entries.has(id)) this.#onEvent(event);
  }
}
