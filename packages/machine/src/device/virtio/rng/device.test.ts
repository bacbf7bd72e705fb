import { CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import {
  FakeDriver,
  FakeIrq,
  FakeMemory,
  type Scenario,
  tryAbsentPages,
} from "../test-support/fake-guest.ts";
import { ChaChaGenerator, chacha20Block } from "./chacha.ts";
import { VirtioRng } from "./device.ts";
import { RNG_MAX_BYTES } from "./wire.ts";

const hex = (bytes: Uint8Array) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
const SEED = Uint8Array.from({ length: 32 }, (_, i) => i);

function start(spread = false) {
  const memory = new FakeMemory(512 * 1024);
  const irq = new FakeIrq();
  const device = new VirtioRng({ name: "virtio-rng.0", memory, irq, seed: SEED });
  const driver = new FakeDriver(device, memory, { spread });
  driver.start(1);
  const queue = driver.queue(0);
  const ask = (length: number) => {
    const [address = 0] = queue.add([length]).addresses;
    expect(driver.notify(0)).toBeUndefined();
    const [used] = queue.takeUsed();
    return memory.view(address, used?.length ?? 0).slice();
  };
  return { memory, irq, device, driver, queue, ask };
}

describe("ChaCha20", () => {
  test("gives the block of RFC 8439, section 2.3.2", () => {
    const key = new Uint32Array(SEED.buffer.slice(0));
    const block = new Uint8Array(64);
    chacha20Block(key, 1, [0x09000000, 0x4a000000, 0], block);
    expect(hex(block)).toBe(
      "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e" +
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
    );
  });

  test("gives different bytes each time, the same for the same history", () => {
    const one = new ChaChaGenerator(SEED);
    const other = new ChaChaGenerator(SEED);
    const first = one.generate(100);
    expect(first).toHaveLength(100);
    expect(other.generate(100)).toEqual(first);
    const second = one.generate(100);
    expect(second).not.toEqual(first);
    expect(new ChaChaGenerator(other.save()).generate(100)).toEqual(second);
  });

  test("depends on every bit of a new seed and of the old key", () => {
    const outputs = new Set<string>();
    for (let bit = 0; bit < 256; bit++) {
      const flipped = new Uint8Array(32);
      flipped[bit >>> 3] = 1 << (bit & 7);
      const newSeed = new ChaChaGenerator(SEED);
      newSeed.reseed(flipped);
      outputs.add(hex(newSeed.generate(16)));
    }
    const oldKey = new ChaChaGenerator(new Uint8Array(32).fill(9));
    oldKey.reseed(new Uint8Array(32));
    outputs.add(hex(oldKey.generate(16)));
    outputs.add(hex(new ChaChaGenerator(SEED).generate(16)));
    expect(outputs.size).toBe(258);
  });
});

describe("the entropy device", () => {
  test("fills buffers, each with new bytes", () => {
    const { ask, device } = start();
    expect(device.read(8, 4)).toBe(4);
    expect(ask(32)).toHaveLength(32);
    expect(ask(32)).not.toEqual(ask(32));
  });

  test.each([
    [RNG_MAX_BYTES - 1, RNG_MAX_BYTES - 1],
    [RNG_MAX_BYTES, RNG_MAX_BYTES],
    [RNG_MAX_BYTES + 1, RNG_MAX_BYTES],
  ])("answers a request for %i bytes with %i", (asked, given) => {
    expect(start().ask(asked)).toHaveLength(given);
  });

  test("goes on over a reset, and differently after a new seed", () => {
    const { ask, driver, device } = start();
    const first = ask(16);
    driver.start(1);
    const again = start();
    again.ask(16);
    device.reseed(new Uint8Array(32));
    expect(device.save()["device"]).not.toEqual(again.device.save()["device"]);
    expect(again.ask(16)).not.toEqual(first);
  });

  test("restores into a used device", () => {
    const one = start();
    one.ask(100);
    const other = start();
    other.device.reseed(SEED);
    other.memory.bytes.set(one.memory.bytes);
    other.device.restore(one.device.save());
    one.queue.add([50]);
    other.memory.bytes.set(one.memory.bytes);
    one.driver.notify(0);
    other.driver.notify(0);
    expect(other.memory.bytes).toEqual(one.memory.bytes);
    const state = { ...one.device.save(), device: { key: new Uint8Array(31) } };
    expect(() => other.device.restore(state)).toThrow(CodedError);
  });

  test("with each page absent in turn, draws nothing and then the same", () => {
    const { expected, trials } = tryAbsentPages((): Scenario => {
      const { driver, memory, device, queue, irq } = start(true);
      queue.add([5000]);
      queue.add([64]);
      return { device, memory, act: () => driver.notify(0), observe: () => irq.asserted };
    });
    expect(trials.length).toBeGreaterThan(5);
    for (const { before, refused, after } of trials) {
      for (const { outcome } of refused) expect(outcome).toEqual(before);
      expect(after).toEqual(expected);
    }
  });
});
