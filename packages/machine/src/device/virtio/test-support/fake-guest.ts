/**
 * Test support: guest memory with pages that can be absent, and a driver that talks to a virtio
 * device through its registers and rings as a guest would.
 */
import { assert } from "@dejavm/base";
import {
  type Device,
  type GuestMemory,
  type Missing,
  PAGE_BYTES,
  type State,
} from "../../device.ts";
import { DESC_BYTES, DESC_FLAG, FEATURE, REG, STATUS } from "../wire.ts";

/** Guest physical address of the first byte of `FakeMemory`. */
export const FAKE_RAM_BASE = 0x8000_0000;

/** RAM that refuses what was not probed as it should have been: outside, or an absent page. */
export class FakeMemory implements GuestMemory {
  readonly bytes: Uint8Array;
  readonly absent = new Set<number>();
  /** Every page that was asked about since it was last cleared. */
  readonly probed = new Set<number>();
  readonly #view: DataView;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  probe(address: number, length: number, missing: Set<number>): boolean {
    if (length === 0) return true;
    const start = address - FAKE_RAM_BASE;
    if (start < 0 || start + length > this.bytes.length) return false;
    for (const page of pagesOf(address, length)) {
      this.probed.add(page);
      if (this.absent.has(page)) missing.add(page);
    }
    return true;
  }

  view(address: number, length: number): Uint8Array {
    const at = this.#offset(address, length);
    return this.bytes.subarray(at, at + length);
  }

  write(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#offset(address, bytes.length));
  }

  readU16(address: number): number {
    return this.#view.getUint16(this.#offset(address, 2), true);
  }

  readU32(address: number): number {
    return this.#view.getUint32(this.#offset(address, 4), true);
  }

  readU64(address: number): bigint {
    return this.#view.getBigUint64(this.#offset(address, 8), true);
  }

  writeU16(address: number, value: number): void {
    this.#view.setUint16(this.#offset(address, 2), value, true);
  }

  writeU32(address: number, value: number): void {
    this.#view.setUint32(this.#offset(address, 4), value, true);
  }

  #offset(address: number, length: number): number {
    const start = address - FAKE_RAM_BASE;
    assert(start >= 0 && start + length <= this.bytes.length, "the device left guest RAM");
    for (const page of pagesOf(address, length)) {
      assert(!this.absent.has(page), "the device touched an absent page");
    }
    return start;
  }
}

/** The numbers of the pages that a range touches. */
function pagesOf(address: number, length: number): number[] {
  const pages: number[] = [];
  const last = Math.floor((address + Math.max(length, 1) - 1) / PAGE_BYTES);
  for (let page = Math.floor(address / PAGE_BYTES); page <= last; page++) pages.push(page);
  return pages;
}

/** An interrupt line that can be looked at. */
export class FakeIrq {
  asserted = false;

  set(asserted: boolean): void {
    this.asserted = asserted;
  }
}

/** One buffer of a request: bytes that the device reads, or the size of one that it writes. */
export type FakeBuffer = Uint8Array | number;

/** A request that was made available. */
export interface FakeRequest {
  readonly head: number;
  /** Guest addresses of the buffers, in order. */
  readonly addresses: readonly number[];
}

/** An entry of the used ring. */
export interface FakeUsed {
  readonly head: number;
  readonly length: number;
}

/** How a fake driver behaves. */
export interface FakeDriverOptions {
  /** Put every ring, table and buffer at the start of a page of its own. */
  readonly spread?: boolean;
  readonly queueSize?: number;
  /** Feature bit numbers to accept besides VERSION_1. */
  readonly features?: readonly number[];
}

/** A driver for any virtio device. */
export class FakeDriver {
  readonly device: Device;
  readonly memory: FakeMemory;
  readonly queueSize: number;
  readonly #spread: boolean;
  readonly #features: readonly number[];
  readonly #queues = new Map<number, FakeQueue>();
  #free = FAKE_RAM_BASE;

  constructor(device: Device, memory: FakeMemory, options: FakeDriverOptions = {}) {
    this.device = device;
    this.memory = memory;
    this.queueSize = options.queueSize ?? 16;
    this.#spread = options.spread ?? false;
    this.#features = options.features ?? [];
  }

  /** Initialises the device as section 3.1.1 says, with queues 0 .. `queueCount`-1. */
  start(queueCount: number): void {
    this.set(REG.Status, 0);
    this.set(REG.Status, STATUS.Acknowledge | STATUS.Driver);
    this.accept([FEATURE.Version1, ...this.#features]);
    this.set(REG.Status, STATUS.Acknowledge | STATUS.Driver | STATUS.FeaturesOk);
    assert((this.get(REG.Status) & STATUS.FeaturesOk) !== 0, "the device refused the features");
    for (let i = 0; i < queueCount; i++) this.#queues.set(i, this.#setUp(i));
    this.set(REG.Status, this.get(REG.Status) | STATUS.DriverOk);
  }

  /** Writes the driver's features. */
  accept(bits: readonly number[]): void {
    for (const word of [0, 1]) {
      const inWord = bits.filter((bit) => bit >>> 5 === word);
      this.set(REG.DriverFeaturesSel, word);
      this.set(
        REG.DriverFeatures,
        inWord.reduce((sum, bit) => (sum | (1 << (bit & 31))) >>> 0, 0),
      );
    }
  }

  get(register: number): number {
    return this.device.read(register, 4);
  }

  set(register: number, value: number): Missing | undefined {
    return this.device.write(register, 4, value);
  }

  queue(index: number): FakeQueue {
    const queue = this.#queues.get(index);
    assert(queue !== undefined, "the queue was not set up");
    return queue;
  }

  notify(index: number): Missing | undefined {
    return this.set(REG.QueueNotify, index);
  }

  /** Acknowledges whatever interrupts there are. */
  acknowledge(): Missing | undefined {
    return this.set(REG.InterruptAck, this.get(REG.InterruptStatus));
  }

  /** Guest memory that nothing else uses. */
  allocate(length: number, alignment = 16): number {
    const unit = this.#spread ? PAGE_BYTES : alignment;
    const address = Math.ceil(this.#free / unit) * unit;
    this.#free = address + length;
    return address;
  }

  #setUp(index: number): FakeQueue {
    const size = this.queueSize;
    const descriptors = this.allocate(size * DESC_BYTES);
    const available = this.allocate(6 + 2 * size);
    const used = this.allocate(6 + 8 * size);
    this.set(REG.QueueSel, index);
    this.set(REG.QueueNum, size);
    for (const [register, address] of [
      [REG.QueueDescLow, descriptors],
      [REG.QueueDriverLow, available],
      [REG.QueueDeviceLow, used],
    ] as const) {
      this.set(register, address);
      this.set(register + 4, 0);
    }
    this.set(REG.QueueReady, 1);
    return new FakeQueue(this, { size, descriptors, available, used });
  }
}

interface FakeQueueLayout {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

/** The driver's side of one split virtqueue. Descriptors are never given back. */
export class FakeQueue {
  readonly layout: FakeQueueLayout;
  readonly #driver: FakeDriver;
  #nextDescriptor = 0;
  #availIndex = 0;
  #usedSeen = 0;

  constructor(driver: FakeDriver, layout: FakeQueueLayout) {
    this.#driver = driver;
    this.layout = layout;
  }

  get availIndex(): number {
    return this.#availIndex;
  }

  /** Makes a request available: buffers to read, then buffers to write. */
  add(buffers: readonly FakeBuffer[], indirect = false): FakeRequest {
    const { memory } = this.#driver;
    const addresses = buffers.map((buffer) => this.#place(buffer));
    const lengths = buffers.map((buffer) => (typeof buffer === "number" ? buffer : buffer.length));
    const head = this.#take(indirect ? 1 : buffers.length);
    const table = indirect
      ? this.#driver.allocate(buffers.length * DESC_BYTES)
      : this.layout.descriptors;
    for (const [i, buffer] of buffers.entries()) {
      const write = typeof buffer === "number" ? DESC_FLAG.Write : 0;
      const next = i + 1 < buffers.length ? DESC_FLAG.Next : 0;
      const index = indirect ? i : (head + i) % this.layout.size;
      const nextIndex = indirect ? i + 1 : (head + i + 1) % this.layout.size;
      const descriptor = [addresses[i], lengths[i], write | next, nextIndex] as const;
      writeDescriptor(memory, table + index * DESC_BYTES, descriptor);
    }
    if (indirect) {
      const at = this.layout.descriptors + head * DESC_BYTES;
      const length = buffers.length * DESC_BYTES;
      writeDescriptor(memory, at, [table, length, DESC_FLAG.Indirect, 0]);
    }
    this.publish(head);
    return { head, addresses };
  }

  /** Writes a descriptor of the queue's table. */
  describe(index: number, address: number, length: number, flags: number, next = 0): void {
    const at = this.layout.descriptors + index * DESC_BYTES;
    writeDescriptor(this.#driver.memory, at, [address, length, flags, next]);
  }

  /** Puts a chain's head into the available ring. */
  publish(head: number): void {
    const { memory } = this.#driver;
    const slot = this.#availIndex % this.layout.size;
    memory.writeU16(this.layout.available + 4 + slot * 2, head);
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
    memory.writeU16(this.layout.available + 2, this.#availIndex);
  }

  setAvailFlags(flags: number): void {
    this.#driver.memory.writeU16(this.layout.available, flags);
  }

  setUsedEvent(index: number): void {
    const at = this.layout.available + 4 + this.layout.size * 2;
    this.#driver.memory.writeU16(at, index);
  }

  get availEvent(): number {
    return this.#driver.memory.readU16(this.layout.used + 4 + this.layout.size * 8);
  }

  /** What the device has returned since the last call. */
  takeUsed(): FakeUsed[] {
    const { memory } = this.#driver;
    const used: FakeUsed[] = [];
    const index = memory.readU16(this.layout.used + 2);
    while (this.#usedSeen !== index) {
      const at = this.layout.used + 4 + (this.#usedSeen % this.layout.size) * 8;
      used.push({ head: memory.readU32(at), length: memory.readU32(at + 4) });
      this.#usedSeen = (this.#usedSeen + 1) & 0xffff;
    }
    return used;
  }

  /** The rings were cleared and the device was told to start over. */
  restart(): void {
    this.#availIndex = 0;
    this.#usedSeen = 0;
  }

  #take(count: number): number {
    const head = this.#nextDescriptor;
    this.#nextDescriptor = (head + count) % this.layout.size;
    return head;
  }

  #place(buffer: FakeBuffer): number {
    const length = typeof buffer === "number" ? buffer : buffer.length;
    const address = this.#driver.allocate(length, 1);
    if (typeof buffer !== "number") this.#driver.memory.write(address, buffer);
    return address;
  }
}

function writeDescriptor(
  memory: FakeMemory,
  at: number,
  [address, length, flags, next]: readonly [number, number, number, number],
): void {
  memory.writeU32(at, address % 0x1_0000_0000);
  memory.writeU32(at + 4, Math.floor(address / 0x1_0000_0000));
  memory.writeU32(at + 8, length);
  memory.writeU16(at + 12, flags);
  memory.writeU16(at + 14, next);
}

/** A device about to handle something, made afresh for each try. */
export interface Scenario {
  readonly device: Device;
  readonly memory: FakeMemory;
  /** Notifies or gives input; what it returns is what was missing. */
  readonly act: () => Missing | undefined;
  /** Whatever else must come out the same: outputs, the interrupt line, the disk. */
  readonly observe: () => unknown;
}

/** What a scenario has come to: compare with `toEqual`. */
export interface Outcome {
  readonly state: State;
  /** A fingerprint of guest memory. */
  readonly ram: string;
  readonly observed: unknown;
}

/** A copy of everything that a scenario has changed. */
export function outcomeOf({ device, memory, observe }: Scenario): Outcome {
  return { state: device.save(), ram: fingerprint(memory.bytes), observed: observe() };
}

/** Two multiplicative hashes over the 32-bit words of `bytes`. */
function fingerprint(bytes: Uint8Array): string {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  let a = 1;
  let b = 1;
  for (const word of words) {
    a = Math.imul(a ^ word, 0x01000193);
    b = Math.imul(b + word, 0x5bd1e995) ^ (b >>> 15);
  }
  return `${a >>> 0}:${b >>> 0}`;
}

/** The result of one try with absent pages. */
export interface AbsenceTrial {
  /** Pages that were absent at first. */
  readonly absent: readonly number[];
  readonly before: Outcome;
  /** After each attempt that came back with something missing. */
  readonly refused: readonly { readonly missing: Missing; readonly outcome: Outcome }[];
  readonly after: Outcome;
}

/**
 * Runs a scenario with nothing absent, then again with each page that it touched absent in turn,
 * then with all of them absent, supplying only what is asked for.
 */
export function tryAbsentPages(make: () => Scenario): {
  readonly expected: Outcome;
  readonly trials: readonly AbsenceTrial[];
} {
  const plain = make();
  plain.memory.probed.clear();
  assert(plain.act() === undefined, "with nothing absent, nothing is missing");
  const touched = [...plain.memory.probed];
  const trials = [...touched.map((page) => [page]), touched].map((absent) =>
    tryAbsent(make, absent),
  );
  return { expected: outcomeOf(plain), trials };
}

function tryAbsent(make: () => Scenario, absent: readonly number[]): AbsenceTrial {
  const scenario = make();
  const { memory } = scenario;
  for (const page of absent) memory.absent.add(page);
  const before = outcomeOf(scenario);
  const refused: { missing: Missing; outcome: Outcome }[] = [];
  for (let missing = scenario.act(); missing !== undefined; missing = scenario.act()) {
    refused.push({ missing, outcome: outcomeOf(scenario) });
    assert(missing.pages.length > 0, "only pages are absent");
    for (const page of missing.pages) {
      assert(memory.absent.delete(page), "only absent pages are asked for");
    }
  }
  return { absent, before, refused, after: outcomeOf(scenario) };
}
