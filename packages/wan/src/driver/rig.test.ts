import { hash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Prng } from "@dejavm/base";
import { afterEach, expect, test } from "vitest";
import { parseWanAddress, type WanAddress } from "../address.ts";
import { parseWanProfile } from "../profile.ts";
import { WanRig } from "./rig.ts";

const FAST = { delayMs: 1, rateMbit: 2000 };
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A server that answers each connection with `serve`, and its address. */
async function serverWith(
  serve: (socket: Socket) => void,
  at = "127.0.0.1:0",
): Promise<WanAddress> {
  const address = parseWanAddress(at);
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    serve(socket);
  });
  server.listen(address.kind === "unix" ? { path: address.path } : { port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  closers.push(() => server.close());
  const bound = server.address();
  if (bound === null || typeof bound === "string") return address;
  return { kind: "tcp", host: "127.0.0.1", port: bound.port };
}

async function rigTo(to: WanAddress, profile: object = { both: FAST }, listen = "127.0.0.1:0") {
  const rig = await WanRig.listen({
    listen: parseWanAddress(listen),
    to,
    profile: parseWanProfile(JSON.stringify(profile), "test"),
    seed: 1,
  });
  closers.push(() => rig.close());
  return rig;
}

function connectTo(address: WanAddress): Socket {
  const socket = createConnection(
    address.kind === "unix"
      ? { path: address.path, allowHalfOpen: true }
      : { host: address.host, port: address.port, allowHalfOpen: true },
  );
  closers.push(() => socket.destroy());
  return socket;
}

async function read(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const bytes of socket) parts.push(bytes as Buffer);
  return Buffer.concat(parts);
}

const echo = (socket: Socket) => socket.pipe(socket);

test("[WN3] megabytes go both ways unchanged, each direction ending by itself", async () => {
  const rig = await rigTo(await serverWith(echo));
  const sent = Buffer.from(new Prng(3).fill(new Uint8Array(12_000_000)));
  const socket = connectTo(rig.address);
  socket.end(sent);
  const back = await read(socket);
  expect(hash("sha256", back)).toBe(hash("sha256", sent));
  expect(rig.statistics).toMatchObject({
    connections: 1,
    up: { deliveredBytes: sent.length },
    down: { deliveredBytes: sent.length },
  });
});

test("Unix sockets on both sides", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dejavm-wan-"));
  closers.push(() => rmSync(folder, { recursive: true }));
  const to = await serverWith(echo, `unix:${join(folder, "server")}`);
  const rig = await rigTo(to, { both: FAST }, `unix:${join(folder, "rig")}`);
  const socket = connectTo(rig.address);
  socket.end("hello");
  expect((await read(socket)).toString()).toBe("hello");
});

test("[WN4] a sender is held back once the path and the sockets' buffers are full", async () => {
  const received: Socket[] = [];
  const rig = await rigTo(await serverWith((socket) => received.push(socket.pause())), {
    both: FAST,
  });
  const socket = connectTo(rig.address);
  const block = Buffer.alloc(1 << 20);
  let written = 0;
  const more = () => {
    while (written < 64) {
      written++;
      if (!socket.write(block)) return;
    }
  };
  socket.on("drain", more);
  more();
  // It stands still when nothing was written for a while; the test only needs that it does.
  for (let before = -1; before !== written; ) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  expect(written).toBeLessThan(40);
  let got = 0;
  received[0]?.on("data", (bytes: Buffer) => {
    got += bytes.length;
  });
  received[0]?.resume();
  // What waited goes on when the receiver does, though nobody else wakes the rig.
  await expect.poll(() => got, { timeout: 15_000 }).toBeGreaterThanOrEqual(64 << 20);
});

test("a target that refuses resets who connected", async () => {
  const to = await serverWith(echo);
  await closers.splice(0)[0]?.();
  const rig = await rigTo(to);
  const socket = connectTo(rig.address);
  await expect(once(socket, "close")).rejects.toMatchObject({ code: "ECONNRESET" });
});

test("a reset travels to the other end", async () => {
  const ended: Promise<unknown>[] = [];
  const rig = await rigTo(
    await serverWith((socket) => {
      ended.push(once(socket, "close").catch((error: unknown) => error));
      socket.write("x");
      socket.resume();
    }),
  );
  const socket = connectTo(rig.address);
  await once(socket, "data");
  socket.resetAndDestroy();
  expect(await ended[0]).toMatchObject({ code: "ECONNRESET" });
});

test("[WN9] a cut at a byte: those bytes arrive, both ends are reset, then refused", async () => {
  const got: number[] = [];
  const script = [{ atUpBytes: 100_001, do: "cut", forMs: 60_000 }];
  const to = await serverWith((socket) => {
    socket.on("data", (bytes: Buffer) => got.push(bytes.length));
  });
  const rig = await rigTo(to, { both: FAST, script });
  const socket = connectTo(rig.address);
  socket.write(Buffer.alloc(300_000));
  await expect(once(socket, "close")).rejects.toMatchObject({ code: "ECONNRESET" });
  expect(rig.statistics.up.deliveredBytes).toBeGreaterThanOrEqual(100_001);
  expect(got.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual(100_001);
  await expect(once(connectTo(rig.address), "close")).rejects.toMatchObject({ code: "ECONNRESET" });
});

test("[WN9] half-open by hand: the server is reset, the client hears nothing", async () => {
  const ended: Promise<unknown>[] = [];
  const rig = await rigTo(
    await serverWith((socket) => {
      ended.push(once(socket, "close").catch((error: unknown) => error));
      socket.write("x");
    }),
  );
  const socket = connectTo(rig.address);
  await once(socket, "data");
  rig.perform({ kind: "half-open", forMs: 0, kept: "client" });
  expect(await ended[0]).toMatchObject({ code: "ECONNRESET" });
  expect(await new Promise((resolve) => socket.write("lost", resolve))).toBeFalsy();
  expect(socket.destroyed).toBe(false);
});

test("an address that is taken is E_WAN_LISTEN", async () => {
  const to = await serverWith(echo);
  const rig = await rigTo(to);
  const { address, ...rest } = rig;
  expect(rest).toEqual({});
  await expect(
    WanRig.listen({
      listen: address,
      to,
      profile: parseWanProfile("{}", "test"),
      seed: 1,
    }),
  ).rejects.toMatchObject({ code: "E_WAN_LISTEN" });
});
