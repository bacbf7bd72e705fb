/**
 * The guest's cable to a network helper, in QEMU's stream framing, over a Unix or TCP socket. The
 * link is dialled again for as long as it is wanted.
 */
import { createConnection, type Socket } from "node:net";
import { gatewayError } from "../errors.ts";
import { FrameSocket } from "./frame-socket.ts";

const FIRST_REDIAL_MS = 100;
const LAST_REDIAL_MS = 2000;

/** Where a frame stream is: a Unix socket's path, or a TCP address. */
export type StreamAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** What a network stream tells its owner. */
export interface NetStreamEvents {
  /** A view of what was received; it does not change any more. */
  readonly onFrame: (frame: Uint8Array) => void;
  /** The helper is there (true) or gone. Not called before the first connection. */
  readonly onLink: (up: boolean) => void;
  /** One line for people. */
  readonly onNotice: (line: string) => void;
}

/** `stream:PATH` or `stream:tcp:HOST:PORT`; E_NET_ADDRESS for anything else. */
export function parseNetAddress(text: string): StreamAddress {
  const tcp = /^stream:tcp:(.+):(\d{1,5})$/.exec(text);
  if (tcp?.[1] !== undefined) return { host: tcp[1], port: Number(tcp[2]) };
  const path = text.startsWith("stream:") ? text.slice("stream:".length) : "";
  if (path !== "") return { path };
  throw gatewayError(
    "E_NET_ADDRESS",
    `cannot use the network address ${text}`,
    "want stream:PATH or stream:tcp:HOST:PORT of a QEMU-style helper that listens",
  );
}

/** One cable. It never throws: what is wrong is a notice, and it dials again. */
export class NetStream {
  readonly #address: StreamAddress;
  readonly #events: NetStreamEvents;
  #socket: Socket | undefined;
  #frames: FrameSocket | undefined;
  #redial: NodeJS.Timeout | undefined;
  #redialMs = FIRST_REDIAL_MS;
  #closed = false;
  #saidAbsent = false;

  /** Dials at once. */
  constructor(address: StreamAddress, events: NetStreamEvents) {
    this.#address = address;
    this.#events = events;
    this.#dial();
  }

  /** Sends a frame, or drops it where the helper is absent or too slow. */
  send(frame: Uint8Array): void {
    this.#frames?.send(frame);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#redial);
    this.#socket?.destroy();
  }

  #dial(): void {
    const { onFrame, onLink, onNotice } = this.#events;
    const socket = createConnection(this.#address);
    this.#socket = socket;
    socket.on("connect", () => {
      socket.setNoDelay(true);
      this.#frames = new FrameSocket(socket, {
        onFrame,
        onGarbage: (error) => onNotice(error.message),
      });
      this.#saidAbsent = false;
      this.#redialMs = FIRST_REDIAL_MS;
      onLink(true);
    });
    socket.on("error", (error) => this.#absent(error.message));
    socket.on("close", () => this.#lost());
  }

  #absent(why: string): void {
    if (this.#saidAbsent || this.#closed) return;
    this.#saidAbsent = true;
    const where = "path" in this.#address ? this.#address.path : this.#address.host;
    this.#events.onNotice(`no network helper at ${where} (${why}); dialling on`);
  }

  #lost(): void {
    if (this.#frames !== undefined) this.#events.onLink(false);
    this.#frames = undefined;
    if (this.#closed) return;
    this.#redial = setTimeout(() => this.#dial(), this.#redialMs);
    this.#redialMs = Math.min(this.#redialMs * 2, LAST_REDIAL_MS);
  }
}
