import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { address } from "./address.ts";
import { FlowSwitch } from "./flow-switch.ts";
import { NETWORK } from "./policy.ts";
import type { Flow } from "./socket-events.ts";
import { FLAG } from "./tcp/wire.ts";
import { tcpFrame, udpFrame } from "./test-support/guest-frames.ts";
import { decodeTunnelMessage, encodeTunnelMessage, type TunnelMessage } from "./tunnel-wire.ts";

const FLOW: Flow = {
  protocol: "tcp",
  guestPort: 40_000,
  remoteAddress: "198.51.100.7",
  remotePort: 80,
};
const ENDS = { guestPort: 40_000, remotePort: 80, remoteAddress: address("198.51.100.7") };
const DATA = { sequence: 1, flags: FLAG.Ack };

describe("[NE7] flow switch", () => {
  test("a flow goes where it was, all that differs in anything stays here", () => {
    const flows = new FlowSwitch<string>();
    flows.add("old", [FLOW]);
    expect(flows.route(tcpFrame({ ...ENDS, ...DATA }))).toBe("old");
    expect(flows.route(tcpFrame({ ...ENDS, ...DATA, guestPort: 40_001 }))).toBeUndefined();
    expect(flows.route(tcpFrame({ ...ENDS, ...DATA, remotePort: 81 }))).toBeUndefined();
    const elsewhere = { remoteAddress: NETWORK.gateway };
    expect(flows.route(tcpFrame({ ...ENDS, ...DATA, ...elsewhere }))).toBeUndefined();
    const datagram = { sourcePort: 40_000, targetPort: 80, payload: new Uint8Array(3) };
    expect(flows.route(udpFrame(datagram, { target: ENDS.remoteAddress }))).toBeUndefined();
    expect(flows.route(new Uint8Array(60))).toBeUndefined();
  });

  test("flows of several moves go each to its owner, until they end or their way is gone", () => {
    const flows = new FlowSwitch<string>();
    flows.add("first", [FLOW]);
    flows.add("second", [{ ...FLOW, guestPort: 5 }]);
    const [a, b] = [tcpFrame({ ...ENDS, ...DATA }), tcpFrame({ ...ENDS, ...DATA, guestPort: 5 })];
    expect([flows.route(a), flows.route(b)]).toEqual(["first", "second"]);
    flows.flowEnded("second", FLOW);
    expect(flows.route(a)).toBe("first");
    flows.flowEnded("first", FLOW);
    expect([flows.route(a), flows.route(b)]).toEqual([undefined, "second"]);
    flows.remove("second");
    expect(flows.route(b)).toBeUndefined();
    expect(flows.flowCount).toBe(0);
  });
});

describe("tunnel messages", () => {
  const messages: TunnelMessage[] = [
    { kind: "frame", bytes: new Uint8Array(14).fill(3) },
    { kind: "flows", flows: [] },
    { kind: "flows", flows: [FLOW, { ...FLOW, protocol: "udp", remoteAddress: "255.0.0.1" }] },
    { kind: "flow-ended", flow: FLOW },
    { kind: "bye" },
  ];

  test.each(messages)("$kind comes back as it was", (message) => {
    expect(decodeTunnelMessage(encodeTunnelMessage(message))).toEqual(message);
  });

  test("golden bytes of a flow", () => {
    const bytes = encodeTunnelMessage({ kind: "flow-ended", flow: FLOW });
    expect([...bytes]).toEqual([3, 6, 0x9c, 0x40, 198, 51, 100, 7, 0, 80]);
  });

  test("anything else is E_NET_TUNNEL and nothing worse", () => {
    const prng = new Prng(9);
    let refused = 0;
    for (let i = 0; i < 5000; i++) {
      const bytes = prng.fill(new Uint8Array(prng.below(40)));
      if (bytes.length > 0) bytes[0] = prng.below(6);
      try {
        decodeTunnelMessage(bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: "E_NET_TUNNEL" });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });
});
