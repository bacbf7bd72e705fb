import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { VirtioRng } from "./rng/device.ts";
import {
  FAKE_RAM_BASE,
  FakeDriver,
  type FakeDriverOptions,
  FakeIrq,
  FakeMemory,
  outcomeOf,
  type Scenario,
  tryAbsentPages,
} from "./test-support/fake-guest.ts";
import { DESC_FLAG, FEATURE, MAX_CHAIN_BUFFERS, MAX_CHAIN_BYTES, REG, STATUS } from "./wire.ts";

/** The entropy device stands for all: it answers every chain. */
function start(options: FakeDriverOptions = {}, ramBytes = 1024 * 1024) {
  const memory = new FakeMemory(ramBytes);
  const irq = new FakeIrq();
  const seed = new Uint8Array(32).fill(3);
  const device = new VirtioRng({ name: "virtio-rng.0", memory, irq, seed });
  const driver = new FakeDriver(device, memory, options);
  driver.start(1);
  return { memory, irq, device, driver, queue: driver.queue(0) };
}

const INDIRECT = { features: [FEATURE.IndirectDesc] };

function needsReset(driver: FakeDriver): boolean {
  return (driver.get(REG.Status) & STATUS.NeedsReset) !== 0;
}

describe("a virtqueue", () => {
  test("answers chains in order, over the rings' wrap", () => {
    const { driver, queue } = start({ queueSize: 4 });
    const heads: number[] = [];
    const answered: number[] = [];
    for (let i = 0; i < 70_000; i++) {
      const head = i % 4;
      queue.describe(head, FAKE_RAM_BASE + 0x8000, 1, DESC_FLAG.Write);
      queue.publish(head);
      driver.notify(0);
      heads.push(head);
      answered.push(...queue.takeUsed().map((used) => used.head));
    }
    expect(answered).toEqual(heads);
    expect(queue.availIndex).toBe(70_000 - 65_536);
  });

  test("follows direct chains, indirect tables, and a chain that ends in a table", () => {
    const { driver, queue, memory } = start(INDIRECT);
    queue.add([8, 8]);
    queue.add([8, 8, 8], true);
    const table = driver.allocate(16);
    const buffer = driver.allocate(8);
    memory.writeU32(table, buffer);
    memory.writeU32(table + 8, 8);
    memory.writeU16(table + 12, DESC_FLAG.Write);
    queue.describe(3, driver.allocate(8), 8, DESC_FLAG.Write | DESC_FLAG.Next, 4);
    queue.describe(4, table, 16, DESC_FLAG.Indirect);
    queue.publish(3);
    driver.notify(0);
    expect(queue.takeUsed()).toEqual([
      { head: 0, length: 16 },
      { head: 2, length: 24 },
      { head: 3, length: 16 },
    ]);
  });

  test("leaves out buffers without bytes, wherever they point", () => {
    const { driver, queue, memory } = start();
    queue.describe(0, 0, 0, DESC_FLAG.Write | DESC_FLAG.Next, 1);
    memory.writeU32(queue.layout.descriptors + 4, 0xffff_ffff);
    queue.describe(1, driver.allocate(8), 8, DESC_FLAG.Write);
    queue.publish(0);
    driver.notify(0);
    expect(queue.takeUsed()).toEqual([{ head: 0, length: 8 }]);
  });

  type Break = (parts: ReturnType<typeof start>) => void;
  const illegal: readonly [string, Break][] = [
    ["a head beyond the table", ({ queue }) => queue.publish(16)],
    [
      "a next beyond the table",
      ({ queue }) => {
        queue.describe(0, FAKE_RAM_BASE, 1, DESC_FLAG.Next, 16);
        queue.publish(0);
      },
    ],
    [
      "a loop",
      ({ queue }) => {
        queue.describe(0, FAKE_RAM_BASE, 1, DESC_FLAG.Next, 1);
        queue.describe(1, FAKE_RAM_BASE, 1, DESC_FLAG.Next, 0);
        queue.publish(0);
      },
    ],
    [
      "a loop of empty buffers",
      ({ queue }) => {
        queue.describe(0, FAKE_RAM_BASE, 0, DESC_FLAG.Next, 0);
        queue.publish(0);
      },
    ],
    [
      "a buffer to read behind one to write",
      ({ queue }) => {
        queue.describe(0, FAKE_RAM_BASE, 1, DESC_FLAG.Write | DESC_FLAG.Next, 1);
        queue.describe(1, FAKE_RAM_BASE, 1, 0);
        queue.publish(0);
      },
    ],
    [
      "a buffer below RAM",
      ({ queue }) => {
        queue.describe(0, FAKE_RAM_BASE - 1, 2, 0);
        queue.publish(0);
      },
    ],
    [
      "a buffer beyond RAM",
      ({ queue, memory }) => {
        queue.describe(0, FAKE_RAM_BASE + memory.bytes.length - 1, 2, 0);
        queue.publish(0);
      },
    ],
    [
      "a buffer at the end of the address space",
      ({ queue, memory }) => {
        queue.describe(0, 0, 1, 0);
        memory.writeU32(queue.layout.descriptors, 0xffff_ffff);
        memory.writeU32(queue.layout.descriptors + 4, 0xffff_ffff);
        queue.publish(0);
      },
    ],
    [
      "more chains than the queue has entries",
      ({ queue }) => {
        for (let i = 0; i < 17; i++) queue.publish(0);
      },
    ],
    [
      "a table within a table",
      ({ queue, driver, memory }) => {
        const table = driver.allocate(16);
        memory.writeU32(table, table);
        memory.writeU32(table + 8, 16);
        memory.writeU16(table + 12, DESC_FLAG.Indirect);
        queue.describe(0, table, 16, DESC_FLAG.Indirect);
        queue.publish(0);
      },
    ],
    [
      "a table and a next",
      ({ queue, driver }) => {
        queue.describe(0, driver.allocate(16), 16, DESC_FLAG.Indirect | DESC_FLAG.Next, 1);
        queue.publish(0);
      },
    ],
    [
      "a table of no descriptors",
      ({ queue, driver }) => {
        queue.describe(0, driver.allocate(16), 0, DESC_FLAG.Indirect);
        queue.publish(0);
      },
    ],
    [
      "a table of part of a descriptor",
      ({ queue, driver }) => {
        queue.describe(0, driver.allocate(16), 17, DESC_FLAG.Indirect);
        queue.publish(0);
      },
    ],
    [
      "a table beyond RAM",
      ({ queue, memory }) => {
        queue.describe(0, FAKE_RAM_BASE + memory.bytes.length, 16, DESC_FLAG.Indirect);
        queue.publish(0);
      },
    ],
  ];
  test.each(illegal)("needs a reset after %s, and has done what came before", (_title, act) => {
    const parts = start(INDIRECT);
    parts.queue.describe(15, parts.driver.allocate(4), 4, DESC_FLAG.Write);
    parts.queue.publish(15);
    act(parts);
    expect(parts.driver.notify(0)).toBeUndefined();
    expect(needsReset(parts.driver)).toBe(true);
    const done = parts.queue.availIndex === 18 ? [] : [{ head: 15, length: 4 }];
    expect(parts.queue.takeUsed()).toEqual(done);
  });

  test("needs a reset after an indirect table that was not negotiated", () => {
    const { driver, queue } = start();
    queue.add([1], true);
    driver.notify(0);
    expect(needsReset(driver)).toBe(true);
  });

  test.each([
    ["descriptor table", REG.QueueDescLow, 8],
    ["available ring", REG.QueueDriverLow, 1],
    ["used ring", REG.QueueDeviceLow, 2],
  ])("needs a reset if its %s is misaligned or not in RAM", (_name, register, skew) => {
    for (const address of [FAKE_RAM_BASE + skew, 0, 0xffff_fff0]) {
      const { driver } = start();
      driver.set(REG.QueueReady, 0);
      driver.set(register, address);
      driver.set(REG.QueueReady, 1);
      driver.notify(0);
      expect(needsReset(driver)).toBe(true);
    }
  });

  test.each([
    [MAX_CHAIN_BUFFERS - 1, false],
    [MAX_CHAIN_BUFFERS, false],
    [MAX_CHAIN_BUFFERS + 1, true],
  ])("with a chain of %i buffers needs a reset: %s", (count, broken) => {
    const { driver, queue, memory } = start({ ...INDIRECT, queueSize: 2 });
    const table = driver.allocate(count * 16);
    const buffer = driver.allocate(1);
    for (let i = 0; i < count; i++) {
      memory.writeU32(table + i * 16, buffer);
      memory.writeU32(table + i * 16 + 8, 1);
      const flags = i + 1 < count ? DESC_FLAG.Write | DESC_FLAG.Next : DESC_FLAG.Write;
      memory.writeU16(table + i * 16 + 12, flags);
      memory.writeU16(table + i * 16 + 14, i + 1);
    }
    queue.describe(0, table, count * 16, DESC_FLAG.Indirect);
    queue.publish(0);
    driver.notify(0);
    expect(needsReset(driver)).toBe(broken);
  });

  test.each([
    [MAX_CHAIN_BYTES - 1, false],
    [MAX_CHAIN_BYTES, false],
    [MAX_CHAIN_BYTES + 1, true],
  ])("with a chain of %i bytes needs a reset: %s", (length, broken) => {
    const { driver, queue } = start({}, MAX_CHAIN_BYTES + 65_536);
    queue.describe(0, FAKE_RAM_BASE + 32_768, length, DESC_FLAG.Write);
    queue.publish(0);
    driver.notify(0);
    expect(needsReset(driver)).toBe(broken);
  });
});

describe("a full batch", () => {
  test("leaves the rest for InterruptACK, even if the driver wants no interrupts", () => {
    const { driver, queue, irq } = start({}, 10 * 1024 * 1024);
    queue.setAvailFlags(1);
    queue.describe(0, FAKE_RAM_BASE + 65_536, 5 * 1024 * 1024, DESC_FLAG.Write);
    for (let i = 0; i < 5; i++) queue.publish(0);
    driver.notify(0);
    expect(queue.takeUsed()).toHaveLength(2);
    expect(irq.asserted).toBe(true);
    driver.acknowledge();
    expect(queue.takeUsed()).toHaveLength(2);
    expect(irq.asserted).toBe(true);
    driver.acknowledge();
    expect(queue.takeUsed()).toHaveLength(1);
    expect(irq.asserted).toBe(false);
  });

  test("goes on after a restore", () => {
    const one = start({}, 10 * 1024 * 1024);
    one.queue.describe(0, FAKE_RAM_BASE + 65_536, 8 * 1024 * 1024, DESC_FLAG.Write);
    one.queue.publish(0);
    one.queue.publish(0);
    one.driver.notify(0);
    const other = start({}, 10 * 1024 * 1024);
    other.memory.bytes.set(one.memory.bytes);
    other.device.restore(one.device.save());
    other.driver.acknowledge();
    expect(other.queue.takeUsed()).toHaveLength(2);
  });
});

describe("absent pages", () => {
  /** Requests of all shapes, everything on pages of its own. */
  function scenario(): Scenario {
    const features = [FEATURE.IndirectDesc, FEATURE.EventIdx];
    const { driver, memory, device, queue, irq } = start({ spread: true, features }, 131_072);
    queue.add([10_000]);
    queue.add([16, 16], true);
    queue.add([16, 5000]);
    const act = () => driver.notify(0);
    return { device, memory, act, observe: () => irq.asserted };
  }

  test("are all asked for, with nothing changed, and then make no difference", () => {
    const { expected, trials } = tryAbsentPages(scenario);
    expect(trials.length).toBeGreaterThan(10);
    for (const { absent, before, refused, after } of trials) {
      expect(refused.length).toBeGreaterThan(0);
      const asked = refused.flatMap(({ missing }) => missing.pages);
      expect(asked).toHaveLength(absent.length);
      expect(new Set(asked)).toEqual(new Set(absent));
      for (const { outcome } of refused) expect(outcome).toEqual(before);
      expect(after).toEqual(expected);
    }
    // Rings first, then indirect tables and direct buffers, then what the tables point to.
    expect(trials.at(-1)?.refused).toHaveLength(3);
  });

  test("are handled alike when requests overwrite rings and tables", () => {
    function aliased(): Scenario {
      const { driver, memory, device, queue, irq } = start({ spread: true, ...INDIRECT }, 131_072);
      const { addresses } = queue.add([64, 64], true);
      queue.describe(5, queue.layout.descriptors, 4096, DESC_FLAG.Write);
      queue.publish(5);
      queue.describe(6, queue.layout.available, 4096, DESC_FLAG.Write);
      queue.publish(6);
      queue.describe(7, queue.layout.used, 4096, DESC_FLAG.Write);
      queue.publish(7);
      queue.describe(8, addresses[0] ?? 0, 128, DESC_FLAG.Write);
      queue.publish(8);
      return { device, memory, act: () => driver.notify(0), observe: () => irq.asserted };
    }
    const { expected, trials } = tryAbsentPages(aliased);
    for (const { before, refused, after } of trials) {
      for (const { outcome } of refused) expect(outcome).toEqual(before);
      expect(after).toEqual(expected);
    }
  });

  test("on acknowledging: nothing is acknowledged before they are there", () => {
    function backlog(): Scenario {
      const { driver, memory, device, queue, irq } = start({ spread: true }, 17 * 1024 * 1024);
      queue.describe(0, FAKE_RAM_BASE + 65_536, MAX_CHAIN_BYTES, DESC_FLAG.Write);
      queue.describe(1, driver.allocate(10), 10, DESC_FLAG.Write);
      queue.publish(0);
      queue.publish(1);
      driver.notify(0);
      return { device, memory, act: () => driver.acknowledge(), observe: () => irq.asserted };
    }
    const { expected, trials } = tryAbsentPages(backlog);
    expect(trials.length).toBeGreaterThan(4);
    for (const { before, refused, after } of trials) {
      for (const { outcome } of refused) expect(outcome.state).toEqual(before.state);
      expect(after.state).toEqual(expected.state);
    }
  });
});

test("random rings, tables and indexes never throw, loop or leave RAM", () => {
  const prng = new Prng(1_741);
  const features = [FEATURE.IndirectDesc, FEATURE.EventIdx];
  const { driver, memory, device, irq, queue } = start({ queueSize: 8, features }, 64 * 1024);
  const addresses = () =>
    prng.oneIn(6) ? prng.u32() : FAKE_RAM_BASE + prng.below(memory.bytes.length);
  let completed = 0;
  for (let i = 0; i < 30_000; i++) {
    const { descriptors, available, used } = queue.layout;
    switch (prng.below(6)) {
      case 0:
        memory.bytes[prng.below(memory.bytes.length)] = prng.u32();
        break;
      case 1: {
        const length = prng.oneIn(5) ? prng.u32() : prng.below(9) * 16;
        queue.describe(prng.below(8), addresses(), length, prng.below(8), prng.below(9));
        break;
      }
      case 2:
        queue.publish(prng.below(9));
        break;
      case 3:
        driver.acknowledge();
        break;
      default:
        driver.notify(0);
    }
    completed += queue.takeUsed().length > 0 ? 1 : 0;
    if (!needsReset(driver)) continue;
    memory.bytes.fill(0, descriptors - FAKE_RAM_BASE, descriptors - FAKE_RAM_BASE + 128);
    memory.bytes.fill(0, available - FAKE_RAM_BASE, used - FAKE_RAM_BASE + 70);
    const state = outcomeOf({ device, memory, act: () => undefined, observe: () => irq.asserted });
    expect(state.observed).toBe(true);
    const queues = state.state["queues"] as readonly object[];
    device.restore({
      ...state.state,
      status: 15,
      queues: queues.map((saved) => ({ ...saved, lastAvail: 0, usedIndex: 0 })),
    });
    queue.restart();
  }
  expect(completed).toBeGreaterThan(500);
});
