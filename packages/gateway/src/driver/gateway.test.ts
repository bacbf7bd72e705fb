/** The gateway with real sockets of the host, and a model guest. */
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createConnection, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Prng } from "@dejavm/base";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MAX_FORWARDS, parseForward } from "../forwards.ts";
import { parseRule } from "../policy.ts";
import { SEND_BUFFER_BYTES } from "../tcp/connection.ts";
import { readDatagram, udpFrame } from "../test-support/guest-frames.ts";
import { ModelStack } from "../test-support/model-stack.ts";
import { Gateway, type GatewayOptions } from "./gateway.ts";
import { NetStream } from "./net-stream.ts";
import { StreamServer } from "./stream-server.ts";

const DATA = new Prng(11).fill(new Uint8Array(150_000));
const ALLOW_HOST = [parseRule("allow", "host")];

let gateway: Gateway;
let guest: ModelStack;
const servers: Server[] = [];

async function start(
  policy: Partial<GatewayOptions["policy"]>,
  more: Partial<GatewayOptions> = {},
) {
  gateway = await Gateway.start({ policy: { rules: [], forwards: [], ...policy }, ...more });
  guest = new ModelStack(gateway);
}

afterEach(async () => {
  guest.close();
  await gateway.close();
  for (const server of servers.splice(0)) server.close();
});

/** Answers with what it gets; gives its port. */
async function echoServer(): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return (server.address() as AddressInfo).port;
}

function fetchAll(port: number, toSend: Uint8Array): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const parts: Buffer[] = [];
  const socket = createConnection({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("data", (bytes) => parts.push(Buffer.from(bytes)));
  socket.on("end", () => resolve(Buffer.concat(parts)));
  socket.on("error", reject);
  socket.end(toSend);
  return promise;
}

describe("TCP", () => {
  test("the guest reaches an echo server of the host, if allowed", async () => {
    const port = await echoServer();
    await start({ rules: ALLOW_HOST });
    const connection = guest.connect(40_000, port, DATA);
    await expect.poll(() => connection.finished, { timeout: 15_000 }).toBe(true);
    expect(Buffer.compare(Buffer.from(connection.received), DATA)).toBe(0);
  });

  test("[NE3] and is refused if not", async () => {
    const port = await echoServer();
    await start({});
    const connection = guest.connect(40_000, port, DATA);
    await expect.poll(() => connection.failed).toBe(true);
  });

  test("a port where nobody listens refuses the guest", async () => {
    const port = await echoServer();
    servers.splice(0)[0]?.close();
    await start({ rules: ALLOW_HOST });
    const connection = guest.connect(40_000, port, DATA);
    await expect.poll(() => connection.failed).toBe(true);
  });

  test("a peer reaches the guest through a forward; forwards come and go", async () => {
    await start({ forwards: [parseForward("0:80")] });
    const [forward] = gateway.forwards;
    const port = forward?.hostPort ?? 0;
    guest.serve(80, DATA);
    const sent = DATA.subarray(0, 5000);
    const got = await fetchAll(port, sent);
    expect(Buffer.compare(got, DATA)).toBe(0);
    expect(Buffer.from(guest.connections[0]?.received ?? []).equals(sent)).toBe(true);
    const taken = { code: "E_NET_PORT_IN_USE" };
    await expect(gateway.addForward(parseForward(`${port}:81`))).rejects.toMatchObject(taken);
    expect(forward && gateway.removeForward(forward)).toBe(true);
    expect(gateway.forwards).toEqual([]);
    await expect(fetchAll(port, sent)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("[NE7] a retired gateway listens no more, and keeps what is open", async () => {
    await start({ forwards: [parseForward("0:80")] });
    const port = gateway.forwards[0]?.hostPort ?? 0;
    const socket = createConnection({ port, host: "127.0.0.1" });
    await expect.poll(() => gateway.metrics().now.tcpConnections).toBe(1);
    gateway.retire(() => undefined);
    await expect(fetchAll(port, DATA)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    expect(gateway.metrics().now.tcpConnections).toBe(1);
    socket.destroy();
  });

  test("there are no more forwards than the limit", async () => {
    const one = parseForward("0:80");
    await start({ forwards: Array.from({ length: MAX_FORWARDS }, () => one) });
    const refused = { code: "E_NET_FORWARD" };
    await expect(gateway.addForward(one)).rejects.toMatchObject(refused);
    const [first = one] = gateway.forwards;
    gateway.removeForward(first);
    expect((await gateway.addForward(one)).hostPort).toBeGreaterThan(0);
  });

  test("[NE6] the host's sender is stopped by a guest that takes nothing", async () => {
    await start({ forwards: [parseForward("0:80")] });
    guest.serve(80, new Uint8Array(0));
    const port = gateway.forwards[0]?.hostPort ?? 0;
    const socket = createConnection({ port, host: "127.0.0.1" });
    await expect.poll(() => gateway.metrics().now.tcpHalfOpen).toBe(0);
    // The guest hears nothing any more.
    gateway.plug(() => undefined);
    socket.on("error", () => undefined);
    socket.write(new Uint8Array(16 * 2 ** 20));
    const buffered = () => gateway.metrics().now.bufferedBytes;
    await expect.poll(buffered).toBeGreaterThanOrEqual(SEND_BUFFER_BYTES);
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
    expect(buffered()).toBeLessThan(SEND_BUFFER_BYTES + 2 ** 19);
    socket.destroy();
  });

  test("an address that the host has not is E_NET_FORWARD, and nothing is left open", async () => {
    await start({});
    const forwards = [parseForward("0:80"), parseForward("192.0.2.1:0:80")];
    const failing = Gateway.start({ policy: { rules: [], forwards } });
    await expect(failing).rejects.toMatchObject({ code: "E_NET_FORWARD" });
  });

  test("[NE5] a transfer goes on after its cable was out", async () => {
    const port = await echoServer();
    await start({ rules: ALLOW_HOST });
    const connection = guest.connect(40_000, port, DATA);
    gateway.plug((frame) => {
      guest.receive(frame);
      if (connection.received.length > 0) gateway.unplug();
    });
    await expect.poll(() => gateway.metrics().now.plugged).toBe(false);
    const before = connection.received.length;
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
    expect(connection.received.length).toBe(before);
    expect(gateway.metrics().now).toMatchObject({ plugged: false, tcpConnections: 1 });
    gateway.plug((frame) => guest.receive(frame));
    await expect.poll(() => connection.finished, { timeout: 15_000 }).toBe(true);
    expect(Buffer.compare(Buffer.from(connection.received), DATA)).toBe(0);
  });
});

test("UDP: to a server of the host and back; DNS goes to the resolver given", async () => {
  const server = createSocket("udp4");
  await new Promise<void>((resolve) => {
    server.bind(0, "127.0.0.1", resolve);
  });
  server.on("message", (bytes, { port, address }) => {
    const answer = Buffer.from(bytes);
    answer[2] = 0x81;
    server.send(answer, port, address);
  });
  const { port } = server.address();
  await start({ rules: ALLOW_HOST }, { resolvers: [{ host: "127.0.0.1", port }] });
  const got: string[] = [];
  gateway.plug((frame) => {
    const datagram = readDatagram(frame);
    if (datagram !== undefined) got.push(`${datagram.sourcePort} ${datagram.payload[0]}`);
  });
  const payload = new Uint8Array(17).fill(7);
  payload[2] = 1;
  gateway.sendFrame(udpFrame({ sourcePort: 4000, targetPort: port, payload }));
  gateway.sendFrame(
    udpFrame({ sourcePort: 4001, targetPort: 53, payload }, { target: 0x0a00_0203 }),
  );
  await expect.poll(() => got.toSorted()).toEqual([`${port} 7`, "53 7"].toSorted());
  server.close();
});

describe("files and streams", () => {
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "dejavm-gateway-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test("every frame is in the capture", async () => {
    const port = await echoServer();
    const capturePath = join(directory, "a.pcapng");
    await start({ rules: ALLOW_HOST }, { capturePath });
    const connection = guest.connect(40_000, port, Uint8Array.of(1, 2, 3));
    await expect.poll(() => connection.finished).toBe(true);
    await gateway.close();
    const { framesFromGuest, framesToGuest } = gateway.metrics();
    const bytes = readFileSync(capturePath);
    let frames = 0;
    for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) {
      if (bytes.readUInt32LE(at) === 6) frames++;
    }
    expect(frames).toBe(framesFromGuest + framesToGuest);
  });

  test("a cable in QEMU's framing can be plugged in, pulled out and plugged in again", async () => {
    const port = await echoServer();
    await start({ rules: ALLOW_HOST });
    const path = join(directory, "net.sock");
    const server = await StreamServer.listen({ path }, gateway);
    const links: boolean[] = [];
    const dial = () =>
      new NetStream(
        { path },
        {
          onFrame: (frame) => guest.receive(frame),
          onLink: (up) => links.push(up),
          onNotice: () => undefined,
        },
      );
    const first = dial();
    await expect.poll(() => gateway.metrics().now.plugged).toBe(true);
    const connection = guest.connect(40_000, port, DATA);
    await expect.poll(() => connection.received.length).toBeGreaterThan(0);
    first.close();
    await expect.poll(() => gateway.metrics().now.plugged).toBe(false);
    const second = dial();
    await expect.poll(() => connection.finished, { timeout: 15_000 }).toBe(true);
    expect(Buffer.compare(Buffer.from(connection.received), DATA)).toBe(0);
    second.close();
    server.close();
  });
});
