import { CodedError, Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import type { Output } from "../../device.ts";
import {
  FAKE_RAM_BASE,
  FakeDriver,
  type FakeDriverOptions,
  FakeIrq,
  FakeMemory,
  type Scenario,
  tryAbsentPages,
} from "../test-support/fake-guest.ts";
import { DESC_FLAG, FEATURE, INTERRUPT, REG, STATUS } from "../wire.ts";
import { VirtioNet } from "./device.ts";
import {
  MAX_FRAME_BYTES,
  MAX_WAITING_BYTES,
  MAX_WAITING_FRAMES,
  MIN_FRAME_BYTES,
  NET_FEATURE,
  NET_HEADER_BYTES,
  NET_QUEUE,
} from "./wire.ts";

const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);

function make(ramBytes = 1024 * 1024) {
  const memory = new FakeMemory(ramBytes);
  const irq = new FakeIrq();
  const frames: Uint8Array[] = [];
  const output = (out: Output) => {
    expect(out.kind).toBe("frame");
    frames.push(out.bytes);
  };
  const device = new VirtioNet({ name: "virtio-net.0", memory, irq, output, mac: MAC });
  return { memory, irq, frames, device };
}

function start(options: FakeDriverOptions = {}) {
  const made = make();
  const features = [NET_FEATURE.Mac, NET_FEATURE.Status, ...(options.features ?? [])];
  const driver = new FakeDriver(made.device, made.memory, { ...options, features });
  driver.start(2);
  const rx = driver.queue(NET_QUEUE.Receive);
  const tx = driver.queue(NET_QUEUE.Transmit);
  return { ...made, driver, rx, tx };
}

type Parts = ReturnType<typeof start>;

const frame = (length: number, value = 1) => new Uint8Array(length).fill(value);
const header = () => new Uint8Array(NET_HEADER_BYTES);

/** Posts a receive buffer and returns where it is. */
function post({ rx }: Parts, length = 1526): number {
  return rx.add([length]).addresses[0] ?? 0;
}

function received({ rx, memory }: Parts, address: number): Uint8Array {
  const [used] = rx.takeUsed();
  return memory.view(address, used?.length ?? 0).slice(NET_HEADER_BYTES);
}

describe("the network device", () => {
  test("describes itself", () => {
    const { device, driver } = start();
    expect(device.read(REG.DeviceId, 4)).toBe(1);
    expect([0, 1, 2, 3, 4, 5].map((i) => device.read(REG.Config + i, 1))).toEqual([...MAC]);
    expect(device.read(REG.Config + 6, 2)).toBe(1);
    expect(device.read(REG.Config + 10, 2)).toBe(65_520);
    const features = Object.values(NET_FEATURE).reduce<number>((bits, bit) => bits | (1 << bit), 0);
    expect(driver.get(REG.DeviceFeatures) & 0xff_ffff).toBe(features);
  });

  test("sends frames without their header, from one buffer or several", () => {
    const { tx, driver, frames } = start();
    tx.add([header(), frame(60, 2)]);
    tx.add([Uint8Array.from([...header(), ...frame(20, 3)]), frame(1000, 4)]);
    driver.notify(NET_QUEUE.Transmit);
    expect(frames).toEqual([frame(60, 2), Uint8Array.from([...frame(20, 3), ...frame(1000, 4)])]);
    expect(tx.takeUsed().map(({ length }) => length)).toEqual([0, 0]);
  });

  test.each([
    [MIN_FRAME_BYTES - 1, 0],
    [MIN_FRAME_BYTES, 1],
    [MIN_FRAME_BYTES + 1, 1],
    [MAX_FRAME_BYTES - 1, 1],
    [MAX_FRAME_BYTES, 1],
    [MAX_FRAME_BYTES + 1, 0],
  ])("of a frame of %i bytes passes %i, either way", (length, passed) => {
    const parts = start();
    parts.tx.add([header(), frame(length)]);
    parts.driver.notify(NET_QUEUE.Transmit);
    expect(parts.frames).toHaveLength(passed);
    expect(parts.tx.takeUsed()).toHaveLength(1);
    post(parts, 70_000);
    parts.device.receive(frame(length));
    expect(parts.rx.takeUsed()).toHaveLength(passed);
    expect(parts.device.drops).toEqual({ received: 1 - passed, sent: 1 - passed });
  });

  test("receives into a posted buffer, with a header that says one buffer", () => {
    const parts = start();
    const address = post(parts);
    expect(parts.device.receive(frame(100, 7))).toBeUndefined();
    expect(parts.irq.asserted).toBe(true);
    const bytes = parts.memory.view(address, NET_HEADER_BYTES);
    expect([...bytes]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    expect(received(parts, address)).toEqual(frame(100, 7));
  });

  test("keeps frames in order until there are buffers", () => {
    const parts = start();
    for (const value of [1, 2, 3]) parts.device.receive(frame(50, value));
    expect(parts.irq.asserted).toBe(false);
    const addresses = [post(parts), post(parts)];
    parts.driver.notify(NET_QUEUE.Receive);
    expect(parts.rx.takeUsed()).toHaveLength(2);
    const firsts = addresses.map((at) => parts.memory.view(at + NET_HEADER_BYTES, 1)[0]);
    expect(firsts).toEqual([1, 2]);
    const third = post(parts);
    const fourth = post(parts);
    parts.device.receive(frame(50, 4));
    expect(parts.memory.view(third + NET_HEADER_BYTES, 1)[0]).toBe(3);
    expect(parts.memory.view(fourth + NET_HEADER_BYTES, 1)[0]).toBe(4);
  });

  test("with EVENT_IDX asks for a notification when it runs out of buffers", () => {
    const parts = start({ features: [FEATURE.EventIdx] });
    post(parts);
    post(parts);
    parts.device.receive(frame(50));
    expect(parts.rx.availEvent).toBe(0);
    parts.device.receive(frame(50));
    expect(parts.rx.availEvent).toBe(2);
  });

  test("drops a frame that is too big for the next buffer, which serves the one after", () => {
    const parts = start();
    const address = post(parts, 100);
    parts.device.receive(frame(89));
    expect(parts.device.drops.received).toBe(1);
    parts.device.receive(frame(88, 5));
    expect(received(parts, address)).toEqual(frame(88, 5));
  });

  test.each([
    ["frames", 60, MAX_WAITING_FRAMES],
    ["bytes", 32_768, MAX_WAITING_BYTES / 32_768],
  ])("drops the newest beyond the limit of %s", (_what, length, limit) => {
    const { device } = start();
    for (let i = 0; i < limit - 1; i++) device.receive(frame(length));
    for (const dropped of [0, 0, 1]) {
      expect(device.drops.received).toBe(dropped);
      device.receive(frame(length));
    }
    expect(device.drops.received).toBe(2);
  });

  test("drops frames before the driver is there, and what waits at a reset", () => {
    const { device } = make();
    device.receive(frame(60));
    expect(device.drops.received).toBe(1);
    const parts = start();
    parts.device.receive(frame(60));
    parts.driver.start(2);
    const address = post({ ...parts, rx: parts.driver.queue(0) });
    parts.driver.notify(NET_QUEUE.Receive);
    expect(parts.memory.view(address, 100)).toEqual(new Uint8Array(100));
  });

  test("tells the driver of link changes, and passes nothing while it is down", () => {
    const parts = start();
    const generation = parts.driver.get(REG.ConfigGeneration);
    parts.device.setLink(false);
    parts.device.setLink(false);
    expect(parts.driver.get(REG.InterruptStatus)).toBe(INTERRUPT.ConfigChange);
    expect(parts.driver.get(REG.ConfigGeneration)).toBe(generation + 1);
    expect(parts.device.read(REG.Config + 6, 2)).toBe(0);
    parts.tx.add([header(), frame(60)]);
    parts.driver.notify(NET_QUEUE.Transmit);
    post(parts);
    parts.device.receive(frame(60));
    expect([parts.frames.length, parts.rx.takeUsed().length]).toEqual([0, 0]);
    parts.device.setLink(true);
    parts.device.receive(frame(60));
    expect(parts.rx.takeUsed()).toHaveLength(1);
  });

  describe("with buffers that are merged", () => {
    const features = [NET_FEATURE.MergeReceiveBuffers, FEATURE.EventIdx];

    test("a frame takes as many as it needs, and the first says how many", () => {
      const parts = start({ features });
      const addresses = [post(parts, 100), post(parts, 100), post(parts, 100), post(parts, 100)];
      parts.device.receive(Uint8Array.from({ length: 250 }, (_, i) => i));
      const used = parts.rx.takeUsed();
      expect(used.map(({ length }) => length)).toEqual([100, 100, 62]);
      const bytes = addresses.flatMap((at, i) => [...parts.memory.view(at, used[i]?.length ?? 0)]);
      expect(bytes.slice(0, 12)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0]);
      expect(bytes.slice(12)).toEqual(Array.from({ length: 250 }, (_, i) => i));
      parts.device.receive(frame(88, 9));
      expect(parts.rx.takeUsed()).toHaveLength(1);
    });

    test("too few leave it waiting whole, and the driver is asked to tell of more", () => {
      const parts = start({ features });
      post(parts, 100);
      post(parts, 100);
      parts.device.receive(frame(250));
      expect(parts.rx.takeUsed()).toEqual([]);
      expect(parts.rx.availEvent).toBe(2);
      post(parts, 100);
      parts.driver.notify(NET_QUEUE.Receive);
      expect(parts.rx.takeUsed()).toHaveLength(3);
    });

    test("one that the whole queue cannot hold is dropped and holds nothing up", () => {
      const parts = start({ features, queueSize: 4 });
      for (let i = 0; i < 4; i++) post(parts, 100);
      parts.device.receive(frame(389));
      expect(parts.device.drops.received).toBe(1);
      parts.device.receive(frame(388));
      expect(parts.rx.takeUsed()).toHaveLength(4);
    });
  });

  describe("checksums", () => {
    /** IPv4 with UDP, 5 bytes of payload; the checksum is `sum`. */
    const udp = (sum: number) => {
      const bytes = new Uint8Array(47);
      bytes.set([8, 0, 0x45, 0, 0, 33], 12);
      bytes.set([17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2], 23);
      bytes.set([0, 9, 0, 9, 0, 13, sum >>> 8, sum & 255, 1, 2, 3, 4, 5], 34);
      return bytes;
    };
    /** By hand: addresses, protocol, length, header, payload. */
    const words = [0x0a00, 0x020f, 0x0a00, 0x0202, 17, 13, 9, 9, 13, 0x0102, 0x0304, 0x0500];
    const total = words.reduce((sum, word) => sum + word, 0);
    const right = ~((total & 0xffff) + (total >>> 16)) & 0xffff;

    function send(parts: Parts, bytes: Uint8Array, place: readonly [number, number]): void {
      const head = header();
      head.set([1, 0, 0, 0, 0, 0, place[0], 0, place[1], 0]);
      parts.tx.add([head, bytes]);
      parts.driver.notify(NET_QUEUE.Transmit);
    }

    test("of sent frames are completed where the driver asks for it", () => {
      const parts = start({ features: [NET_FEATURE.Checksum] });
      const pseudo = 0x0a00 + 0x020f + 0x0a00 + 0x0202 + 17 + 13;
      send(parts, udp(pseudo), [34, 6]);
      expect(parts.frames).toEqual([udp(right)]);
      send(parts, udp(pseudo), [34, 12]);
      expect(parts.frames).toHaveLength(1);
      expect(parts.device.drops.sent).toBe(1);
    });

    test("are left alone for a driver that did not ask for the feature", () => {
      const parts = start();
      send(parts, udp(7), [34, 6]);
      expect(parts.frames).toEqual([udp(7)]);
    });

    test.each([
      ["right", udp(right), 2],
      ["wrong", udp(right ^ 1), 0],
      ["absent", udp(0), 0],
      ["of a fragment", udp(right).fill(0x20, 20, 21), 0],
      ["beyond the end", udp(right).subarray(0, 46), 0],
    ])("of a received frame: %s", (_name, bytes, flags) => {
      const parts = start({ features: [NET_FEATURE.GuestChecksum] });
      const address = post(parts);
      parts.device.receive(bytes);
      expect(parts.memory.view(address, 1)[0]).toBe(flags);
      expect(received(parts, address)).toEqual(bytes);
    });
  });

  test("restores into a used device, with frames waiting", () => {
    const one = start();
    one.device.receive(frame(60, 1));
    one.device.receive(frame(61, 2));
    one.device.setLink(false);
    const other = start();
    other.device.receive(frame(99, 9));
    other.device.restore(one.device.save());
    expect(other.device.save()).toEqual(one.device.save());
    expect(other.device.linkUp).toBe(false);
    for (const parts of [one, other]) {
      post(parts);
      post(parts);
      parts.driver.notify(NET_QUEUE.Receive);
    }
    expect(other.memory.bytes).toEqual(one.memory.bytes);
    expect(other.rx.takeUsed()).toHaveLength(2);
  });

  test.each([
    ["a frame that is too short", { waiting: [frame(13)] }],
    ["too many frames", { waiting: Array.from({ length: 257 }, () => frame(14)) }],
    ["too many bytes", { waiting: Array.from({ length: 33 }, () => frame(32_768)) }],
    ["no frames", { waiting: [1] }],
    ["a negative count", { receiveDrops: -1 }],
  ])("refuses a snapshot with %s", (_title, change) => {
    const { device } = start();
    const state = device.save();
    const inner = state["device"] as object;
    expect(() => device.restore({ ...state, device: { ...inner, ...change } })).toThrow(CodedError);
  });
});

describe("two steps", () => {
  function check(make: () => Scenario): void {
    const { expected, trials } = tryAbsentPages(make);
    expect(trials.length).toBeGreaterThan(4);
    for (const { before, refused, after } of trials) {
      expect(refused.length).toBeGreaterThan(0);
      for (const { outcome } of refused) expect(outcome).toEqual(before);
      expect(after).toEqual(expected);
    }
  }
  const options = { spread: true, features: [FEATURE.EventIdx] };

  function scenario(prepare: (parts: Parts) => Scenario["act"]): () => Scenario {
    return () => {
      const parts = start(options);
      const { device, memory, frames, irq } = parts;
      return { device, memory, act: prepare(parts), observe: () => [...frames, irq.asserted] };
    };
  }

  test("sending with each page absent in turn", () => {
    check(
      scenario(({ driver, tx }) => {
        tx.add([header(), frame(5000)]);
        tx.add([header(), frame(60)]);
        return () => driver.notify(NET_QUEUE.Transmit);
      }),
    );
  });

  test("receiving into buffers with each page absent in turn", () => {
    check(
      scenario((parts) => {
        post(parts, 6000);
        return () => parts.device.receive(frame(5000));
      }),
    );
  });

  test("posting buffers for waiting frames with each page absent in turn", () => {
    check(
      scenario((parts) => {
        for (let i = 1; i < 5; i++) parts.device.receive(frame(1000, i));
        for (let i = 0; i < 3; i++) post(parts);
        return () => parts.driver.notify(NET_QUEUE.Receive);
      }),
    );
  });

  test("a frame without a buffer with each page absent in turn", () => {
    const make = scenario(
      ({ device }) =>
        () =>
          device.receive(frame(60)),
    );
    const { expected, trials } = tryAbsentPages(make);
    expect(trials).toHaveLength(4);
    for (const { after } of trials) expect(after).toEqual(expected);
  });
});

test("random rings, frames and resets never throw or leave RAM", () => {
  const prng = new Prng(802_3);
  const { device, driver, memory, rx, tx } = start({ queueSize: 8 });
  const address = () => FAKE_RAM_BASE + 65_536 + prng.below(memory.bytes.length - 65_536);
  let passed = 0;
  for (let i = 0; i < 30_000; i++) {
    const queue = prng.pick([rx, tx]);
    switch (prng.below(6)) {
      case 0:
      case 1: {
        const flags = (queue === rx ? DESC_FLAG.Write : 0) | (prng.oneIn(3) ? DESC_FLAG.Next : 0);
        const length = prng.oneIn(20) ? prng.u32() : prng.below(3000);
        queue.describe(prng.below(8), address(), length, prng.oneIn(50) ? 7 : flags, prng.below(8));
        queue.publish(prng.below(8));
        break;
      }
      case 2:
        driver.notify(prng.below(3));
        break;
      case 3:
        device.receive(frame(prng.below(2000)));
        break;
      case 4:
        driver.acknowledge();
        break;
      default:
        if (prng.oneIn(50)) device.setLink(prng.oneIn(2));
        if (prng.oneIn(20)) memory.bytes[prng.below(4096)] = prng.u32();
    }
    passed += rx.takeUsed().length + tx.takeUsed().length;
    if ((driver.get(REG.Status) & STATUS.NeedsReset) === 0) continue;
    const state = device.save();
    const queues = state["queues"] as readonly object[];
    const fresh = queues.map((saved) => ({ ...saved, lastAvail: 0, usedIndex: 0 }));
    device.restore({ ...state, status: 15, queues: fresh });
    memory.bytes.fill(0, 0, 4096);
    rx.restart();
    tx.restart();
  }
  expect(passed).toBeGreaterThan(1000);
});
