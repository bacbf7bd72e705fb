/** [NE2] Frames that nobody should send. */
import { randomInt } from "node:crypto";
import { finishSum, Prng, sumBytes } from "@dejavm/base";
import { expect, test } from "vitest";
import { put16 } from "./bytes.ts";
import { MAX_FRAME_BYTES } from "./gateway-core.ts";
import { NETWORK } from "./policy.ts";
import { ipFrame, tcpFrame, udpFrame } from "./test-support/guest-frames.ts";
import { Harness } from "./test-support/harness.ts";

const SEED = Number(process.env.DEJAVM_SEED ?? randomInt(2 ** 31));
const FRAMES = 20_000;

function anyFrame(prng: Prng): Uint8Array {
  const ports = { guestPort: prng.below(4), remotePort: prng.below(4) };
  const payload = prng.fill(new Uint8Array(prng.below(prng.pick([1, 40, 1400]))));
  const numbers = { sequence: prng.u32(), acknowledgement: prng.u32(), flags: prng.below(64) };
  const options = prng.oneIn(2) ? { mss: prng.below(65_536), windowScale: prng.below(256) } : {};
  switch (prng.below(5)) {
    case 0:
      return prng.fill(new Uint8Array(prng.below(200)));
    case 1:
      return ipFrame(prng.below(20), payload, {
        target: prng.pick([NETWORK.gateway, NETWORK.dns]),
      });
    case 2: {
      const targetPort = prng.pick([53, 67, 9]);
      const target = prng.pick([NETWORK.gateway, NETWORK.dns, 0xffff_ffff, prng.u32()]);
      return udpFrame({ sourcePort: prng.pick([68, 9]), targetPort, payload }, { target });
    }
    default:
      return tcpFrame({ ...ports, ...numbers, ...options, payload });
  }
}

/** Damages the IPv4 header and makes its checksum right again, so that more is looked at. */
function damage(prng: Prng, frame: Uint8Array): Uint8Array {
  if (frame.length < 34) return frame;
  const at = 14 + prng.below(20);
  frame[at] = prng.below(256);
  put16(frame, 24, 0);
  put16(frame, 24, finishSum(sumBytes(frame, 14, 34)));
  return prng.oneIn(3) ? frame.subarray(0, prng.below(frame.length)) : frame;
}

test(`[NE2] ${FRAMES} frames of all kinds from seed ${SEED} are counted and leave nothing`, () => {
  const prng = new Prng(SEED);
  const rules = [{ action: "allow" }] as const;
  const resolvers = [{ host: "192.0.2.1", port: 53 }];
  const limits = { tcpConnections: 50, udpFlows: 50 };
  const harness = new Harness({ seed: SEED, rules, resolvers, limits });
  const { core } = harness;
  for (let i = 0; i < FRAMES; i++) {
    const frame = anyFrame(prng);
    for (const output of harness.frame(prng.oneIn(3) ? damage(prng, frame) : frame)) {
      if (output.kind !== "tcp-connect") continue;
      const { socket } = output;
      const fate = prng.below(4);
      if (fate > 1) harness.event({ kind: "tcp-connected", socket });
      if (fate === 1) harness.event({ kind: "tcp-failed", socket });
    }
    if (prng.oneIn(20)) harness.wait(prng.below(500));
  }
  const { drops, framesFromGuest, now } = core.metrics();
  expect(framesFromGuest).toBe(FRAMES);
  expect(now.tcpConnections).toBeLessThanOrEqual(50);
  expect(now.udpFlows).toBeLessThanOrEqual(50);
  expect(drops.malformed).toBeGreaterThan(100);
  expect(drops.checksum).toBeGreaterThan(100);
  core.abortAll(harness.now);
  harness.outputs();
  harness.wait(600_000);
  expect(core.openFlows()).toEqual([]);
  expect(core.metrics().now.bufferedBytes).toBe(0);
});

test.each([
  [13, 1],
  [14, 0],
  [MAX_FRAME_BYTES, 0],
  [MAX_FRAME_BYTES + 1, 1],
])("[NE2] a frame of %i bytes is malformed: %i", (length, count) => {
  const harness = new Harness();
  harness.frame(new Uint8Array(length).fill(255));
  expect(harness.drops("malformed")).toBe(count);
});
