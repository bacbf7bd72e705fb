/**
 * Real WebSockets through the WAN rig, whose connections share one queue: at full bulk load the
 * trace comes in time. Both ends are in this process, so one clock times the way.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DEFAULT_LINK_TIMES,
  decodeFrame,
  type FrameSocketEvents,
  frameSocketOf,
  LinkDriver,
  type LinkHandlers,
  PROTOCOL_VERSIONS,
} from "@dejavm/protocol";
import { findWanProfile, WanRig } from "@dejavm/wan";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";

/** Bulk learns the path at first. */
const WARM_UP_MS = 2500;
/** Measured at once, and at most where the host is busy. */
const MEASURED_MS = 3000;
const MOST_MEASURED_MS = 15_000;
const TRACE_EVERY_MS = 10;
/** Timers of a busy host that are later than this make everything late, for a while. */
const LATE_TIMER_MS = 5;
const LATE_FOR_MS = 100;
/** Messages that are judged, from times in which the host was not late; 300 are sent at once. */
const ENOUGH = 60;

const LINK = {
  link: "link-1",
  agent: "test",
  capabilities: [],
  versions: PROTOCOL_VERSIONS,
  bulkChannels: 1,
  maxBytesPerMs: Number.POSITIVE_INFINITY,
  times: DEFAULT_LINK_TIMES,
};

function handlers(over: Partial<LinkHandlers> = {}): LinkHandlers {
  const nothing = () => undefined;
  const none = { onMessage: nothing, onUp: nothing, onDown: nothing, onIdle: nothing };
  return {
    ...none,
    onLost: (error) => {
      throw error;
    },
    ...over,
  };
}

/** The listener's side: the first message of a connection is its greeting. */
function listen(link: LinkDriver): WebSocketServer {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
  server.on("connection", (socket) => {
    let events: FrameSocketEvents | undefined;
    const frames = frameSocketOf(socket, {
      onMessage: (bytes) => {
        if (events !== undefined) return events.onMessage(bytes);
        const hello = decodeFrame(bytes);
        if (hello.kind === "hello") events = link.attach(frames, hello);
      },
      onClose: (code) => events?.onClose(code),
    });
  });
  return server;
}

function dial(port: number, events: FrameSocketEvents) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
  const frames = frameSocketOf(socket, events);
  return new Promise<typeof frames>((resolve, reject) => {
    socket.on("open", () => resolve(frames));
    socket.on("error", reject);
  });
}

/** Of a trace message, in milliseconds of one clock. */
interface Arrival {
  readonly sentAt: number;
  readonly at: number;
}

test.for(["continental", "intercontinental"])(
  "[PR7] through the rig, %s: bulk fills the path, the trace is at most 20 ms late",
  async (name, context) => {
    const profile = findWanProfile(name);
    if (profile === undefined) throw new Error("the profile exists");
    const arrivals: Arrival[] = [];
    const lateBeats: number[] = [];
    const isCalm = ({ sentAt, at }: Arrival): boolean =>
      !lateBeats.some((beat) => beat >= sentAt - LATE_FOR_MS && beat <= at);
    let bulkBytes = 0;
    let isMeasuring = false;
    const far = new LinkDriver(LINK, undefined, {
      ...handlers(),
      onMessage: (message) => {
        if (isMeasuring && message.kind === "page-group") bulkBytes += message.data.length;
        if (message.kind !== "segment") return;
        const sentAt = new DataView(message.bytes.slice().buffer).getFloat64(0);
        if (isMeasuring) arrivals.push({ sentAt, at: performance.now() });
      },
    });
    const server = listen(far);
    await once(server, "listening");
    const local = (port: number) => ({ kind: "tcp" as const, host: "127.0.0.1", port });
    const to = local((server.address() as AddressInfo).port);
    const rig = await WanRig.listen({ listen: local(0), to, profile, seed: 1 });
    const { address } = rig;
    if (address.kind !== "tcp") throw new Error("it listens on a port");
    const near = new LinkDriver(LINK, (_, events) => dial(address.port, events), handlers());
    onTestFinished(async () => {
      near.close();
      far.close();
      server.close();
      await rig.close();
    });
    let beatAt = performance.now();
    const bulk = setInterval(() => {
      const now = performance.now();
      if (now - beatAt > 1 + LATE_TIMER_MS) lateBeats.push(now);
      beatAt = now;
      for (let room = near.state.bulkRoom; room > 0; room = near.state.bulkRoom) {
        const count = Math.max(1, Math.floor(near.state.bulkMessageBytes / 4096));
        near.sendBulk({
          kind: "page-group",
          checkpoint: 0,
          codec: "raw",
          pages: Array.from({ length: count }, (_, i) => i),
          data: new Uint8Array(count * 4096),
        });
      }
    }, 1);
    const trace = setInterval(() => {
      const bytes = new Uint8Array(200);
      new DataView(bytes.buffer).setFloat64(0, performance.now());
      near.send({ kind: "segment", bytes });
    }, TRACE_EVERY_MS);
    await sleep(WARM_UP_MS);
    isMeasuring = true;
    let measuredMs = 0;
    do {
      await sleep(MEASURED_MS);
      measuredMs += MEASURED_MS;
    } while (arrivals.filter(isCalm).length < ENOUGH && measuredMs < MOST_MEASURED_MS);
    clearInterval(bulk);
    clearInterval(trace);
    isMeasuring = false;
    const late = arrivals
      .filter(isCalm)
      .map(({ sentAt, at }) => at - sentAt - profile.up.delayMs)
      .toSorted((a, b) => a - b);
    const rate = (bulkBytes * 8) / 1000 / measuredMs / profile.up.rateMbit;
    const at = (share: number) => Math.round(late[Math.floor(late.length * share)] ?? -1);
    console.log(`${name}: ${late.length} messages, late ${at(0.5)} ms in the middle, ${at(0.95)}`);
    console.log(`bulk at ${Math.round(rate * 100)} % of the path; ${JSON.stringify(near.state)}`);
    // The host is shared: its own delays count neither for nor against the pacer, whose shares are
    // asserted on an invented clock.
    expect(rate).toBeGreaterThan(0.25);
    const why = `the host was too busy: timers ${LATE_TIMER_MS} ms late`;
    if (late.length < ENOUGH) return context.skip(why);
    expect(at(0.5)).toBeLessThan(20);
  },
);
