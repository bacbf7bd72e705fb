/** [NE7] A guest that moves from one gateway to another in the middle of a transfer. */
import { type AddressInfo, createServer, type Server } from "node:net";
import { Prng } from "@dejavm/base";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseRule } from "../policy.ts";
import { ModelStack } from "../test-support/model-stack.ts";
import { SwitchedNetwork, TunnelSource } from "./flow-tunnel.ts";
import { Gateway } from "./gateway.ts";

const DATA = new Prng(12).fill(new Uint8Array(200_000));
const POLICY = { rules: [parseRule("allow", "host")], forwards: [] };

let server: Server;
let port = 0;
let gateways: Gateway[];
let guest: ModelStack;

beforeEach(async () => {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  port = (server.address() as AddressInfo).port;
  gateways = [await Gateway.start({ policy: POLICY }), await Gateway.start({ policy: POLICY })];
});

afterEach(async () => {
  guest.close();
  server.close();
  for (const gateway of gateways) await gateway.close();
});

/** Starts a transfer over the first gateway and moves the guest while it goes on. */
async function moveInTheMiddle() {
  const [old, fresh] = gateways;
  if (old === undefined || fresh === undefined) throw new Error("two gateways were started");
  guest = new ModelStack(old);
  const connection = guest.connect(40_000, port, DATA);
  old.plug((frame) => {
    guest.receive(frame);
    if (connection.received.length > 0) old.unplug();
  });
  await expect.poll(() => old.metrics().now.plugged).toBe(false);
  const network = new SwitchedNetwork(fresh);
  let over = 0;
  const tunnel = { send: (message: Uint8Array) => source.receive(message) };
  network.addTunnel(tunnel, old.openFlows());
  const source: TunnelSource = new TunnelSource(old, {
    send: (message) => void network.receive(tunnel, message),
    onOver: () => over++,
  });
  guest.replug(network);
  return { old, fresh, network, source, tunnel, connection, overCount: () => over };
}

test("[NE7] open flows go on through the old gateway, new ones through the new", async () => {
  const { fresh, network, connection, overCount } = await moveInTheMiddle();
  expect(network.tunnelledFlows).toBe(1);
  const other = guest.connect(40_001, port, DATA);
  await expect.poll(() => connection.finished && other.finished, { timeout: 15_000 }).toBe(true);
  for (const { received } of [connection, other]) {
    expect(Buffer.compare(Buffer.from(received), DATA)).toBe(0);
  }
  expect(fresh.metrics().tcpOpenedOut).toBe(1);
  // The echo server ends last, so that nothing waits for TIME-WAIT.
  await expect.poll(() => network.tunnelledFlows).toBe(0);
  expect(overCount()).toBe(1);
});

test("[NE7] a flow follows over a second move, through both gateways that were left", async () => {
  const { network, connection, overCount } = await moveInTheMiddle();
  const third = await Gateway.start({ policy: POLICY });
  gateways.push(third);
  const last = new SwitchedNetwork(third);
  let over = 0;
  const tunnel = { send: (message: Uint8Array) => source.receive(message) };
  network.unplug();
  last.addTunnel(tunnel, network.openFlows());
  const source: TunnelSource = new TunnelSource(network, {
    send: (message) => void last.receive(tunnel, message),
    onOver: () => over++,
  });
  guest.replug(last);
  expect(last.tunnelledFlows).toBe(1);
  expect(connection.finished).toBe(false);
  await expect.poll(() => connection.finished, { timeout: 15_000 }).toBe(true);
  expect(Buffer.compare(Buffer.from(connection.received), DATA)).toBe(0);
  expect(third.metrics().tcpOpenedOut).toBe(0);
  await expect.poll(() => last.tunnelledFlows).toBe(0);
  expect([overCount(), over]).toEqual([1, 1]);
});

test("[NE7] what ends at a second move ends at the first gateway, too", async () => {
  const { network, overCount } = await moveInTheMiddle();
  const third = await Gateway.start({ policy: POLICY });
  gateways.push(third);
  const last = new SwitchedNetwork(third);
  const tunnel = { send: (message: Uint8Array) => source.receive(message) };
  const source: TunnelSource = new TunnelSource(network, {
    send: (message) => void last.receive(tunnel, message),
    onOver: () => undefined,
  });
  guest.replug(last);
  source.end();
  expect([last.tunnelledFlows, network.tunnelledFlows, overCount()]).toEqual([0, 0, 1]);
});

test("[NE7] a relay that ends resets its flows; one that is lost leaves RST behind", async () => {
  const first = await moveInTheMiddle();
  first.source.end();
  await expect.poll(() => first.connection.failed).toBe(true);
  expect(first.overCount()).toBe(1);
  expect(first.network.tunnelledFlows).toBe(0);
});

test("[NE4] frames of flows whose tunnel is gone are reset by the gateway here", async () => {
  const { network, tunnel, connection } = await moveInTheMiddle();
  network.removeTunnel(tunnel);
  await expect.poll(() => connection.failed, { timeout: 15_000 }).toBe(true);
});
