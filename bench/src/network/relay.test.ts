import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import { connectionRate } from "./clients.ts";
import { Relay } from "./relay.ts";

const never = new AbortController().signal;

/** Answers in capitals; `refuse` says of the nth connection whether it is reset. */
async function startServer(refuse: (nth: number) => boolean) {
  const open = new Set<Socket>();
  let [count, waiting, mostWaiting] = [0, 0, 0];
  const server = createServer((socket) => {
    if (refuse(count++)) {
      socket.resetAndDestroy();
      return;
    }
    open.add(socket);
    mostWaiting = Math.max(mostWaiting, ++waiting);
    socket.once("data", () => waiting--);
    socket.on("data", (bytes) => {
      socket.write(bytes.toString("latin1").toUpperCase());
    });
    socket.on("end", () => socket.end());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => open.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => count,
    mostWaiting: () => mostWaiting,
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

test("a relay opens its connections one by one, again where one fails", async () => {
  const server = await startServer((nth) => nth % 3 === 1);
  const relay = await Relay.open(server.port, 6, never);
  expect(server.mostWaiting()).toBe(1);
  const opened = server.connections();
  const clients = Array.from({ length: 6 }, () => createConnection(relay.port, "127.0.0.1"));
  const answers = clients.map(async (client, i) => {
    client.write(`client ${i}`);
    return String((await once(client, "data"))[0]);
  });
  expect(await Promise.all(answers)).toEqual(clients.map((_, i) => `CLIENT ${i}`));
  expect(server.connections()).toBe(opened);
  for (const client of clients) client.destroy();
  relay.close();
  server.close();
});

test("a relay to a server that never answers fails", async () => {
  const server = await startServer(() => true);
  await expect(Relay.open(server.port, 1, AbortSignal.timeout(300))).rejects.toThrow(
    /reset|aborted|ended/i,
  );
  server.close();
});

test("connections that are reset are tried again", async () => {
  const server = await startServer((nth) => nth < 4);
  expect(await connectionRate(server.port, 20, never)).toBeGreaterThan(0);
  expect(server.connections()).toBe(24);
  server.close();
});

test("a server that answers with nothing is no connection", async () => {
  const server = await startServer(() => true);
  await expect(connectionRate(server.port, 1, AbortSignal.timeout(300))).rejects.toThrow(
    /reset|aborted|ended/i,
  );
  server.close();
});
