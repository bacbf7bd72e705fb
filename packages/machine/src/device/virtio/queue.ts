/**
 * A split virtqueue, from the device's side (virtio 1.2, section 2.7), in two steps. A `QueueScan`
 * reads rings, descriptors and buffer addresses and notes what is absent; nothing changes. Once
 * nothing is absent, `push` and `publish` write the used ring, and cannot fail: what they touch
 * was probed, and what the guest has changed meanwhile (by aiming a buffer at its own rings) does
 * not matter, because the chains were copied.
 */
import { assert } from "@dejavm/base";
import type { FieldReader } from "../../snapshot/fields.ts";
import type { GuestMemory, State } from "../device.ts";
import { Chain } from "./chain.ts";
import {
  AVAIL_ENTRY_BYTES,
  AVAIL_FLAG_NO_INTERRUPT,
  DESC,
  DESC_BYTES,
  DESC_FLAG,
  FEATURE,
  MAX_BATCH_BYTES,
  MAX_CHAIN_BUFFERS,
  MAX_CHAIN_BYTES,
  RING,
  USED_ENTRY_BYTES,
} from "./wire.ts";

/** What a queue needs to know of its device. */
export interface QueueContext {
  readonly memory: GuestMemory;
  /** Whether the driver accepted the feature with this bit number. */
  negotiated(bit: number): boolean;
}

/** A guest physical address that the driver sets in halves. */
export interface AddressRegister {
  low: number;
  high: number;
}

const UINT32_RANGE = 0x1_0000_0000;
/** High halves from here on give addresses that a number cannot hold; no RAM is there. */
const ADDRESS_HIGH_LIMIT = 0x20_0000;

/** One virtqueue: what the driver configured, and how far the device has come. */
export class VirtQueue {
  readonly maxSize: number;
  /** Entries: a power of two; 0 until the driver sets it. */
  size = 0;
  ready = false;
  /** Requests were left for the next InterruptACK. */
  backlog = false;
  readonly descriptors: AddressRegister = { low: 0, high: 0 };
  readonly driverArea: AddressRegister = { low: 0, high: 0 };
  readonly deviceArea: AddressRegister = { low: 0, high: 0 };
  readonly #context: QueueContext;
  /** Index of the next available entry to take, modulo 2^16. */
  #lastAvail = 0;
  /** Our copy of the used ring's `idx`. */
  #usedIndex = 0;
  /** `#usedIndex` when the driver was last told. */
  #publishedIndex = 0;

  constructor(context: QueueContext, maxSize: number) {
    this.#context = context;
    this.maxSize = maxSize;
  }

  /** The QueueNum register; sizes that are not allowed are ignored. */
  setSize(size: number): void {
    if (isQueueSize(size, this.maxSize)) this.size = size;
  }

  /** The QueueReady register: switching on starts both rings at index 0. */
  setReady(ready: boolean): void {
    if (ready === this.ready || (ready && this.size === 0)) return;
    this.ready = ready;
    this.backlog = false;
    this.#lastAvail = 0;
    this.#usedIndex = 0;
    this.#publishedIndex = 0;
  }

  reset(): void {
    this.setReady(false);
    this.size = 0;
    for (const register of [this.descriptors, this.driverArea, this.deviceArea]) {
      register.low = 0;
      register.high = 0;
    }
  }

  /** Starts reading what the driver made available. Absent pages go to `missing`. */
  scan(missing: Set<number>): QueueScan {
    return new QueueScan(this, this.#context, this.#lastAvail, missing);
  }

  /** Returns the next chain of a scan to the driver; `written` bytes of it hold an answer. */
  push(chain: Chain, written: number): void {
    const { memory } = this.#context;
    const slot = this.#usedIndex & (this.size - 1);
    const at = address(this.deviceArea) + RING.Entries + slot * USED_ENTRY_BYTES;
    memory.writeU32(at, chain.head);
    memory.writeU32(at + 4, written);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    this.#lastAvail = (this.#lastAvail + 1) & 0xffff;
  }

  /**
   * Shows the driver what was pushed since the last call. Returns whether it wants an interrupt.
   * If everything that `scan` saw is taken, or is too little for what waits (`wantsMore`), the
   * driver is asked to notify when it adds more.
   */
  publish(scan: QueueScan, wantsMore: boolean): boolean {
    if (!scan.valid) return false;
    const { memory } = this.#context;
    const eventIndex = this.#context.negotiated(FEATURE.EventIdx);
    const avail = address(this.driverArea);
    const used = address(this.deviceArea);
    if (eventIndex && (wantsMore || this.#lastAvail === scan.availIndex)) {
      memory.writeU16(used + RING.Entries + this.size * USED_ENTRY_BYTES, scan.availIndex);
    }
    const count = (this.#usedIndex - this.#publishedIndex) & 0xffff;
    if (count === 0) return false;
    memory.writeU16(used + RING.Idx, this.#usedIndex);
    this.#publishedIndex = this.#usedIndex;
    if (!eventIndex) return (memory.readU16(avail + RING.Flags) & AVAIL_FLAG_NO_INTERRUPT) === 0;
    const usedEvent = memory.readU16(avail + RING.Entries + this.size * AVAIL_ENTRY_BYTES);
    return ((this.#usedIndex - usedEvent - 1) & 0xffff) < count;
  }

  save(): State {
    return {
      size: this.size,
      ready: this.ready,
      backlog: this.backlog,
      descriptors: toBigInt(this.descriptors),
      driverArea: toBigInt(this.driverArea),
      deviceArea: toBigInt(this.deviceArea),
      lastAvail: this.#lastAvail,
      usedIndex: this.#usedIndex,
    };
  }

  restore(f: FieldReader): void {
    this.size = f.u16("size");
    if (this.size !== 0 && !isQueueSize(this.size, this.maxSize)) {
      throw f.invalid("size", `0 or a power of two up to ${this.maxSize}`);
    }
    this.ready = f.bool("ready");
    if (this.ready && this.size === 0) throw f.invalid("ready", "false for a queue without size");
    this.backlog = f.bool("backlog");
    setAddress(this.descriptors, f.u64("descriptors"));
    setAddress(this.driverArea, f.u64("driverArea"));
    setAddress(this.deviceArea, f.u64("deviceArea"));
    this.#lastAvail = f.u16("lastAvail");
    this.#usedIndex = f.u16("usedIndex");
    this.#publishedIndex = this.#usedIndex;
    f.end();
  }
}

/**
 * One pass over the available ring. Take chains with `next` until it gives none, then look at
 * `broken` (the driver violated the specification) and `backlog` (the batch is full).
 */
export class QueueScan {
  /** The rings are aligned, in RAM and present; without that there are no chains. */
  readonly valid: boolean;
  /** The driver's index when the scan began. */
  readonly availIndex: number;
  broken = false;
  backlog = false;
  readonly #queue: VirtQueue;
  readonly #context: QueueContext;
  readonly #missing: Set<number>;
  readonly #indirectAllowed: boolean;
  readonly #table: DataView | undefined;
  #index: number;
  #workBytes = 0;

  constructor(queue: VirtQueue, context: QueueContext, lastAvail: number, missing: Set<number>) {
    this.#queue = queue;
    this.#context = context;
    this.#missing = missing;
    this.#indirectAllowed = context.negotiated(FEATURE.IndirectDesc);
    this.#index = lastAvail;
    this.availIndex = lastAvail;
    this.valid = this.#probeRings();
    if (!this.valid) return;
    const { memory } = context;
    this.#table = dataView(memory, address(queue.descriptors), queue.size * DESC_BYTES);
    this.availIndex = memory.readU16(address(queue.driverArea) + RING.Idx);
    if (((this.availIndex - lastAvail) & 0xffff) > queue.size) this.broken = true;
  }

  /**
   * The next chain whose descriptors are all present; its buffers may be absent, which is noted.
   * Undefined when there are no more, the driver is at fault, or the batch is full.
   */
  next(): Chain | undefined {
    while (this.valid && !this.broken && this.#index !== this.availIndex) {
      if (this.#workBytes >= MAX_BATCH_BYTES) {
        this.backlog = true;
        return undefined;
      }
      const queue = this.#queue;
      const slot = this.#index & (queue.size - 1);
      const at = address(queue.driverArea) + RING.Entries + slot * AVAIL_ENTRY_BYTES;
      this.#index = (this.#index + 1) & 0xffff;
      const chain = this.#walk(this.#context.memory.readU16(at));
      if (chain === undefined) continue;
      this.#workBytes += chain.byteLength;
      return chain;
    }
    return undefined;
  }

  /** Counts work towards the batch that the buffers' bytes do not show. */
  charge(bytes: number): void {
    this.#workBytes += bytes;
  }

  /** The chain taken last is malformed for this device: the driver is at fault. */
  reject(): void {
    this.broken = true;
  }

  #probeRings(): boolean {
    const { size, descriptors, driverArea, deviceArea } = this.#queue;
    const before = this.#missing.size;
    const availBytes = RING.Entries + size * AVAIL_ENTRY_BYTES + RING.EventBytes;
    const usedBytes = RING.Entries + size * USED_ENTRY_BYTES + RING.EventBytes;
    const inRam =
      this.#probe(descriptors, size * DESC_BYTES, DESC_BYTES) &&
      this.#probe(driverArea, availBytes, 2) &&
      this.#probe(deviceArea, usedBytes, 4);
    if (!inRam) this.broken = true;
    return inRam && this.#missing.size === before;
  }

  #probe(register: AddressRegister, length: number, alignment: number): boolean {
    if (register.high >= ADDRESS_HIGH_LIMIT || register.low % alignment !== 0) return false;
    return this.#context.memory.probe(address(register), length, this.#missing);
  }

  /** Undefined if part of the chain is absent or, with `broken` set, if it is not legal. */
  #walk(head: number): Chain | undefined {
    const chain = new Chain(head);
    let table = this.#table;
    assert(table !== undefined, "a valid scan has a descriptor table");
    let entries = this.#queue.size;
    let index = head;
    let inIndirect = false;
    for (let walked = 0; walked <= MAX_CHAIN_BUFFERS && index < entries; walked++) {
      const at = index * DESC_BYTES;
      const flags = table.getUint16(at + DESC.Flags, true);
      if ((flags & DESC_FLAG.Indirect) !== 0) {
        if (inIndirect || !this.#indirectAllowed || (flags & DESC_FLAG.Next) !== 0) break;
        const indirect = this.#indirectTable(table, at);
        if (indirect === undefined) return undefined;
        table = indirect;
        entries = indirect.byteLength / DESC_BYTES;
        index = 0;
        inIndirect = true;
        continue;
      }
      if (!this.#addBuffer(chain, table, at, (flags & DESC_FLAG.Write) !== 0)) break;
      if ((flags & DESC_FLAG.Next) === 0) return chain;
      index = table.getUint16(at + DESC.Next, true);
    }
    this.broken = true;
    return undefined;
  }

  /** What a descriptor points to; undefined if it is absent or, with `broken`, illegal. */
  #indirectTable(table: DataView, at: number): DataView | undefined {
    const high = table.getUint32(at + DESC.AddressHigh, true);
    const start = high * UINT32_RANGE + table.getUint32(at + DESC.AddressLow, true);
    const length = table.getUint32(at + DESC.Length, true);
    const legal =
      high < ADDRESS_HIGH_LIMIT &&
      length > 0 &&
      length % DESC_BYTES === 0 &&
      length <= MAX_CHAIN_BUFFERS * DESC_BYTES;
    const { memory } = this.#context;
    const absent = new Set<number>();
    if (!legal || !memory.probe(start, length, absent)) {
      this.broken = true;
      return undefined;
    }
    for (const page of absent) this.#missing.add(page);
    return absent.size === 0 ? dataView(memory, start, length) : undefined;
  }

  /** False if the buffer is not legal. Buffers without bytes are left out. */
  #addBuffer(chain: Chain, table: DataView, at: number, writable: boolean): boolean {
    const high = table.getUint32(at + DESC.AddressHigh, true);
    const start = high * UINT32_RANGE + table.getUint32(at + DESC.AddressLow, true);
    const length = table.getUint32(at + DESC.Length, true);
    if (!writable && chain.writable.lengths.length > 0) return false;
    if (chain.byteLength + length > MAX_CHAIN_BYTES) return false;
    if (length === 0) return true;
    if (high >= ADDRESS_HIGH_LIMIT) return false;
    if (!this.#context.memory.probe(start, length, this.#missing)) return false;
    (writable ? chain.writable : chain.readable).append(start, length);
    return true;
  }
}

function isQueueSize(size: number, maxSize: number): boolean {
  return size > 0 && size <= maxSize && (size & (size - 1)) === 0;
}

function address(register: AddressRegister): number {
  return register.high * UINT32_RANGE + register.low;
}

function toBigInt(register: AddressRegister): bigint {
  return (BigInt(register.high) << 32n) | BigInt(register.low);
}

function setAddress(register: AddressRegister, value: bigint): void {
  register.low = Number(value & 0xffff_ffffn);
  register.high = Number(value >> 32n);
}

function dataView(memory: GuestMemory, start: number, length: number): DataView {
  const bytes = memory.view(start, length);
  return new DataView(bytes.buffer, bytes.byteOffset, length);
}
