import { CodedError, Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import type { AccessWidth } from "../device.ts";
import { VirtioRng } from "./rng/device.ts";
import {
  FakeDriver,
  type FakeDriverOptions,
  FakeIrq,
  FakeMemory,
} from "./test-support/fake-guest.ts";
import { FEATURE, INTERRUPT, REG, STATUS } from "./wire.ts";

const SEED = new Uint8Array(32).fill(7);

function makeRng() {
  const memory = new FakeMemory(256 * 1024);
  const irq = new FakeIrq();
  const device = new VirtioRng({ name: "virtio-rng.0", memory, irq, seed: SEED });
  return { memory, irq, device };
}

function startRng(options: FakeDriverOptions = {}) {
  const made = makeRng();
  const driver = new FakeDriver(made.device, made.memory, options);
  driver.start(1);
  return { ...made, driver, queue: driver.queue(0) };
}

describe("virtio-mmio registers", () => {
  test("identify a modern device", () => {
    const { device } = makeRng();
    expect(device.read(REG.MagicValue, 4)).toBe(0x74726976);
    expect(device.read(REG.Version, 4)).toBe(2);
    expect(device.read(REG.DeviceId, 4)).toBe(4);
    expect(device.read(REG.ShmLenLow, 4)).toBe(0xffff_ffff);
  });

  test("are only there at their full width, the configuration space at any", () => {
    const { device } = makeRng();
    expect(device.read(REG.MagicValue, 1)).toBe(0);
    device.write(REG.Status, 1, STATUS.Acknowledge);
    expect(device.read(REG.Status, 4)).toBe(0);
    expect(device.read(REG.Config + 8, 1)).toBe(0);
  });

  test("offer features 32 at a time", () => {
    const { device } = makeRng();
    const both = (1 << FEATURE.IndirectDesc) | (1 << FEATURE.EventIdx);
    expect(device.read(REG.DeviceFeatures, 4)).toBe(both);
    device.write(REG.DeviceFeaturesSel, 4, 1);
    expect(device.read(REG.DeviceFeatures, 4)).toBe(1);
    device.write(REG.DeviceFeaturesSel, 4, 2);
    expect(device.read(REG.DeviceFeatures, 4)).toBe(0);
  });

  test("say 0 for queues that do not exist", () => {
    const { device } = makeRng();
    expect(device.read(REG.QueueNumMax, 4)).toBe(64);
    device.write(REG.QueueSel, 4, 1);
    expect(device.read(REG.QueueNumMax, 4)).toBe(0);
    expect(device.read(REG.QueueReady, 4)).toBe(0);
  });

  test("take queue sizes that are powers of two up to the largest", () => {
    const { device } = makeRng();
    for (const [size, ready] of [
      [0, 0],
      [3, 0],
      [128, 0],
      [64, 1],
    ] as const) {
      device.write(REG.QueueNum, 4, size);
      device.write(REG.QueueReady, 4, 1);
      expect(device.read(REG.QueueReady, 4)).toBe(ready);
    }
  });
});

describe("virtio-mmio status", () => {
  test("refuses FEATURES_OK without VERSION_1", () => {
    const { device, memory } = makeRng();
    const driver = new FakeDriver(device, memory);
    driver.accept([FEATURE.EventIdx]);
    driver.set(REG.Status, 11);
    expect(driver.get(REG.Status)).toBe(3);
  });

  test("refuses FEATURES_OK with features that were not offered", () => {
    const { device, memory } = makeRng();
    const driver = new FakeDriver(device, memory);
    driver.accept([FEATURE.Version1, 5]);
    driver.set(REG.Status, 11);
    expect(driver.get(REG.Status)).toBe(3);
  });

  test("refuses DRIVER_OK without FEATURES_OK", () => {
    const { device, memory } = makeRng();
    const driver = new FakeDriver(device, memory);
    driver.set(REG.Status, 15);
    expect(driver.get(REG.Status)).toBe(3);
  });

  test("keeps the features once FEATURES_OK is set", () => {
    const { driver, device } = startRng();
    const before = device.save();
    driver.accept([]);
    expect(device.save()["acceptedHigh"]).toBe(before["acceptedHigh"]);
  });

  test("is reset by 0: registers, queues and interrupt", () => {
    const { driver, device, irq, queue } = startRng();
    queue.add([16]);
    driver.notify(0);
    expect(irq.asserted).toBe(true);
    const key = device.save()["device"];
    driver.set(REG.Status, 0);
    expect(irq.asserted).toBe(false);
    expect(device.save()).toEqual({ ...makeRng().device.save(), device: key });
  });

  test("handles nothing before DRIVER_OK or for a queue that is not there", () => {
    const { driver, device, queue } = startRng();
    queue.add([16]);
    driver.set(REG.QueueReady, 0);
    expect(driver.notify(0)).toBeUndefined();
    expect(driver.notify(1)).toBeUndefined();
    expect(driver.notify(0xffff_ffff)).toBeUndefined();
    expect(queue.takeUsed()).toEqual([]);
    expect(device.read(REG.InterruptStatus, 4)).toBe(0);
  });
});

describe("virtio-mmio interrupts", () => {
  test("stay asserted until acknowledged", () => {
    const { driver, irq, queue } = startRng();
    queue.add([16]);
    driver.notify(0);
    expect(driver.get(REG.InterruptStatus)).toBe(INTERRUPT.UsedBuffer);
    driver.set(REG.InterruptAck, INTERRUPT.ConfigChange);
    expect(irq.asserted).toBe(true);
    driver.set(REG.InterruptAck, INTERRUPT.UsedBuffer);
    expect(irq.asserted).toBe(false);
  });

  test("are not raised when the driver says NO_INTERRUPT", () => {
    const { driver, irq, queue } = startRng();
    queue.setAvailFlags(1);
    queue.add([16]);
    driver.notify(0);
    expect(queue.takeUsed()).toHaveLength(1);
    expect(irq.asserted).toBe(false);
  });

  test("with EVENT_IDX are raised when the used index passes used_event", () => {
    const { driver, irq, queue } = startRng({ features: [FEATURE.EventIdx] });
    queue.setUsedEvent(1);
    queue.add([16]);
    driver.notify(0);
    expect(irq.asserted).toBe(false);
    queue.add([16]);
    driver.notify(0);
    expect(irq.asserted).toBe(true);
    driver.acknowledge();
    queue.add([16]);
    driver.notify(0);
    expect(irq.asserted).toBe(false);
    expect(queue.availEvent).toBe(3);
  });

  test("announce NEEDS_RESET, after which nothing is handled", () => {
    const { driver, irq, queue } = startRng();
    queue.publish(queue.layout.size);
    driver.notify(0);
    expect(driver.get(REG.Status) & STATUS.NeedsReset).toBe(STATUS.NeedsReset);
    expect(driver.get(REG.InterruptStatus)).toBe(INTERRUPT.ConfigChange);
    expect(irq.asserted).toBe(true);
    queue.add([16]);
    driver.notify(0);
    expect(queue.takeUsed()).toEqual([]);
  });
});

describe("virtio-mmio snapshots", () => {
  test("restore into a used device, with requests waiting and an interrupt asserted", () => {
    const one = startRng({ features: [FEATURE.EventIdx] });
    one.queue.add([16]);
    one.driver.notify(0);
    one.queue.add([64]);
    const other = startRng();
    for (let i = 0; i < 2; i++) other.queue.add([4000]);
    other.driver.notify(0);
    other.driver.acknowledge();
    other.memory.bytes.set(one.memory.bytes);
    other.device.restore(one.device.save());
    expect(other.device.save()).toEqual(one.device.save());
    expect(other.irq.asserted).toBe(true);
    one.driver.notify(0);
    other.driver.notify(0);
    expect(other.memory.bytes).toEqual(one.memory.bytes);
    expect(other.device.save()).toEqual(one.device.save());
  });

  const bad: readonly [string, (state: Record<string, unknown>) => void][] = [
    ["features that are not offered", (s) => (s["acceptedLow"] = 1)],
    ["an unknown status bit", (s) => (s["status"] = 16)],
    ["an interrupt that does not exist", (s) => (s["interruptStatus"] = 4)],
    ["another number of queues", (s) => (s["queues"] = [])],
    ["an unknown field", (s) => (s["extra"] = 1)],
    ["a missing field", (s) => delete s["queueSel"]],
  ];
  test.each(bad)("with %s are refused", (_title, damage) => {
    const { device } = startRng();
    const state = { ...device.save() };
    damage(state);
    expect(() => device.restore(state)).toThrow(CodedError);
  });

  test("with an impossible queue are refused", () => {
    const { device } = startRng();
    const state = device.save();
    const [queue] = state["queues"] as readonly object[];
    for (const change of [{ size: 48 }, { size: 128 }, { size: 0 }, { lastAvail: 65_536 }]) {
      const queues = [{ ...queue, ...change }];
      expect(() => device.restore({ ...state, queues })).toThrow(CodedError);
    }
  });
});

test("random register accesses never throw and give unsigned values of their width", () => {
  const prng = new Prng(20_261_123);
  const { device, driver } = startRng();
  for (let i = 0; i < 40_000; i++) {
    const width: AccessWidth = prng.pick([1, 2, 4, 4, 4]);
    const offset = prng.oneIn(8) ? prng.below(0x1000) : prng.below(0x48) * 4;
    if (prng.oneIn(2)) {
      const value = device.read(offset, width);
      expect(value >= 0 && value < 2 ** (8 * width)).toBe(true);
    } else {
      const value = prng.pick([0, 1, prng.below(256), prng.u32()]) % 2 ** (8 * width);
      device.write(offset, width, value);
    }
    if (prng.oneIn(500)) driver.start(1);
  }
});
