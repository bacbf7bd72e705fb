/** The two ends of a WebSocket over the host's loopback. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { atEnd } from "./temporary.ts";

/** Both are open; they end with the test. */
export async function linkPair(): Promise<readonly [near: WebSocket, far: WebSocket]> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, "connection");
  const near = new WebSocket(`ws://127.0.0.1:${port}`);
  const [[far]] = (await Promise.all([accepted, once(near, "open")])) as [[WebSocket], unknown];
  atEnd(() => {
    near.terminate();
    far.terminate();
    server.close();
  });
  return [near, far];
}

/** Binary messages that arrive there, from now on. */
export function messagesOf(link: WebSocket): Uint8Array[] {
  const messages: Uint8Array[] = [];
  link.on("message", (data: Buffer) => messages.push(new Uint8Array(data)));
  return messages;
}
