import { describe, expect, test } from "vitest";
import { address } from "../address.ts";
import { parseForward } from "../forwards.ts";
import { NETWORK } from "../policy.ts";
import { tcpFrame } from "../test-support/guest-frames.ts";
import { Harness, segments } from "../test-support/harness.ts";
import { SEND_BUFFER_BYTES } from "./connection.ts";
import { RECEIVE_BUFFER_BYTES } from "./receiver.ts";
import { FLAG } from "./wire.ts";

const REMOTE = { guestPort: 40_000, remotePort: 80, remoteAddress: address("198.51.100.7") };
const HOST = { guestPort: 40_000, remotePort: 80, remoteAddress: NETWORK.gateway };
const FLAGS = FLAG.Ack | FLAG.Psh;

describe("opening", () => {
  test("the guest's SYN waits until the host has connected", () => {
    const harness = new Harness();
    const syn = tcpFrame({ ...REMOTE, sequence: 7, flags: FLAG.Syn, mss: 1000 });
    const outputs = harness.frame(syn);
    expect(outputs).toEqual([{ kind: "tcp-connect", socket: 2, host: "198.51.100.7", port: 80 }]);
    expect(harness.frame(syn)).toEqual([]);
    const [answer] = segments(harness.event({ kind: "tcp-connected", socket: 2 }));
    expect(answer).toMatchObject({ flags: FLAG.Syn | FLAG.Ack, acknowledgement: 8, mss: 1460 });
  });

  test("a host that refuses is a RST to the guest", () => {
    const harness = new Harness();
    harness.frame(tcpFrame({ ...REMOTE, sequence: 7, flags: FLAG.Syn }));
    const failed = harness.event({ kind: "tcp-failed", socket: 2 });
    expect(segments(failed)).toMatchObject([{ flags: FLAG.Rst | FLAG.Ack, acknowledgement: 8 }]);
    expect(harness.core.openFlows()).toEqual([]);
  });

  test("[NE3] the host's loopback is refused unless it is allowed", () => {
    for (const text of ["10.0.2.2", "127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"]) {
      const harness = new Harness();
      const remoteAddress = address(text);
      const syn = tcpFrame({ ...REMOTE, remoteAddress, sequence: 7, flags: FLAG.Syn });
      const outputs = harness.frame(syn);
      expect(segments(outputs)).toMatchObject([{ flags: FLAG.Rst | FLAG.Ack }]);
      expect(outputs).toHaveLength(1);
      expect(harness.drops("policy")).toBe(1);
    }
    const harness = new Harness({ rules: [{ action: "allow", address: "host", ports: [80, 80] }] });
    const outputs = harness.frame(tcpFrame({ ...HOST, sequence: 7, flags: FLAG.Syn }));
    expect(outputs).toMatchObject([{ kind: "tcp-connect", host: "127.0.0.1", port: 80 }]);
  });

  test("[NE4] what acknowledges another SYN is reset, and the connection opens then", () => {
    const harness = new Harness();
    harness.frame(tcpFrame({ ...REMOTE, sequence: 7, flags: FLAG.Syn }));
    const [answer] = segments(harness.event({ kind: "tcp-connected", socket: 2 }));
    const first = (answer?.sequence ?? 0) + 1;
    const acknowledge = (acknowledgement: number) =>
      harness.frame(tcpFrame({ ...REMOTE, sequence: 8, acknowledgement, flags: FLAG.Ack }));
    for (const other of [first - 1, first + 1, 99]) {
      const outputs = acknowledge(other);
      expect(segments(outputs)).toMatchObject([{ flags: FLAG.Rst, sequence: other }]);
      expect(outputs).toHaveLength(1);
    }
    expect(harness.core.metrics()).toMatchObject({ tcpResetsSent: 3 });
    const payload = Uint8Array.of(1);
    const data = { sequence: 8, acknowledgement: first, flags: FLAGS, payload };
    const outputs = harness.frame(tcpFrame({ ...REMOTE, ...data }));
    expect(outputs).toMatchObject([{ kind: "tcp-send", socket: 2, bytes: payload }]);
  });

  test("[NE4] the same where the gateway has sent the first SYN", () => {
    const harness = new Harness();
    harness.core.addForward(1, parseForward("0:22"));
    const peer = { host: "192.0.2.9", port: 5 };
    const [syn] = segments(harness.event({ kind: "tcp-accepted", socket: 1, forward: 1, peer }));
    expect(syn).toMatchObject({ flags: FLAG.Syn, targetPort: 22 });
    const ports = {
      guestPort: 22,
      remotePort: syn?.sourcePort ?? 0,
      remoteAddress: syn?.source ?? 0,
    };
    const answer = (acknowledgement: number, flags: number) =>
      harness.frame(tcpFrame({ ...ports, sequence: 500, acknowledgement, flags }));
    const first = (syn?.sequence ?? 0) + 1;
    for (const flags of [FLAG.Ack, FLAG.Syn | FLAG.Ack]) {
      const reset = { flags: FLAG.Rst, sequence: first + 1 };
      expect(segments(answer(first + 1, flags))).toMatchObject([reset]);
    }
    // Neither is a RST answered, nor what acknowledges the right SYN without one of its own.
    expect(answer(first + 1, FLAG.Rst | FLAG.Ack)).toEqual([]);
    expect(answer(first, FLAG.Ack)).toEqual([]);
    answer(first, FLAG.Syn | FLAG.Ack);
    expect(harness.core.metrics()).toMatchObject({ tcpResetsSent: 2, tcpOpenedIn: 1 });
  });

  test("[NE4] a segment of an unknown connection is reset", () => {
    const harness = new Harness();
    const [reset] = segments(
      harness.frame(tcpFrame({ ...REMOTE, sequence: 7, acknowledgement: 99, flags: FLAG.Ack })),
    );
    expect(reset).toMatchObject({ flags: FLAG.Rst, sequence: 99 });
    expect(harness.drops("unknown-flow")).toBe(1);
    // A RST is not answered: two that do not know each other would never stop.
    expect(harness.frame(tcpFrame({ ...REMOTE, sequence: 7, flags: FLAG.Rst }))).toEqual([]);
  });

  test("limits of connections and half-open ones hold, exactly", () => {
    const limits = { tcpConnections: 4, tcpHalfOpen: 3 };
    const harness = new Harness({ limits });
    const syn = (guestPort: number) =>
      harness.frame(tcpFrame({ ...REMOTE, guestPort, sequence: 7, flags: FLAG.Syn })).length;
    expect([1, 2, 3, 4].map(syn)).toEqual([1, 1, 1, 0]);
    expect(harness.drops("half-open-limit")).toBe(1);
    const full = new Harness({ limits });
    for (const guestPort of [1, 2, 3, 4]) full.open({ ...REMOTE, guestPort });
    full.frame(tcpFrame({ ...REMOTE, guestPort: 5, sequence: 7, flags: FLAG.Syn }));
    expect(full.drops("connection-limit")).toBe(1);
  });
});

describe("data", () => {
  test("goes to the host at once and is acknowledged a little later, or with an answer", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    const payload = Uint8Array.of(1, 2, 3);
    const numbers = { sequence: ours, acknowledgement: theirs, flags: FLAGS };
    const outputs = harness.frame(tcpFrame({ ...REMOTE, ...numbers, payload }));
    expect(outputs).toMatchObject([{ kind: "tcp-send", socket, bytes: payload }]);
    expect(segments(harness.wait(4))).toEqual([]);
    const answer = { kind: "tcp-data" as const, socket, bytes: Uint8Array.of(9) };
    expect(segments(harness.event(answer))).toMatchObject([{ acknowledgement: ours + 3 }]);
    expect(segments(harness.wait(100))).toEqual([]);
    harness.frame(tcpFrame({ ...REMOTE, ...numbers, sequence: ours + 3, payload }));
    expect(segments(harness.wait(5))).toMatchObject([{ acknowledgement: ours + 6 }]);
  });

  test("[NE6] a host that does not take it shuts the guest's window; then it opens again", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    const payload = new Uint8Array(1460);
    let sequence = ours;
    let window = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 1000 && window > 0; i++) {
      const frame = tcpFrame({
        ...REMOTE,
        sequence,
        acknowledgement: theirs,
        flags: FLAGS,
        payload,
      });
      sequence += payload.length;
      for (const answer of segments(harness.frame(frame))) window = answer.window;
      for (const answer of segments(harness.wait(5))) window = answer.window;
    }
    expect(window).toBe(0);
    const { bufferedBytes } = harness.core.metrics().now;
    expect(bufferedBytes).toBeGreaterThan(RECEIVE_BUFFER_BYTES - 2 * payload.length);
    expect(bufferedBytes).toBeLessThanOrEqual(RECEIVE_BUFFER_BYTES);
    const [opened] = segments(harness.event({ kind: "tcp-sent", socket, bytes: 100_000 }));
    expect((opened?.window ?? 0) << 4).toBeGreaterThan(90_000);
  });

  test("[NE6] a guest that does not take it stops the host's reader; then it goes on", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE, { window: 1000 });
    const bytes = new Uint8Array(65_536);
    const stops: number[] = [];
    for (let sent = 0; stops.length === 0; sent += bytes.length) {
      const outputs = harness.event({ kind: "tcp-data", socket, bytes });
      if (outputs.some((each) => each.kind === "tcp-read" && !each.on)) stops.push(sent);
    }
    expect(stops[0]).toBeLessThan(SEND_BUFFER_BYTES);
    expect(segments(harness.wait(10_000)).length).toBeGreaterThan(2);
    let acknowledgement = theirs;
    let reading = false;
    for (let i = 0; i < 2000 && !reading; i++) {
      acknowledgement = (acknowledgement + 1000) >>> 0;
      const frame = { ...REMOTE, sequence: ours, acknowledgement, flags: FLAG.Ack, window: 1000 };
      const outputs = harness.frame(tcpFrame(frame));
      reading = outputs.some((each) => each.kind === "tcp-read" && each.on);
    }
    expect(reading).toBe(true);
  });

  test("a window that is shut is asked about for as long as the guest answers", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE, { window: 0 });
    harness.event({ kind: "tcp-data", socket, bytes: Uint8Array.of(1, 2) });
    for (let i = 0; i < 50; i++) {
      const probes = segments(harness.wait(60_001));
      expect(probes.length).toBeGreaterThan(0);
      const shut = { sequence: ours, acknowledgement: theirs, flags: FLAG.Ack, window: 0 };
      harness.frame(tcpFrame({ ...REMOTE, ...shut }));
    }
    const open = { sequence: ours, acknowledgement: theirs, flags: FLAG.Ack, window: 100 };
    const [data] = segments(harness.frame(tcpFrame({ ...REMOTE, ...open })));
    expect(data && data.end - data.start).toBe(2);
  });

  test("three repeated acknowledgements bring the lost segment at once", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    harness.event({ kind: "tcp-data", socket, bytes: new Uint8Array(7300) });
    const repeat = { ...REMOTE, sequence: ours, acknowledgement: theirs, flags: FLAG.Ack };
    const answers = [1, 2, 3].map(() => segments(harness.frame(tcpFrame(repeat))));
    expect(answers.map((each) => each.length)).toEqual([0, 0, 1]);
    expect(answers[2]?.[0]).toMatchObject({ sequence: theirs });
    expect(harness.core.metrics().tcpFastRetransmits).toBe(1);
  });
});

test("each hole of several is filled as soon as the one before it is", () => {
  const harness = new Harness();
  const { socket, ours, theirs } = harness.open(REMOTE);
  harness.event({ kind: "tcp-data", socket, bytes: new Uint8Array(14_600) });
  const ack = (acknowledgement: number) =>
    segments(
      harness.frame(tcpFrame({ ...REMOTE, sequence: ours, acknowledgement, flags: FLAG.Ack })),
    );
  for (let i = 0; i < 2; i++) ack(theirs);
  expect(ack(theirs)).toMatchObject([{ sequence: theirs }]);
  const hole = theirs + 3 * 1460;
  expect(ack(hole)[0]).toMatchObject({ sequence: hole });
});

describe("closing", () => {
  test("either side may close first, and the other goes on sending", () => {
    const harness = new Harness();
    const { socket, ours, theirs } = harness.open(REMOTE);
    const [fin] = segments(harness.event({ kind: "tcp-ended", socket }));
    expect(fin).toMatchObject({ flags: FLAG.Ack | FLAG.Fin, sequence: theirs });
    const acknowledgement = theirs + 1;
    const payload = Uint8Array.of(5);
    const data = { ...REMOTE, sequence: ours, acknowledgement, flags: FLAGS, payload };
    expect(harness.frame(tcpFrame(data))).toMatchObject([{ kind: "tcp-send", bytes: payload }]);
    const last = { ...data, sequence: ours + 1, flags: FLAG.Ack | FLAG.Fin };
    const outputs = harness.frame(tcpFrame({ ...last, payload: new Uint8Array(0) }));
    expect(outputs).toContainEqual({ kind: "tcp-end", socket });
    expect(segments(outputs)).toMatchObject([{ acknowledgement: ours + 2 }]);
    harness.event({ kind: "tcp-sent", socket, bytes: 1 });
    harness.wait(11_000);
    expect(harness.core.openFlows()).toEqual([]);
  });

  test("only a RST with the very next number resets; another is asked about", () => {
    const harness = new Harness();
    const { socket, ours } = harness.open(REMOTE);
    const near = harness.frame(tcpFrame({ ...REMOTE, sequence: ours + 9, flags: FLAG.Rst }));
    expect(segments(near)).toMatchObject([{ flags: FLAG.Ack, acknowledgement: ours }]);
    const outputs = harness.frame(tcpFrame({ ...REMOTE, sequence: ours, flags: FLAG.Rst }));
    expect(outputs).toContainEqual({ kind: "tcp-reset", socket });
    expect(harness.core.openFlows()).toEqual([]);
  });

  test("a guest that is silent for hours is asked, then given up", () => {
    const harness = new Harness();
    const { socket } = harness.open(REMOTE);
    expect(segments(harness.wait(7_100_000))).toEqual([]);
    const rest = harness.wait(3_600_000);
    expect(segments(rest).length).toBeGreaterThan(5);
    expect(rest).toContainEqual({ kind: "tcp-reset", socket });
  });
});

describe("[NE5] an unplugged cable", () => {
  test("holds the timers; data goes on when it is back", () => {
    const harness = new Harness();
    const { socket, theirs } = harness.open(REMOTE);
    harness.core.setPlugged(false, harness.now);
    const bytes = Uint8Array.of(1, 2, 3);
    expect(harness.event({ kind: "tcp-data", socket, bytes })).toEqual([]);
    expect(harness.wait(10 * 3_600_000)).toEqual([]);
    expect(harness.core.openFlows()).toHaveLength(1);
    harness.core.setPlugged(true, harness.now);
    expect(segments(harness.outputs())).toMatchObject([{ sequence: theirs, flags: FLAGS }]);
  });

  test("what was on its way when it was pulled out is sent again at once", () => {
    const harness = new Harness();
    const { socket, theirs } = harness.open(REMOTE);
    harness.event({ kind: "tcp-data", socket, bytes: Uint8Array.of(1, 2, 3) });
    harness.core.setPlugged(false, harness.now);
    harness.wait(60_000);
    harness.core.setPlugged(true, harness.now);
    const [again] = segments(harness.outputs());
    expect(again).toMatchObject({ sequence: theirs });
    expect(again && again.end - again.start).toBe(3);
  });
});
