import { CodedError, Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES, type Missing } from "../../device.ts";
import { type ChangedChunk, Disk, MAX_DIRTY_CHUNKS } from "../../disk.ts";
import {
  FAKE_RAM_BASE,
  type FakeBuffer,
  FakeDriver,
  type FakeDriverOptions,
  FakeIrq,
  FakeMemory,
  outcomeOf,
  type Scenario,
  tryAbsentPages,
} from "../test-support/fake-guest.ts";
import { DESC_FLAG, FEATURE, REG, STATUS } from "../wire.ts";
import { VirtioBlk } from "./device.ts";
import { BLK_MAX_RANGE_SECTORS, BLK_MAX_RANGES, BLK_STATUS, BLK_TYPE } from "./wire.ts";

const CHUNKS = 64;
const SIZE = CHUNKS * CHUNK_BYTES;

function hash(bytes: Uint8Array): bigint {
  let value = 7;
  for (let i = 0; i < bytes.length; i += 512)
    value = (Math.imul(value, 31) + (bytes[i] ?? 0)) >>> 0;
  return BigInt(value);
}

/** Base content: every sector starts with its number's low byte, plus one. */
function baseChunk(chunk: number): Uint8Array {
  const bytes = new Uint8Array(CHUNK_BYTES);
  for (let sector = 0; sector < 128; sector++) {
    bytes.fill(chunk * 128 + sector + 1, sector * 512, sector * 512 + 512);
  }
  return bytes;
}

interface StartOptions extends FakeDriverOptions {
  readonly readOnly?: boolean;
  readonly sizeBytes?: number;
  readonly ramBytes?: number;
  /** Leave all chunks absent. */
  readonly cold?: boolean;
}

function start(options: StartOptions = {}) {
  const memory = new FakeMemory(options.ramBytes ?? 1024 * 1024);
  const irq = new FakeIrq();
  const disk = new Disk({ index: 0, sizeBytes: options.sizeBytes ?? SIZE, hash });
  const device = new VirtioBlk({
    name: "virtio-blk.0",
    memory,
    irq,
    disk,
    readOnly: options.readOnly ?? false,
    serial: "dejavm-root",
  });
  if (options.cold !== true) {
    for (let chunk = 0; chunk < CHUNKS; chunk++) disk.supply(chunk, baseChunk(chunk));
  }
  const driver = new FakeDriver(device, memory, options);
  driver.start(1);
  return { memory, irq, disk, device, driver, queue: driver.queue(0) };
}

type Parts = ReturnType<typeof start>;

function header(type: number, sector: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return new Uint8Array(view.buffer);
}

function range(sector: number, count: number, flags = 0): Uint8Array {
  const bytes = header(0, 0);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, count, true);
  view.setUint32(12, flags, true);
  return bytes;
}

/** Does one request; the last buffer must be the status byte. */
function request(parts: Parts, buffers: readonly FakeBuffer[]) {
  const { driver, queue, memory } = parts;
  const { addresses } = queue.add(buffers);
  expect(driver.notify(0)).toBeUndefined();
  const [used] = queue.takeUsed();
  const outputs = buffers.flatMap((buffer, i) => {
    return typeof buffer === "number" ? [memory.view(addresses[i] ?? 0, buffer).slice()] : [];
  });
  const status = outputs.pop()?.[0];
  return { status, used: used?.length, outputs };
}

function readSectors(parts: Parts, sector: number, count: number): Uint8Array {
  const { status, outputs } = request(parts, [header(BLK_TYPE.In, sector), count * 512, 1]);
  expect(status).toBe(BLK_STATUS.Ok);
  return outputs[0] ?? new Uint8Array();
}

const filled = (value: number, length = 512) => new Uint8Array(length).fill(value);

describe("the block device", () => {
  test("describes itself", () => {
    const { device, driver } = start();
    expect(device.read(REG.DeviceId, 4)).toBe(2);
    expect(device.read(REG.Config, 4)).toBe(SIZE / 512);
    expect(device.read(REG.Config + 4, 4)).toBe(0);
    expect(device.read(REG.Config + 12, 4)).toBe(254);
    expect(device.read(REG.Config + 20, 4)).toBe(512);
    expect(device.read(REG.Config + 56, 1)).toBe(1);
    driver.set(REG.DeviceFeaturesSel, 0);
    expect(driver.get(REG.DeviceFeatures) & 0xffff).toBe(0x6246);
    const readOnly = start({ readOnly: true }).driver;
    expect(readOnly.get(REG.DeviceFeatures) & 0xffff).toBe(0x0266);
  });

  test("reads sectors into scattered buffers", () => {
    const parts = start();
    const buffers = [header(BLK_TYPE.In, 127), 100, 924, 512, 1];
    const { status, used, outputs } = request(parts, buffers);
    expect(status).toBe(BLK_STATUS.Ok);
    expect(used).toBe(1537);
    const expected = [...filled(128), ...filled(129), ...filled(130)];
    expect(outputs.flatMap((bytes) => [...bytes])).toEqual(expected);
  });

  test("writes sectors from scattered buffers, header and data in one or not", () => {
    const parts = start();
    const head = header(BLK_TYPE.Out, 200);
    const data = [...filled(91), ...filled(92)];
    const one = Uint8Array.from([...head, ...data.slice(0, 10)]);
    const { status, used } = request(parts, [one, Uint8Array.from(data.slice(10)), 1]);
    expect([status, used]).toEqual([BLK_STATUS.Ok, 1]);
    const next = header(BLK_TYPE.Out, 202);
    const split = [next.slice(0, 5), next.slice(5), filled(93), 1];
    expect(request(parts, split).status).toBe(BLK_STATUS.Ok);
    expect([...readSectors(parts, 199, 5)]).toEqual([
      ...filled(200),
      ...data,
      ...filled(93),
      ...filled(204),
    ]);
  });

  test("gives its serial number, flushes, and knows no other requests", () => {
    const parts = start();
    const { status, outputs } = request(parts, [header(BLK_TYPE.GetId, 0), 20, 1]);
    expect(status).toBe(BLK_STATUS.Ok);
    expect(String.fromCharCode(...(outputs[0] ?? []))).toBe("dejavm-root".padEnd(20, "\0"));
    expect(request(parts, [header(BLK_TYPE.Flush, 0), 1]).status).toBe(BLK_STATUS.Ok);
    expect(request(parts, [header(99, 0), 512, 1]).status).toBe(BLK_STATUS.Unsupported);
  });

  test("discards and zeroes ranges", () => {
    const parts = start();
    const { disk } = parts;
    const discard = [header(BLK_TYPE.Discard, 0), range(100, 128 + 28), range(1024, 256), 1];
    expect(request(parts, discard).status).toBe(BLK_STATUS.Ok);
    expect([...disk.overlay()].map(({ chunk }) => chunk)).toEqual([1, 8, 9]);
    const zero = [header(BLK_TYPE.WriteZeroes, 0), range(2, 1, 1), range(1280, 129), 1];
    expect(request(parts, zero).status).toBe(BLK_STATUS.Ok);
    expect([...readSectors(parts, 1, 3)]).toEqual([...filled(2), ...filled(0), ...filled(4)]);
    expect([...readSectors(parts, 1408, 2)]).toEqual([...filled(0), ...filled(0x82)]);
  });

  const refused: readonly [string, number, readonly FakeBuffer[]][] = [
    ["beyond the end", 1, [header(BLK_TYPE.In, SIZE / 512), 512, 1]],
    ["across the end", 1, [header(BLK_TYPE.Out, SIZE / 512 - 1), filled(1, 1024), 1]],
    ["at the last sector number there is", 1, [header(BLK_TYPE.In, 2 ** 53), 512, 1]],
    ["of part of a sector", 1, [header(BLK_TYPE.In, 0), 511, 1]],
    ["of discard without ranges", 1, [header(BLK_TYPE.Discard, 0), 1]],
    ["of discard with part of a range", 1, [header(BLK_TYPE.Discard, 0), filled(0, 8), 1]],
    ["of discard beyond the end", 1, [header(BLK_TYPE.Discard, 0), range(SIZE / 512, 1), 1]],
    ["of discard with a flag", 2, [header(BLK_TYPE.Discard, 0), range(0, 1, 1), 1]],
    ["of zeroes with an unknown flag", 2, [header(BLK_TYPE.WriteZeroes, 0), range(0, 1, 2), 1]],
  ];
  test.each(refused)("refuses a request %s with status %i", (_title, status, buffers) => {
    const parts = start();
    const { used, status: actual } = request(parts, buffers);
    expect([actual, used]).toEqual([status, 1]);
    expect([...parts.disk.overlay()]).toEqual([]);
  });

  test.each([-1, 0, 1])("bounds ranges of a discard in number and length (%i off)", (off) => {
    const parts = start({ sizeBytes: 128 * 1024 * 1024, cold: true });
    const status = off > 0 ? BLK_STATUS.IoError : BLK_STATUS.Ok;
    const sectors = range(0, BLK_MAX_RANGE_SECTORS + off);
    expect(request(parts, [header(BLK_TYPE.Discard, 0), sectors, 1]).status).toBe(status);
    const ranges = new Uint8Array(16 * (BLK_MAX_RANGES + off));
    expect(request(parts, [header(BLK_TYPE.Discard, 0), ranges, 1]).status).toBe(status);
  });

  test("changes nothing on a read-only disk", () => {
    const parts = start({ readOnly: true });
    for (const buffers of [
      [header(BLK_TYPE.Out, 0), filled(1), 1],
      [header(BLK_TYPE.Discard, 0), range(0, 128), 1],
      [header(BLK_TYPE.WriteZeroes, 0), range(0, 128), 1],
    ]) {
      expect(request(parts, buffers).status).toBe(BLK_STATUS.IoError);
    }
    expect([...parts.disk.overlay()]).toEqual([]);
    expect(readSectors(parts, 3, 1)[0]).toBe(4);
  });

  test.each([
    ["a whole header", [filled(0, 15), 512, 1]],
    ["a status byte", [header(BLK_TYPE.Flush, 0)]],
  ])("needs a reset after a request without %s", (_title, buffers) => {
    const { driver, queue } = start();
    queue.add(buffers);
    driver.notify(0);
    expect(driver.get(REG.Status) & STATUS.NeedsReset).toBe(STATUS.NeedsReset);
    expect(queue.takeUsed()).toEqual([]);
  });

  test("saves and restores with requests waiting", () => {
    const one = start();
    request(one, [header(BLK_TYPE.Out, 10), filled(42), 1]);
    one.queue.add([header(BLK_TYPE.In, 10), 1024, 1]);
    const other = start();
    request(other, [header(BLK_TYPE.Out, 11), filled(43), 1]);
    const stored = one.disk.takeDirty();
    other.memory.bytes.set(one.memory.bytes);
    other.device.restore(one.device.save());
    other.disk.restore(one.disk.save());
    expect(other.driver.notify(0)).toEqual({ pages: [], blocks: [{ disk: 0, chunk: 0 }] });
    for (const { chunk, bytes } of stored) if (bytes) other.disk.supply(chunk, bytes);
    expect(other.driver.notify(0)).toBeUndefined();
    one.driver.notify(0);
    expect(other.memory.bytes).toEqual(one.memory.bytes);
    expect(other.device.save()).toEqual(one.device.save());
    const state = one.device.save();
    expect(() => other.device.restore({ ...state, device: { x: 1 } })).toThrow(CodedError);
  });
});

/** Requests of every kind in one batch, some touching what others change. */
function addMixedBatch({ queue }: Parts): void {
  queue.add([header(BLK_TYPE.In, 120), 8192, 1]);
  queue.add([header(BLK_TYPE.Out, 250), filled(1, 4096), 1], true);
  queue.add([header(BLK_TYPE.Discard, 0), range(250, 400), 1]);
  queue.add([header(BLK_TYPE.WriteZeroes, 0), range(1000, 300), 1]);
  queue.add([header(BLK_TYPE.In, 252), 1024, 1]);
  queue.add([header(BLK_TYPE.Out, 1280), filled(9, CHUNK_BYTES), 1]);
  queue.add([header(BLK_TYPE.GetId, 0), 20, 1]);
}

const MIXED: StartOptions = { spread: true, queueSize: 32, features: [FEATURE.IndirectDesc] };

describe("two steps", () => {
  function observeDisk({ disk, irq }: Parts): () => unknown {
    return () => [disk.overlayDigest(), irq.asserted];
  }

  test("with each page absent in turn, nothing happens and then the same", () => {
    function scenario(): Scenario {
      const parts = start(MIXED);
      addMixedBatch(parts);
      const { driver, memory, device } = parts;
      return { device, memory, act: () => driver.notify(0), observe: observeDisk(parts) };
    }
    const { expected, trials } = tryAbsentPages(scenario);
    expect(trials.length).toBeGreaterThan(30);
    for (const { before, refused, after } of trials) {
      expect(refused.length).toBeGreaterThan(0);
      for (const { outcome } of refused) expect(outcome).toEqual(before);
      expect(after).toEqual(expected);
    }
  }, 60_000);

  function runCold(missingFirst: readonly number[]) {
    const parts = start({ ...MIXED, cold: true });
    addMixedBatch(parts);
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      if (!missingFirst.includes(chunk)) parts.disk.supply(chunk, baseChunk(chunk));
    }
    const observe = observeDisk(parts);
    const act = (): Missing | undefined => parts.driver.notify(0);
    const scenario = { device: parts.device, memory: parts.memory, act, observe };
    const before = outcomeOf(scenario);
    const asked: number[] = [];
    for (let missing = act(); missing !== undefined; missing = act()) {
      expect(outcomeOf(scenario)).toEqual(before);
      expect(missing.pages).toEqual([]);
      for (const { disk, chunk } of missing.blocks) {
        expect(disk).toBe(0);
        asked.push(chunk);
        parts.disk.supply(chunk, baseChunk(chunk));
      }
    }
    return { asked, outcome: outcomeOf(scenario) };
  }

  test("with each chunk absent in turn, nothing happens and then the same", () => {
    const all = Array.from({ length: CHUNKS }, (_, chunk) => chunk);
    const expected = runCold([]);
    const together = runCold(all);
    expect(together.outcome).toEqual(expected.outcome);
    // 3 and 4 are discarded as a whole, 8 zeroed as a whole, 10 written as a whole.
    expect(together.asked).toEqual([0, 1, 2, 7, 10]);
    for (const chunk of together.asked) {
      const { asked, outcome } = runCold([chunk]);
      expect(asked).toEqual([chunk]);
      expect(outcome).toEqual(expected.outcome);
    }
  });

  test("pages and chunks are asked for together", () => {
    const parts = start({ ...MIXED, cold: true });
    const { addresses } = parts.queue.add([header(BLK_TYPE.In, 0), 512, 1]);
    const page = Math.floor((addresses[1] ?? 0) / 4096);
    parts.memory.absent.add(page);
    const missing = { pages: [page], blocks: [{ disk: 0, chunk: 0 }] };
    expect(parts.driver.notify(0)).toEqual(missing);
  });

  test("scattered reads of more chunks than a batch holds come to an end", () => {
    const sizeBytes = 1024 * CHUNK_BYTES;
    const parts = start({ cold: true, sizeBytes, queueSize: 256, spread: false });
    const { driver, queue, disk } = parts;
    queue.describe(1, driver.allocate(512), 512, DESC_FLAG.Write | DESC_FLAG.Next, 2);
    queue.describe(2, driver.allocate(1), 1, DESC_FLAG.Write);
    for (let i = 0; i < 250; i++) {
      const head = 3 + i;
      const address = driver.allocate(16);
      parts.memory.write(address, header(BLK_TYPE.In, i * 4 * 128));
      queue.describe(head, address, 16, DESC_FLAG.Next, 1);
      queue.publish(head);
    }
    let done = 0;
    let rounds = 0;
    let missing = driver.notify(0);
    while (done < 250) {
      expect(++rounds).toBeLessThan(20);
      for (const { chunk } of missing?.blocks ?? [])
        disk.supply(chunk, new Uint8Array(CHUNK_BYTES));
      missing = rounds === 1 ? driver.notify(0) : driver.acknowledge();
      done += queue.takeUsed().length;
    }
    expect(rounds).toBeGreaterThan(2);
  });

  test("a write waits until the owner takes what has changed", () => {
    const sizeBytes = (MAX_DIRTY_CHUNKS + 8) * CHUNK_BYTES;
    const parts = start({ cold: true, sizeBytes });
    const { disk, driver, queue } = parts;
    const bytes = new Uint8Array(CHUNK_BYTES);
    for (let i = 0; i < MAX_DIRTY_CHUNKS; i++) disk.write(i * CHUNK_BYTES, CHUNK_BYTES, [bytes]);
    queue.add([header(BLK_TYPE.Out, MAX_DIRTY_CHUNKS * 128), bytes, 1]);
    expect(driver.notify(0)).toEqual({ pages: [], blocks: [{ disk: 0, chunk: 0 }] });
    const taken: readonly ChangedChunk[] = disk.takeDirty();
    disk.supply(0, taken[0]?.bytes ?? new Uint8Array(CHUNK_BYTES));
    expect(driver.notify(0)).toBeUndefined();
    expect(disk.dirtyCount).toBe(1);
  });
});

test("random requests never throw, and never touch what was not probed", () => {
  const prng = new Prng(5_202);
  const parts = start({ cold: true, ramBytes: 512 * 1024, queueSize: 8 });
  const { driver, queue, disk, memory, device } = parts;
  const headerAt = driver.allocate(4096);
  const data = driver.allocate(200_000);
  const taken = new Map<number, Uint8Array>();
  const resolve = (missing: Missing | undefined) => {
    for (const { chunk, bytes } of disk.takeDirty()) if (bytes) taken.set(chunk, bytes);
    for (const page of missing?.pages ?? []) memory.absent.delete(page);
    for (const { chunk } of missing?.blocks ?? []) {
      disk.supply(chunk, taken.get(chunk) ?? baseChunk(chunk));
    }
    return missing !== undefined;
  };
  let answered = 0;
  for (let i = 0; i < 20_000; i++) {
    const type = prng.pick([...Object.values(BLK_TYPE), prng.u32()]);
    const sector = prng.oneIn(10) ? prng.u32() * prng.u32() : prng.below(SIZE / 512);
    memory.write(headerAt, header(type, Math.min(sector, 2 ** 60)));
    for (let r = 0; r < 3; r++) {
      const start = prng.oneIn(9) ? prng.u32() : prng.below(SIZE / 512);
      memory.write(headerAt + 16 + r * 16, range(start, prng.below(400), prng.below(3) >> 1));
    }
    const headerBytes = prng.oneIn(30) ? prng.below(40) : prng.pick([16, 16, 32, 48]);
    queue.describe(0, headerAt, headerBytes, DESC_FLAG.Next, prng.oneIn(2) ? 1 : 2);
    const length = prng.oneIn(4) ? prng.below(70_000) : 512 * prng.below(20);
    const write = prng.oneIn(2) ? DESC_FLAG.Write : 0;
    queue.describe(1, data + prng.below(100_000), length, write | DESC_FLAG.Next, 2);
    queue.describe(2, data, prng.oneIn(30) ? 0 : 1, DESC_FLAG.Write);
    queue.publish(0);
    if (prng.oneIn(4)) {
      memory.absent.add(FAKE_RAM_BASE / 4096 + prng.below(memory.bytes.length / 4096));
    }
    for (let rounds = 0; resolve(driver.notify(0)); rounds++) expect(rounds).toBeLessThan(10);
    memory.absent.clear();
    answered += queue.takeUsed().length;
    if ((driver.get(REG.Status) & STATUS.NeedsReset) !== 0) {
      device.restore({ ...device.save(), status: 15 });
      // The malformed request was not taken: overwrite it, and take it as a flush.
      memory.write(headerAt, header(BLK_TYPE.Flush, 0));
      queue.describe(0, headerAt, 16, DESC_FLAG.Next, 2);
      queue.describe(2, data, 1, DESC_FLAG.Write);
      driver.notify(0);
      answered += queue.takeUsed().length;
    }
  }
  expect(answered).toBe(20_000);
});
