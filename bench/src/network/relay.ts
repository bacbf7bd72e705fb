/**
 * Many clients at once, through a forward that has no accept queue. QEMU's user network accepts one
 * forwarded connection at a time; of many that come in one moment it never sees most. Whoever
 * stands in for the guest's redis here opens the connections to the guest beforehand, one after the
 * other, each tried until it answers; then it only passes bytes on.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { connect, pauseBefore } from "./clients.ts";

/** redis-benchmark asks for the server's settings over connections of its own. */
const SPARE = 2;
const TRY_MS = 2000;

/** See the head of this file. */
export class Relay {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(port: number, server: Server, sockets: Set<Socket>) {
    this.port = port;
    this.#server = server;
    this.#sockets = sockets;
  }

  /** With `count` open connections to the redis at `target`. Throws where it does not answer. */
  static async open(target: number, count: number, signal: AbortSignal): Promise<Relay> {
    const ready: Socket[] = [];
    const sockets = new Set<Socket>();
    try {
      for (let i = 0; i < count + SPARE; i++) ready.push(await answering(target, signal));
    } catch (error) {
      for (const socket of ready) socket.destroy();
      throw error;
    }
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
      const guest = ready.pop();
      if (guest === undefined) {
        client.destroy();
        return;
      }
      join(client, guest);
      for (const socket of [client, guest]) sockets.add(socket);
    });
    for (const socket of ready) sockets.add(socket);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    return new Relay(port, server, sockets);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** A connection over which redis has answered. */
async function answering(port: number, signal: AbortSignal): Promise<Socket> {
  for (let tries = 1; ; tries++) {
    const socket = connect(port, signal);
    try {
      const answer = once(socket, "data", {
        signal: AbortSignal.any([signal, AbortSignal.timeout(TRY_MS)]),
      });
      socket.write("PING\r\n");
      await answer;
      return socket;
    } catch (error) {
      socket.destroy();
      await pauseBefore(tries + 1, error, signal);
    }
  }
}

function join(client: Socket, guest: Socket): void {
  client.on("error", () => guest.destroy());
  guest.on("error", () => client.destroy());
  client.pipe(guest);
  guest.pipe(client);
}
