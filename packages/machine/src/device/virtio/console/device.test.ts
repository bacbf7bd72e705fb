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
import { DESC_FLAG, REG, STATUS } from "../wire.ts";
import { VirtioConsole } from "./device.ts";
import { CONSOLE_FEATURE, CONTROL_EVENT, CONTROL_QUEUE, MAX_WAITING_INPUT_BYTES } from "./wire.ts";

const HVC = { rx: 0, tx: 1 };
const AGENT = { rx: 4, tx: 5 };

interface StartOptions extends FakeDriverOptions {
  readonly multiport?: boolean;
}

function start(options: StartOptions = {}) {
  const memory = new FakeMemory(1024 * 1024);
  const irq = new FakeIrq();
  const outputs: Output[] = [];
  const output = (out: Output) => void outputs.push(out);
  const device = new VirtioConsole({ name: "virtio-console.0", memory, irq, output });
  const features = options.multiport === false ? [] : [CONSOLE_FEATURE.Multiport];
  const driver = new FakeDriver(device, memory, { ...options, features });
  driver.start(options.multiport === false ? 2 : 6);
  return { memory, irq, outputs, device, driver };
}

type Parts = ReturnType<typeof start>;

function message(id: number, event: number, value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, id, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  return new Uint8Array(view.buffer);
}

function control({ driver }: Parts, id: number, event: number, value = 1): void {
  driver.queue(CONTROL_QUEUE.Transmit).add([message(id, event, value)]);
  expect(driver.notify(CONTROL_QUEUE.Transmit)).toBeUndefined();
}

/** Posts buffers and returns where they are. */
function post({ driver }: Parts, queue: number, count: number, length = 64): number[] {
  return Array.from({ length: count }, () => driver.queue(queue).add([length]).addresses[0] ?? 0);
}

function textAt({ memory, driver }: Parts, queue: number, addresses: readonly number[]): string {
  const used = driver.queue(queue).takeUsed();
  return used.map(({ length }, i) => text(memory.view(addresses[i] ?? 0, length))).join("|");
}

const bytes = (ascii: string) => Uint8Array.from(ascii, (char) => char.charCodeAt(0));
const text = (ascii: Uint8Array) => String.fromCharCode(...ascii);

/** Brings both ports up as Linux does. */
function open(parts: Parts): void {
  post(parts, CONTROL_QUEUE.Receive, 8);
  control(parts, 0xffff_ffff, CONTROL_EVENT.DeviceReady);
  for (const id of [0, 1]) {
    control(parts, id, CONTROL_EVENT.PortReady);
    control(parts, id, CONTROL_EVENT.PortOpen);
  }
  parts.driver.acknowledge();
}

describe("the console device", () => {
  test("describes itself", () => {
    const { device, driver } = start();
    expect(device.read(REG.DeviceId, 4)).toBe(3);
    expect(device.read(REG.Config + 4, 4)).toBe(2);
    expect(driver.get(REG.DeviceFeatures) & 0xff).toBe(2);
  });

  test("introduces its ports to the driver", () => {
    const parts = start();
    const { memory, driver } = parts;
    const buffers = post(parts, CONTROL_QUEUE.Receive, 8);
    control(parts, 0xffff_ffff, CONTROL_EVENT.DeviceReady);
    control(parts, 0, CONTROL_EVENT.PortReady);
    control(parts, 1, CONTROL_EVENT.PortReady);
    const used = driver.queue(CONTROL_QUEUE.Receive).takeUsed();
    const sent = used.map(({ length }, i) => memory.view(buffers[i] ?? 0, length).slice());
    expect(sent.map((m) => [...m.subarray(0, 8)])).toEqual(
      [
        message(0, CONTROL_EVENT.PortAdd, 1),
        message(1, CONTROL_EVENT.PortAdd, 1),
        message(0, CONTROL_EVENT.ConsolePort, 1),
        message(0, CONTROL_EVENT.PortOpen, 1),
        message(1, CONTROL_EVENT.PortName, 1),
        message(1, CONTROL_EVENT.PortOpen, 1),
      ].map((m) => [...m]),
    );
    expect(text(sent[4]?.subarray(8) ?? new Uint8Array())).toBe("org.dejavm.agent");
  });

  test("keeps messages until control buffers are posted, and loses those that do not fit", () => {
    const parts = start();
    control(parts, 0, CONTROL_EVENT.DeviceReady);
    control(parts, 1, CONTROL_EVENT.PortReady);
    const small = post(parts, CONTROL_QUEUE.Receive, 3, 8);
    parts.driver.notify(CONTROL_QUEUE.Receive);
    expect(parts.driver.queue(CONTROL_QUEUE.Receive).takeUsed()).toHaveLength(3);
    const [, , third = 0] = small;
    expect([...parts.memory.view(third, 8)]).toEqual([...message(1, CONTROL_EVENT.PortOpen, 1)]);
  });

  test("ignores control messages without meaning", () => {
    const parts = start();
    const before = parts.device.save()["device"];
    control(parts, 2, CONTROL_EVENT.PortReady);
    control(parts, 0xffff_ffff, CONTROL_EVENT.PortOpen);
    control(parts, 0, 99);
    control(parts, 0, CONTROL_EVENT.DeviceReady, 0);
    control(parts, 0, CONTROL_EVENT.PortReady, 0);
    parts.driver.queue(CONTROL_QUEUE.Transmit).add([bytes("short")]);
    parts.driver.notify(CONTROL_QUEUE.Transmit);
    expect(parts.device.save()["device"]).toEqual(before);
    expect(parts.driver.queue(CONTROL_QUEUE.Transmit).takeUsed()).toHaveLength(6);
  });

  test("passes output on, named by port", () => {
    const parts = start();
    const { driver, outputs } = parts;
    driver.queue(HVC.tx).add([bytes("con"), bytes("sole")]);
    driver.notify(HVC.tx);
    driver.queue(AGENT.tx).add([bytes("agent")]);
    driver.notify(AGENT.tx);
    expect(outputs).toEqual([
      { kind: "console", port: "hvc", bytes: bytes("console") },
      { kind: "console", port: "agent", bytes: bytes("agent") },
    ]);
  });

  test.each([["hvc", HVC.rx] as const, ["agent", AGENT.rx] as const])(
    "holds input for %s until the guest has opened the port and posted buffers",
    (port, queue) => {
      const parts = start();
      const { device } = parts;
      const id = port === "hvc" ? 0 : 1;
      const buffers = post(parts, queue, 2, 4);
      device.receive(port, bytes("abcdef"));
      expect(device.isOpen(port)).toBe(false);
      expect(parts.driver.queue(queue).takeUsed()).toEqual([]);
      control(parts, id, CONTROL_EVENT.PortOpen);
      expect(device.isOpen(port)).toBe(true);
      expect(textAt(parts, queue, buffers)).toBe("abcd|ef");
      device.receive(port, bytes("gh"));
      const more = post(parts, queue, 1, 4);
      parts.driver.notify(queue);
      expect(textAt(parts, queue, more)).toBe("gh");
      control(parts, id, CONTROL_EVENT.PortOpen, 0);
      expect(device.isOpen(port)).toBe(false);
    },
  );

  test("without MULTIPORT has one port that is always open", () => {
    const parts = start({ multiport: false });
    const buffers = post(parts, HVC.rx, 1);
    expect([parts.device.isOpen("hvc"), parts.device.isOpen("agent")]).toEqual([true, false]);
    parts.device.receive("hvc", bytes("x"));
    expect(textAt(parts, HVC.rx, buffers)).toBe("x");
  });

  test.each([-1, 0, 1])("takes input up to the limit (%i off)", (off) => {
    const { device } = start();
    device.receive("agent", new Uint8Array(MAX_WAITING_INPUT_BYTES + off));
    expect(device.room("agent")).toBe(Math.max(0, -off));
    expect(device.room("hvc")).toBe(MAX_WAITING_INPUT_BYTES);
  });

  test("keeps input over a reset, and closes its ports", () => {
    const parts = start();
    open(parts);
    parts.device.receive("agent", bytes("later"));
    parts.driver.start(6);
    expect(parts.device.isOpen("agent")).toBe(false);
    const buffers = post(parts, AGENT.rx, 1);
    control(parts, 1, CONTROL_EVENT.PortOpen);
    expect(textAt(parts, AGENT.rx, buffers)).toBe("later");
  });

  test("restores into a used device, with input and messages waiting", () => {
    const one = start();
    control(one, 0, CONTROL_EVENT.DeviceReady);
    control(one, 1, CONTROL_EVENT.PortOpen);
    one.device.receive("agent", bytes("waiting"));
    const other = start();
    open(other);
    other.device.receive("hvc", bytes("gone"));
    other.memory.bytes.set(one.memory.bytes);
    other.device.restore(one.device.save());
    expect(other.device.save()).toEqual(one.device.save());
    // A buffer of the first goes to the same place in the second.
    post(one, AGENT.rx, 1);
    post(one, CONTROL_QUEUE.Receive, 2);
    other.memory.bytes.set(one.memory.bytes);
    for (const { driver } of [one, other]) {
      driver.notify(AGENT.rx);
      driver.notify(CONTROL_QUEUE.Receive);
    }
    expect(other.memory.bytes).toEqual(one.memory.bytes);
    expect(other.device.save()).toEqual(one.device.save());
    expect(one.device.room("agent")).toBe(MAX_WAITING_INPUT_BYTES);
  });

  test.each([
    ["too much input", { input: new Uint8Array(MAX_WAITING_INPUT_BYTES + 1) }],
    ["unknown messages", { pending: 16 }],
    ["an open port that is a number", { guestOpen: 1 }],
  ])("refuses a snapshot with %s", (_title, change) => {
    const { device } = start();
    const state = device.save();
    const port = { guestOpen: false, pending: 0, input: new Uint8Array() };
    const restore = (ports: readonly (typeof port)[]) => {
      device.restore({ ...state, device: { ports } });
    };
    restore([port, port]);
    expect(() => restore([port, { ...port, ...change } as typeof port])).toThrow(CodedError);
    expect(() => restore([port])).toThrow(CodedError);
  });
});

describe("two steps", () => {
  function check(prepare: (parts: Parts) => Scenario["act"]): void {
    const { expected, trials } = tryAbsentPages(() => {
      const parts = start({ spread: true });
      const { device, memory, outputs, irq } = parts;
      const act = prepare(parts);
      return { device, memory, act, observe: () => [...outputs, irq.asserted] };
    });
    expect(trials.length).toBeGreaterThan(4);
    for (const { before, refused, after } of trials) {
      expect(refused.length).toBeGreaterThan(0);
      for (const { outcome } of refused) expect(outcome).toEqual(before);
      expect(after).toEqual(expected);
    }
  }

  test("output with each page absent in turn", () => {
    check(({ driver }) => {
      driver.queue(HVC.tx).add([bytes("a"), bytes("b")]);
      driver.queue(HVC.tx).add([new Uint8Array(5000)]);
      return () => driver.notify(HVC.tx);
    });
  });

  test("input with each page absent in turn", () => {
    check((parts) => {
      open(parts);
      post(parts, AGENT.rx, 3, 4);
      return () => parts.device.receive("agent", bytes("ten bytes."));
    });
  });

  test("control messages, their answers and released input with each page absent in turn", () => {
    check((parts) => {
      const { driver, device } = parts;
      post(parts, CONTROL_QUEUE.Receive, 3);
      post(parts, AGENT.rx, 1);
      post(parts, HVC.rx, 1);
      device.receive("agent", bytes("for the agent"));
      device.receive("hvc", bytes("typed"));
      const queue = driver.queue(CONTROL_QUEUE.Transmit);
      queue.add([message(0, CONTROL_EVENT.DeviceReady, 1)]);
      queue.add([message(1, CONTROL_EVENT.PortReady, 1)]);
      queue.add([message(1, CONTROL_EVENT.PortOpen, 1)]);
      queue.add([message(0, CONTROL_EVENT.PortOpen, 1)]);
      return () => driver.notify(CONTROL_QUEUE.Transmit);
    });
  });
});

test("random rings, messages and input never throw or leave RAM", () => {
  const prng = new Prng(53);
  const parts = start({ queueSize: 8 });
  const { device, driver, memory } = parts;
  const queues = [0, 1, 2, 3, 4, 5].map((index) => driver.queue(index));
  const space = 65_536;
  let handled = 0;
  for (let i = 0; i < 30_000; i++) {
    const index = prng.below(6);
    const queue = queues[index];
    if (queue === undefined) continue;
    switch (prng.below(5)) {
      case 0:
      case 1: {
        const address = FAKE_RAM_BASE + space + prng.below(memory.bytes.length - 2 * space);
        memory.write(address, message(prng.below(3), prng.below(9), prng.below(2)));
        const flags = (index % 2 === 0 ? DESC_FLAG.Write : 0) | (prng.oneIn(9) ? 7 : 0);
        const length = prng.oneIn(20) ? prng.u32() : prng.below(200);
        queue.describe(prng.below(8), address, length, flags, prng.below(8));
        queue.publish(prng.below(8));
        break;
      }
      case 2:
        driver.notify(prng.below(7));
        break;
      case 3:
        device.receive(prng.pick(["hvc", "agent"]), new Uint8Array(prng.below(300)));
        break;
      default:
        driver.acknowledge();
    }
    handled += queue.takeUsed().length;
    if ((driver.get(REG.Status) & STATUS.NeedsReset) === 0) continue;
    const state = device.save();
    const saved = state["queues"] as readonly object[];
    const fresh = saved.map((one) => ({ ...one, lastAvail: 0, usedIndex: 0 }));
    device.restore({ ...state, status: 15, queues: fresh });
    memory.bytes.fill(0, 0, 8192);
    for (const one of queues) one.restart();
  }
  expect(handled).toBeGreaterThan(1000);
});
