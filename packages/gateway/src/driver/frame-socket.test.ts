import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import { FrameSocket } from "./frame-socket.ts";

const LIMIT_BYTES = 4 * 2 ** 20;
const FRAME = new Uint8Array(60_000);

test("a peer that does not read loses frames, and no more waits than the limit", async () => {
  const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  const peer = new Promise<Socket>((resolve) => {
    server.once("connection", resolve);
  });
  await once(server, "listening");
  const socket = createConnection((server.address() as AddressInfo).port, "127.0.0.1");
  await Promise.all([peer, once(socket, "connect")]);
  const frames = new FrameSocket(socket, { onFrame: () => undefined, onGarbage: () => undefined });
  for (let i = 0; i < 1000 && frames.dropped === 0; i++) frames.send(FRAME);
  expect(frames.dropped).toBe(1);
  expect(socket.writableLength).toBeGreaterThan(LIMIT_BYTES);
  expect(socket.writableLength).toBeLessThanOrEqual(LIMIT_BYTES + FRAME.length + 4);
  frames.close();
  frames.send(FRAME);
  expect(frames.dropped).toBe(2);
  (await peer).destroy();
  server.close();
});
