/** Lets a guest's cable in QEMU's stream framing be plugged into a gateway from outside. */
import { createServer, type Server, type Socket } from "node:net";
import { gatewayError } from "../errors.ts";
import { FrameSocket } from "./frame-socket.ts";
import type { StreamAddress } from "./net-stream.ts";

/** What a cable is plugged into: a `Gateway`. */
export interface StreamPlug {
  plug(onFrame: (frame: Uint8Array) => void): void;
  unplug(): void;
  sendFrame(frame: Uint8Array): void;
}

/** One cable at a time: a new one takes the place of the old. */
export class StreamServer {
  readonly #server: Server;
  readonly #plug: StreamPlug;
  #current: Socket | undefined;

  private constructor(plug: StreamPlug) {
    this.#plug = plug;
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Throws E_NET_ADDRESS where it cannot listen. */
  static async listen(address: StreamAddress, plug: StreamPlug): Promise<StreamServer> {
    const server = new StreamServer(plug);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.#server.once("error", (error) => {
      const where = "path" in address ? address.path : `${address.host}:${address.port}`;
      const hint = "name a path or a port that is free";
      reject(gatewayError("E_NET_ADDRESS", `cannot listen at ${where}: ${error.message}`, hint));
    });
    server.#server.listen(address, resolve);
    await promise;
    return server;
  }

  /** Of a server on TCP. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  close(): void {
    this.#server.close();
    this.#current?.destroy();
  }

  #accept(socket: Socket): void {
    this.#current?.destroy();
    this.#current = socket;
    const frames = new FrameSocket(socket, {
      onFrame: (frame) => this.#plug.sendFrame(frame),
      onGarbage: () => undefined,
    });
    this.#plug.plug((frame) => frames.send(frame));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (this.#current !== socket) return;
      this.#current = undefined;
      this.#plug.unplug();
    });
  }
}
