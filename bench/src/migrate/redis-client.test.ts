import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { RedisClient } from "./redis-client.ts";
import { RespParser } from "./resp.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

describe("answers of redis", () => {
  const stream = Buffer.from("+OK\r\n$5\r\nhel\r\n\r\n$-1\r\n:7\r\n-ERR no\r\n$0\r\n\r\n");
  const values = ["OK", Uint8Array.from(Buffer.from("hel\r\n")), null, "7", { error: "ERR no" }];

  test("are the same however the stream is cut", () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const parser = new RespParser();
      const found = [...parser.push(stream.subarray(0, cut)), ...parser.push(stream.subarray(cut))];
      expect(found).toEqual([...values, new Uint8Array(0)]);
    }
  });
});

/** A redis of GET, SET and PING; `spoil` changes what it answers. */
async function fakeRedis(spoil: (key: string, value: Buffer | undefined) => Buffer | undefined) {
  const store = new Map<string, Buffer>();
  const sockets: Socket[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    let pending = Buffer.alloc(0);
    socket.on("data", (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes]);
      for (let words = take(); words !== undefined; words = take()) answer(socket, words);
    });
    const take = (): Buffer[] | undefined => {
      const count = /^\*(\d+)\r\n/.exec(pending.toString("latin1", 0, 16));
      if (count === null) return undefined;
      let at = count[0].length;
      const words: Buffer[] = [];
      for (let i = 0; i < Number(count[1]); i++) {
        const head = /^\$(\d+)\r\n/.exec(pending.toString("latin1", at, at + 16));
        if (head === null) return undefined;
        const start = at + head[0].length;
        at = start + Number(head[1]) + 2;
        if (at > pending.length) return undefined;
        words.push(pending.subarray(start, at - 2));
      }
      pending = pending.subarray(at);
      return words;
    };
  });
  const answer = (socket: Socket, [verb, key, value]: Buffer[]) => {
    if (String(verb) === "PING") socket.write("+PONG\r\n");
    else if (String(verb) === "SET") {
      store.set(String(key), Buffer.from(value ?? ""));
      socket.write("+OK\r\n");
    } else {
      const found = spoil(String(key), store.get(String(key)));
      socket.write(found === undefined ? "$-1\r\n" : `$${found.length}\r\n`);
      if (found !== undefined) socket.write(Buffer.concat([found, Buffer.from("\r\n")]));
    }
  };
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const options = { host: "127.0.0.1", port, keyCount: 30, valueBytes: 100, seed: 3 };
  const client = await RedisClient.start({ ...options, operationsPerSecond: 1000 });
  closers.push(() => client.close());
  return { client, sockets };
}

async function workFor(client: RedisClient, operations: number): Promise<void> {
  client.work();
  const enough = { timeout: 15_000 };
  await expect.poll(() => client.report.operations, enough).toBeGreaterThanOrEqual(operations);
  await client.stop();
}

describe("a client", () => {
  test("counts what was acknowledged and finds all of it", async () => {
    const { client } = await fakeRedis((_key, value) => value);
    expect(client.report.acknowledged).toBe(30);
    await workFor(client, 40);
    const { acknowledged, operations, wrong, connected } = client.report;
    expect(acknowledged).toBe(30 + Math.ceil(operations / 2));
    expect({ wrong, connected }).toEqual({ wrong: 0, connected: true });
    expect(await client.lost("same-connection")).toBe(0);
    expect(await client.lost("new-connection")).toBe(0);
  });

  test("finds an old value and a missing one", async () => {
    let old: Buffer | undefined;
    const { client } = await fakeRedis((key, value) => {
      if (key === "key:000007") return undefined;
      if (key === "key:000008") old ??= Buffer.alloc(100);
      return key === "key:000008" ? old : value;
    });
    expect(await client.lost("same-connection")).toBe(2);
    expect(await client.lost("new-connection")).toBe(2);
    await workFor(client, 100);
    expect(client.report.wrong).toBeGreaterThan(0);
  });

  test("knows that its connection has ended", async () => {
    const { client, sockets } = await fakeRedis((_key, value) => value);
    client.work();
    sockets[0]?.destroy();
    await client.stop();
    await expect.poll(() => client.report.connected).toBe(false);
    await expect(client.lost("same-connection")).rejects.toThrow(/closed|ECONNRESET/);
    expect(await client.lost("new-connection")).toBe(0);
  });
});
