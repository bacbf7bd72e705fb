/**
 * The cables of several machines on one network: all of them lead to one gateway, and what is for
 * the guest goes to the machine that spoke last, as a switch learns where an address is.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { FrameSplitter, type Gateway, lengthPrefix } from "@dejavm/gateway";

/** See the head of this file. `onFrame` is told of each frame as it leaves a machine. */
export class CableSwitch {
  readonly #gateway: Gateway;
  readonly #onFrame: (frame: Uint8Array) => void;
  readonly #servers: Server[] = [];
  readonly #cables = new Set<Socket>();
  #learned: Socket | undefined;

  constructor(gateway: Gateway, onFrame: (frame: Uint8Array) => void) {
    this.#gateway = gateway;
    this.#onFrame = onFrame;
    gateway.plug((frame) => this.#toGuest(frame));
  }

  /** A machine's cable may be plugged in at that Unix socket, in QEMU's stream framing. */
  async listen(path: string): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    this.#servers.push(server);
    server.listen(path);
    await once(server, "listening");
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const cable of this.#cables) cable.destroy();
    this.#gateway.unplug();
  }

  #accept(socket: Socket): void {
    const splitter = new FrameSplitter();
    this.#cables.add(socket);
    socket.on("data", (bytes: Buffer) => {
      for (const frame of splitter.push(bytes)) {
        this.#learned = socket;
        this.#onFrame(frame);
        this.#gateway.sendFrame(frame);
      }
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#cables.delete(socket);
      if (this.#learned === socket) this.#learned = undefined;
    });
  }

  #toGuest(frame: Uint8Array): void {
    const to = this.#learned === undefined ? [...this.#cables] : [this.#learned];
    for (const cable of to) {
      cable.write(lengthPrefix(frame));
      cable.write(frame);
    }
  }
}
