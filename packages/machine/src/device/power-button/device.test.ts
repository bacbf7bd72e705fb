import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { utf8 } from "../../board/text.ts";
import {
  FakeDriver,
  FakeIrq,
  FakeMemory,
  outcomeOf,
  tryAbsentPages,
} from "../virtio/test-support/fake-guest.ts";
import { REG, STATUS } from "../virtio/wire.ts";
import { PowerButton } from "./device.ts";
import { EVENT_BYTES, INPUT_CONFIG, INPUT_QUEUE, INPUT_SELECT, KEY_POWER } from "./wire.ts";

const SIZE = 0x4_0000;
const NAME_BYTES = utf8("Power Button").length;

function make(buffers = 4, size = EVENT_BYTES) {
  const memory = new FakeMemory(SIZE);
  const irq = new FakeIrq();
  const device = new PowerButton({ name: "power-button", memory, irq });
  const driver = new FakeDriver(device, memory, { spread: true });
  driver.start(2);
  const queue = driver.queue(INPUT_QUEUE.Event);
  const posted = Array.from({ length: buffers }, () => queue.add([size]).addresses[0]);
  driver.notify(INPUT_QUEUE.Event);
  return { memory, irq, device, driver, queue, posted };
}

function select(device: PowerButton, what: number, sub: number): number[] {
  device.write(REG.Config + INPUT_CONFIG.Select, 1, what);
  device.write(REG.Config + INPUT_CONFIG.Subselect, 1, sub);
  const size = device.read(REG.Config + INPUT_CONFIG.Size, 1);
  const at = REG.Config + INPUT_CONFIG.Value;
  return Array.from({ length: size }, (_, i) => device.read(at + i, 1));
}

describe("power button", () => {
  test("a press is key down, sync, key up, sync", () => {
    const { memory, irq, device, queue, posted } = make();
    expect(device.press()).toBeUndefined();
    expect(queue.takeUsed().map(({ length }) => length)).toEqual([8, 8, 8, 8]);
    expect(posted.map((at) => [...memory.view(at, 8)])).toEqual([
      [1, 0, KEY_POWER, 0, 1, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
      [1, 0, KEY_POWER, 0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
    ]);
    expect(irq.asserted).toBe(true);
  });

  test("without room for all events none arrives", () => {
    const { irq, device, queue } = make(3);
    device.press();
    expect([queue.takeUsed(), irq.asserted]).toEqual([[], false]);
    queue.add([EVENT_BYTES]);
    device.press();
    expect(queue.takeUsed().length).toBe(4);
  });

  test("without a driver nothing happens", () => {
    const memory = new FakeMemory(SIZE);
    const device = new PowerButton({ name: "power-button", memory, irq: new FakeIrq() });
    expect(device.press()).toBeUndefined();
  });

  test("a buffer too small for an event is the driver's fault", () => {
    const { device, driver, queue } = make(4, EVENT_BYTES - 1);
    device.press();
    expect(queue.takeUsed()).toEqual([]);
    expect(driver.get(REG.Status) & STATUS.NeedsReset).toBe(STATUS.NeedsReset);
  });

  test("the configuration shows a name and one key, and nothing else", () => {
    const { device } = make();
    expect(select(device, INPUT_SELECT.Name, 0)).toEqual([...utf8("Power Button")]);
    const keys = select(device, INPUT_SELECT.EventBits, 1);
    expect(keys.map((bits, i) => (bits === 0 ? -1 : 8 * i + Math.log2(bits)))).toEqual([
      ...Array.from({ length: KEY_POWER >> 3 }, () => -1),
      KEY_POWER,
    ]);
    expect(select(device, INPUT_SELECT.DeviceIds, 0).length).toBe(8);
    expect(select(device, INPUT_SELECT.EventBits, 2)).toEqual([]);
    expect(select(device, 0x7f, 0)).toEqual([]);
    expect(select(device, INPUT_SELECT.Name, 1)).toEqual([]);
  });

  test("status messages are taken and forgotten", () => {
    const { driver } = make();
    const status = driver.queue(INPUT_QUEUE.Status);
    const { head } = status.add([new Uint8Array(EVENT_BYTES)]);
    driver.notify(INPUT_QUEUE.Status);
    expect(status.takeUsed()).toEqual([{ head, length: 0 }]);
  });

  test("each page missing in turn ends as with none missing, and changes nothing before", () => {
    const { expected, trials } = tryAbsentPages(() => {
      const { memory, irq, device } = make();
      return { device, memory, act: () => device.press(), observe: () => irq.asserted };
    });
    expect(trials.length).toBeGreaterThan(7);
    for (const { before, refused, after } of trials) {
      expect(refused.length).toBeGreaterThan(0);
      for (const { outcome } of refused) expect(outcome).toEqual(before);
      expect(after).toEqual(expected);
    }
  });

  test("a used device goes on from a restored state", () => {
    const a = make();
    select(a.device, INPUT_SELECT.Name, 0);
    const saved = a.device.save();
    const b = make();
    select(b.device, INPUT_SELECT.EventBits, 1);
    b.device.press();
    b.device.restore(saved);
    expect(b.device.save()).toEqual(saved);
    expect(b.device.read(REG.Config + INPUT_CONFIG.Size, 1)).toBe(NAME_BYTES);
    b.memory.bytes.set(a.memory.bytes);
    const outcome = (x: typeof a) => {
      x.device.press();
      return outcomeOf({ ...x, act: () => undefined, observe: () => x.irq.asserted });
    };
    expect(outcome(b)).toEqual(outcome(a));
  });

  test("random registers, presses and ring damage never throw", () => {
    const prng = new Prng(0x90e2);
    const { memory, device } = make();
    for (let i = 0; i < 20_000; i++) {
      const offset = prng.oneIn(2) ? prng.below(0x200) : prng.pick(Object.values(REG));
      const width = prng.pick([1, 2, 4] as const);
      if (prng.oneIn(3)) device.press();
      else if (prng.oneIn(2)) device.read(offset, width);
      else device.write(offset, width, prng.oneIn(2) ? prng.below(256) : prng.u32());
      if (prng.oneIn(10)) memory.bytes[prng.below(SIZE / 8)] = prng.below(256);
      if (prng.oneIn(200)) {
        memory.bytes.fill(0);
        const fresh = new FakeDriver(device, memory);
        fresh.start(2);
        for (let n = 0; n < 8; n++) fresh.queue(INPUT_QUEUE.Event).add([EVENT_BYTES]);
      }
    }
  });
});
