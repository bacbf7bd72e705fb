import { once } from "node:events";
import { expect, test } from "vitest";
import type { WebSocket } from "ws";
import { linkPair, messagesOf } from "../test-support/link-pair.ts";
import { TunnelDesk, tunnelPath } from "./tunnel-desk.ts";

/** A machine's network that keeps what it is given. */
class FakeNetwork {
  readonly links: WebSocket[] = [];

  attachTunnel(link: WebSocket): void {
    this.links.push(link);
  }
}

const FIRST = tunnelPath("lineage", "m1");
const SECOND = tunnelPath("lineage", "m2");

test("[NE7] a link that comes before its machine waits, with what it says", async () => {
  const desk = new TunnelDesk();
  const [near, far] = await linkPair();
  expect(desk.accept(FIRST, near)).toBe(true);
  expect(near.isPaused).toBe(true);
  far.send(Uint8Array.of(7));
  const network = new FakeNetwork();
  const heard = messagesOf(near);
  desk.open("other", new FakeNetwork());
  desk.open("lineage", network);
  expect(network.links).toEqual([near]);
  await expect.poll(() => heard).toEqual([Uint8Array.of(7)]);
});

test("[NE7] a link that broke comes back to its network, wherever the machine is", async () => {
  const desk = new TunnelDesk();
  const [old, fresh] = [new FakeNetwork(), new FakeNetwork()];
  const [[first], [again], [other]] = [await linkPair(), await linkPair(), await linkPair()];
  desk.open("lineage", old);
  desk.accept(FIRST, first);
  desk.departed("lineage");
  desk.accept(FIRST, again);
  expect(old.links).toEqual([first, again]);
  // The machine is on its way back: what comes with it is not for the network that it has left.
  desk.accept(SECOND, other);
  expect(old.links.length).toBe(2);
  desk.open("lineage", fresh);
  expect(fresh.links).toEqual([other]);
  desk.close("lineage", old);
  const [late] = await linkPair();
  desk.accept(FIRST, late);
  expect(fresh.links).toEqual([other, late]);
});

test("[NE7] a machine that did not come gets nothing of the next attempt", async () => {
  const desk = new TunnelDesk();
  const [failed, network] = [new FakeNetwork(), new FakeNetwork()];
  desk.open("lineage", failed);
  desk.close("lineage", failed);
  const [link] = await linkPair();
  desk.accept(SECOND, link);
  desk.open("lineage", network);
  expect([failed.links, network.links]).toEqual([[], [link]]);
});

test("few links wait, other paths are not the desk's", async () => {
  const desk = new TunnelDesk();
  const [link] = await linkPair();
  expect(desk.accept("/v1/none", link)).toBe(false);
  link.setMaxListeners(100);
  for (let n = 0; n < 64; n++) desk.accept(tunnelPath(`lineage ${n}`, "m"), link);
  const [one, far] = await linkPair();
  const closed = once(far, "close");
  desk.accept(tunnelPath("one too many", "m"), one);
  await closed;
});
