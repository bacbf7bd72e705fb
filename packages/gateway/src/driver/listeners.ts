/** Listening sockets of the host for port forwards. */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { gatewayError } from "../errors.ts";
import { formatForward, type PortForward } from "../forwards.ts";

/** A listener that is ready, and the port that it got. */
export type Listener =
  | { readonly kind: "tcp"; readonly server: Server; readonly port: number }
  | { readonly kind: "udp"; readonly socket: UdpSocket; readonly port: number };

/** Connections that wait to be accepted. */
const BACKLOG = 1024;

/** Throws E_NET_PORT_IN_USE or E_NET_FORWARD. */
export async function listen(
  forward: PortForward,
  onConnection: (socket: Socket) => void,
): Promise<Listener> {
  const { promise, resolve, reject } = Promise.withResolvers<Listener>();
  const { hostAddress: host, hostPort: port } = forward;
  const fail = (error: NodeJS.ErrnoException): void => reject(listenError(forward, error));
  if (forward.protocol === "udp") {
    const socket = createSocket("udp4");
    socket.once("error", fail);
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.off("error", fail);
      resolve({ kind: "udp", socket, port: socket.address().port });
    });
  } else {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
    server.once("error", fail);
    server.on("connection", onConnection);
    server.listen({ host, port, exclusive: true, backlog: BACKLOG }, () => {
      server.off("error", fail);
      // Failures to accept are the peers' loss only.
      server.on("error", () => undefined);
      const bound = server.address();
      const got = typeof bound === "object" && bound !== null ? bound.port : port;
      resolve({ kind: "tcp", server, port: got });
    });
  }
  return promise;
}

function listenError(forward: PortForward, error: NodeJS.ErrnoException): Error {
  const what = formatForward(forward);
  switch (error.code) {
    case "EADDRINUSE":
      return gatewayError(
        "E_NET_PORT_IN_USE",
        `cannot forward ${what}: the host's port is in use`,
        "choose another port, or 0 for any free one",
      );
    case "EACCES":
      return gatewayError(
        "E_NET_FORWARD",
        `cannot forward ${what}: the port is not for everybody`,
        "choose a port from 1024 on",
      );
    default:
      return gatewayError(
        "E_NET_FORWARD",
        `cannot forward ${what}: ${error.message}`,
        "name an address that this host has",
      );
  }
}
