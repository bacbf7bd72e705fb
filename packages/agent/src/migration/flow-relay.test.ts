import { type Flow, type FlowEdge, Gateway, SwitchedNetwork, type Tunnel } from "@dejavm/gateway";
import { expect, test } from "vitest";
import type { WebSocket } from "ws";
import { linkPair } from "../test-support/link-pair.ts";
import { atEnd } from "../test-support/temporary.ts";
import { FlowRelay } from "./flow-relay.ts";

const FLOW: Flow = {
  protocol: "tcp",
  guestPort: 40_000,
  remoteAddress: "198.51.100.7",
  remotePort: 80,
};
const FRAME = new Uint8Array(60).fill(9);

/** An edge with one connection; its gateway's end is the test. */
class FakeEdge implements FlowEdge {
  flows: Flow[] = [FLOW];
  readonly received: Uint8Array[] = [];
  unplugs = 0;
  toGuest: ((frame: Uint8Array) => void) | undefined;
  onFlowEnded: ((flow: Flow) => void) | undefined;

  openFlows(): Flow[] {
    return this.flows;
  }

  retire(onFlowEnded: (flow: Flow) => void): void {
    this.onFlowEnded = onFlowEnded;
  }

  plug(toGuest: (frame: Uint8Array) => void): void {
    this.toGuest = toGuest;
  }

  unplug(): void {
    this.unplugs++;
    this.toGuest = undefined;
  }

  sendFrame(frame: Uint8Array): void {
    this.received.push(frame.slice());
  }

  abortAll(): void {
    this.flows = [];
  }

  end(): void {
    this.flows = [];
    this.onFlowEnded?.(FLOW);
  }
}

/** The host that the machine goes to: a link for each time it is dialled, and its flow switch. */
async function elsewhere() {
  const gateway = await Gateway.start({ policy: { rules: [], forwards: [] } });
  atEnd(() => gateway.close());
  const network = new SwitchedNetwork(gateway);
  const toGuest: Uint8Array[] = [];
  network.plug((frame) => toGuest.push(frame.slice()));
  const dialled: WebSocket[] = [];
  const dial = async (): Promise<WebSocket> => {
    const [near, far] = await linkPair();
    const tunnel: Tunnel = { send: (message) => far.send(message) };
    far.on("message", (data: Buffer) => void network.receive(tunnel, new Uint8Array(data)));
    dialled.push(far);
    return near;
  };
  return { network, toGuest, dialled, dial };
}

function relayOf(edge: FlowEdge, dial: () => Promise<WebSocket>) {
  const over = { count: 0 };
  const relay = new FlowRelay(edge, dial, () => over.count++);
  atEnd(() => relay.close());
  return { relay, over };
}

test("[NE7] connections are known there when the machine stands, and go on then", async () => {
  const edge = new FakeEdge();
  const { network, toGuest, dial } = await elsewhere();
  const { relay, over } = relayOf(edge, dial);
  relay.frozen();
  await expect.poll(() => network.tunnelledFlows).toBe(1);
  expect([relay.flowCount, edge.toGuest]).toEqual([0, undefined]);
  relay.moved();
  expect(relay.flowCount).toBe(1);
  edge.toGuest?.(FRAME);
  await expect.poll(() => toGuest).toEqual([FRAME]);
  edge.end();
  await expect.poll(() => network.tunnelledFlows).toBe(0);
  expect([relay.flowCount, over.count]).toEqual([0, 1]);
});

test("[NE7] a link that breaks is dialled again, and the connections go on", async () => {
  const edge = new FakeEdge();
  const { toGuest, dialled, dial } = await elsewhere();
  const { relay, over } = relayOf(edge, dial);
  await expect.poll(() => dialled.length).toBe(1);
  relay.moved();
  dialled[0]?.terminate();
  await expect.poll(() => edge.unplugs).toBe(1);
  await expect.poll(() => edge.toGuest, { timeout: 5000 }).toBeDefined();
  expect(dialled.length).toBe(2);
  edge.toGuest?.(FRAME);
  await expect.poll(() => toGuest).toEqual([FRAME]);
  expect(over.count).toBe(0);
});

test("[NE7] what the guest sends before it is known to live there waits", async () => {
  const edge = new FakeEdge();
  const { dialled, dial } = await elsewhere();
  const { relay } = relayOf(edge, dial);
  await expect.poll(() => dialled.length).toBe(1);
  dialled[0]?.send(Uint8Array.of(1, ...FRAME));
  dialled[0]?.ping();
  await new Promise((resolve) => dialled[0]?.once("pong", resolve));
  expect(edge.received).toEqual([]);
  relay.moved();
  expect(edge.received).toEqual([FRAME]);
});

test("[NE7] nothing is relayed for a machine that stays, or has no connections", async () => {
  const stays = new FakeEdge();
  const first = await elsewhere();
  const { relay, over } = relayOf(stays, first.dial);
  await expect.poll(() => first.dialled.length).toBe(1);
  const closed = new Promise((resolve) => first.dialled[0]?.once("close", resolve));
  relay.close();
  await closed;
  expect([over.count, first.dialled.length]).toEqual([0, 1]);
  const idle = new FakeEdge();
  idle.flows = [];
  const second = await elsewhere();
  const without = relayOf(idle, second.dial);
  await expect.poll(() => second.dialled.length).toBe(1);
  without.relay.moved();
  expect(without.over.count).toBe(1);
});
