/**
 * Guest RAM as the machine's TypeScript side sees it: the door for device DMA, and the hooks that
 * checkpoints, migration rounds, post-copy and debuggers share. Hart accesses come through the
 * same hooks by TLB refill (hart/mmu/).
 *
 * Dirty tracking is by epochs: each page remembers the epoch of its last write, and any number of
 * consumers each remember the epoch in which they last looked.
 */
import { assert } from "@dejavm/base";
import { RAM_BASE } from "../board/memory-map.ts";
import { type GuestMemory, PAGE_BYTES } from "../device/device.ts";
import type { HartCore } from "../hart/core.ts";
import { PAGE_FLAG } from "../hart/layout.ts";

/** Number of an epoch of dirty tracking; grows by 1 at each `beginEpoch`. */
export type Epoch = number;
/** In which everything began; a machine's first `beginEpoch` gives the next one. */
const FIRST_EPOCH: Epoch = 1;

/** Called before the first write to a page in an epoch; `bytes` is a view of the old content. */
export type BeforeWrite = (page: number, bytes: Uint8Array) => void;

/** A range of guest physical addresses whose accesses stop the machine. */
export interface WatchRange {
  readonly address: number;
  readonly length: number;
  readonly on: "read" | "write" | "access";
}

/** An access that touched a watch range; the address is guest physical. */
export interface WatchHit {
  readonly address: number;
  readonly write: boolean;
}

/** See the head of this file. */
export class Ram implements GuestMemory {
  readonly pageCount: number;
  readonly #core: HartCore;
  readonly #u8: Uint8Array;
  readonly #view: DataView;
  readonly #epochs: Uint32Array;
  readonly #flags: Uint8Array;
  readonly #beforeWrite = new Set<BeforeWrite>();
  readonly #staleCode = new Set<number>();
  /** Supplied since `takeSupplied`. */
  #supplied: number[] = [];
  /** First touches since `takeTouched`; undefined: nobody wants to know. */
  #touched: number[] | undefined;
  #watches: readonly WatchRange[] = [];
  #watchHit: WatchHit | undefined;
  #absentCount = 0;

  constructor(core: HartCore) {
    const { map, memory } = core;
    this.#core = core;
    this.pageCount = map.ramPages;
    this.#u8 = new Uint8Array(memory.buffer, map.ram, map.ramBytes);
    this.#view = new DataView(memory.buffer, map.ram, map.ramBytes);
    this.#epochs = new Uint32Array(memory.buffer, map.pageEpochs, map.ramPages);
    this.#flags = new Uint8Array(memory.buffer, map.pageFlags, map.ramPages);
  }

  // ---- DMA

  probe(address: number, length: number, missing: Set<number>): boolean {
    const start = address - RAM_BASE;
    if (!(start >= 0 && length >= 0 && start + length <= this.#u8.length)) return false;
    if (length === 0) return true;
    const last = Math.floor((start + length - 1) / PAGE_BYTES);
    for (let page = Math.floor(start / PAGE_BYTES); page <= last; page++) {
      if ((this.#flags[page] & (PAGE_FLAG.absent | PAGE_FLAG.untouched)) === 0) continue;
      if (this.isAbsent(page)) missing.add(page);
      else this.firstTouch(page);
    }
    return true;
  }

  view(address: number, length: number): Uint8Array {
    const start = this.#offset(address, length);
    return this.#u8.subarray(start, start + length);
  }

  write(address: number, bytes: Uint8Array): void {
    this.#u8.set(bytes, this.#touch(address, bytes.length));
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
    this.#view.setUint16(this.#touch(address, 2), value, true);
  }
  writeU32(address: number, value: number): void {
    this.#view.setUint32(this.#touch(address, 4), value, true);
  }

  #offset(address: number, length: number): number {
    const start = address - RAM_BASE;
    assert(start >= 0 && start + length <= this.#u8.length, "DMA outside RAM was not probed");
    return start;
  }

  /** Everything that a write has as consequences; the offset to write at. */
  #touch(address: number, length: number): number {
    const start = this.#offset(address, length);
    if (length === 0) return start;
    const last = Math.floor((start + length - 1) / PAGE_BYTES);
    for (let page = Math.floor(start / PAGE_BYTES); page <= last; page++) this.#touchPage(page);
    // A device's write breaks the hart's reservation (A extension, "Load-Reserved").
    this.#core.set32("reserved", 0);
    if (this.#watches.length > 0) this.noteAccess(address, length, true);
    return start;
  }

  #touchPage(page: number): void {
    const core = this.#core;
    if (this.#epochs[page] !== core.get32("epoch")) {
      this.firstWrite(page);
      this.#epochs[page] = core.get32("epoch");
    }
    const flags = this.#flags[page];
    if (flags === 0) return;
    assert((flags & PAGE_FLAG.absent) === 0, "DMA into an absent page was not probed");
    if ((flags & PAGE_FLAG.untouched) !== 0) this.firstTouch(page);
    const stepping = core.get32("stepping") === 1;
    if ((flags & PAGE_FLAG.table) !== 0) {
      if (stepping) core.set32("dropTlb", 1);
      else core.exports.flush_tlb();
    }
    if ((flags & PAGE_FLAG.code) !== 0) {
      if (!stepping) core.code.drop(page);
      else {
        this.#staleCode.add(page);
        if (core.get32("dropCode0") === 0) core.set32("dropCode0", page + 1);
      }
    }
  }

  /** Forgets code that DMA overwrote while an instruction was running. */
  dropStaleCode(): void {
    for (const page of this.#staleCode) this.#core.code.drop(page);
    this.#staleCode.clear();
  }

  // ---- dirty tracking and copy-on-write

  /** Writes from now on belong to a new epoch, whose number is returned. */
  beginEpoch(): Epoch {
    const epoch = this.#core.get32("epoch") + 1;
    this.#core.set32("epoch", epoch);
    this.#core.exports.drop_all_write_tags();
    return epoch;
  }

  /** Pages written in epoch `epoch` or later, ascending. */
  dirtySince(epoch: Epoch): Uint32Array {
    const epochs = this.#epochs;
    const dirty = new Uint32Array(this.countDirtySince(epoch));
    for (let page = 0, i = 0; i < dirty.length; page++) {
      if (epochs[page] >= epoch) dirty[i++] = page;
    }
    return dirty;
  }

  /** How many pages were written in epoch `epoch` or later. */
  countDirtySince(epoch: Epoch): number {
    const epochs = this.#epochs;
    let count = 0;
    for (let page = 0; page < epochs.length; page++) if (epochs[page] >= epoch) count++;
    return count;
  }

  /** Whether a page was written in epoch `epoch` or later. */
  isDirtySince(page: number, epoch: Epoch): boolean {
    return this.#epochs[page] >= epoch;
  }

  /** Registers a hook for first writes; the function that takes it away again is returned. */
  onFirstWrite(hook: BeforeWrite): () => void {
    this.#beforeWrite.add(hook);
    return () => void this.#beforeWrite.delete(hook);
  }

  /** The hart or a device is about to write `page` for the first time in this epoch. */
  firstWrite(page: number): void {
    if (this.#beforeWrite.size === 0) return;
    const bytes = this.page(page);
    for (const hook of this.#beforeWrite) hook(page, bytes);
  }

  // ---- first touches

  /**
   * From now on every page's first access of any kind is noted, in order. Costs one refill of the
   * TLB per page, and nothing beside that.
   */
  recordTouches(): void {
    this.#touched = [];
    for (let page = 0; page < this.pageCount; page++) this.#flags[page] |= PAGE_FLAG.untouched;
    this.#core.exports.flush_tlb();
  }

  /** Pages touched for the first time since the last call, in order. */
  takeTouched(): number[] {
    const touched = this.#touched ?? [];
    if (this.#touched !== undefined) this.#touched = [];
    return touched;
  }

  /** Nobody wants to know any more. Harmless when repeated. */
  stopRecordingTouches(): void {
    if (this.#touched === undefined) return;
    this.#touched = undefined;
    for (let page = 0; page < this.pageCount; page++) this.#flags[page] &= ~PAGE_FLAG.untouched;
  }

  /** The hart or a device uses a page that is flagged `untouched`. */
  firstTouch(page: number): void {
    this.#flags[page] &= ~PAGE_FLAG.untouched;
    this.#touched?.push(page);
  }

  // ---- pages

  /** A view of one page, valid until the machine runs. */
  page(page: number): Uint8Array {
    return this.#u8.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }

  isAbsent(page: number): boolean {
    return (this.#flags[page] & PAGE_FLAG.absent) !== 0;
  }

  /** True for a page of zeros; one never written costs nothing to tell. */
  isZero(page: number): boolean {
    if (this.#epochs[page] === 0) return true;
    const start = (this.#core.map.ram + page * PAGE_BYTES) >>> 2;
    const words = new Int32Array(this.#core.memory.buffer, start * 4, PAGE_BYTES / 4);
    return words.every((word) => word === 0);
  }

  /** Every page becomes absent; contents are forgotten. */
  forgetAll(): void {
    this.#core.code.dropAll();
    this.#core.exports.flush_tlb();
    // Pages never written are zero already; touching them would only cost host memory.
    for (let page = 0; page < this.pageCount; page++) {
      if (this.#epochs[page] !== 0) this.page(page).fill(0);
    }
    this.#epochs.fill(0);
    this.#flags.fill(PAGE_FLAG.absent);
    this.#absentCount = this.pageCount;
    this.#supplied = [];
    this.#touched = undefined;
    for (const range of this.#watches) this.#flagRange(range, PAGE_FLAG.watched);
    this.#watchHit = undefined;
  }

  /** Every page becomes zero by writes that the hooks see; absent ones are there from now on. */
  clear(): void {
    const core = this.#core;
    core.code.dropAll();
    core.exports.flush_tlb();
    for (let page = 0; page < this.pageCount; page++) {
      if (this.#epochs[page] !== 0 && !this.isAbsent(page)) {
        if (this.#epochs[page] !== core.get32("epoch")) this.firstWrite(page);
        this.#epochs[page] = core.get32("epoch");
        this.page(page).fill(0);
      }
      this.#flags[page] &= PAGE_FLAG.watched;
    }
    this.#absentCount = 0;
    this.#touched = this.#touched && [];
  }

  /**
   * The page has this content from now on, or is zero: a write by nobody, between two runs, also
   * to an absent page. The caller flushes the TLB afterwards.
   */
  replace(page: number, bytes: Uint8Array | undefined): void {
    if (this.isAbsent(page)) {
      this.supply(page, bytes);
      return;
    }
    if ((this.#flags[page] & PAGE_FLAG.code) !== 0) this.#core.code.drop(page);
    this.firstWrite(page);
    if (bytes === undefined) this.page(page).fill(0);
    else this.#u8.set(bytes, page * PAGE_BYTES);
    this.#epochs[page] = this.#core.get32("epoch");
  }

  /**
   * Gives an absent page its content, or zeros: what it had been all the time. So it does not
   * count as written, but in the first epoch.
   */
  supply(page: number, bytes: Uint8Array | undefined): void {
    assert(this.isAbsent(page), `page ${page} is there already`);
    this.#flags[page] &= ~PAGE_FLAG.absent;
    this.#absentCount--;
    // Never written and still zero: not worth a mark, or the host's memory.
    if (bytes === undefined && this.#epochs[page] === 0) return;
    if (bytes !== undefined) {
      assert(bytes.length === PAGE_BYTES, "a supplied page is whole");
      this.#u8.set(bytes, page * PAGE_BYTES);
    }
    if (this.#epochs[page] === 0) this.#epochs[page] = FIRST_EPOCH;
    this.#supplied.push(page);
  }

  /** Pages supplied since the last call, which no digest knows yet. */
  takeSupplied(): readonly number[] {
    const supplied = this.#supplied;
    this.#supplied = [];
    return supplied;
  }

  /** How many pages are absent. */
  get absentCount(): number {
    return this.#absentCount;
  }

  /** Takes a present page away: the next access to it stops the machine. */
  remove(page: number): Uint8Array {
    assert(!this.isAbsent(page), `page ${page} is absent already`);
    this.#absentCount++;
    const bytes = this.page(page).slice();
    this.#core.code.drop(page);
    this.#core.exports.flush_tlb();
    this.#flags[page] |= PAGE_FLAG.absent;
    this.page(page).fill(0);
    return bytes;
  }

  /** Puts bytes into RAM before the machine has run, as a boot loader does. */
  load(address: number, bytes: Uint8Array): void {
    this.write(address, bytes);
  }

  // ---- watch ranges and HTIF

  /** Replaces all watch ranges. */
  watch(ranges: readonly WatchRange[]): void {
    for (const range of this.#watches) this.#flagRange(range, 0);
    this.#watches = [...ranges];
    for (const range of this.#watches) this.#flagRange(range, PAGE_FLAG.watched);
    this.#core.exports.flush_tlb();
  }

  /** The page that holds `tohost` goes through the slow path on every store. */
  watchHtif(address: number): void {
    this.#flags[Math.floor((address - RAM_BASE) / PAGE_BYTES)] |= PAGE_FLAG.htif;
    this.#core.exports.flush_tlb();
  }

  /** An access to a watched page happened; remembers the first that hits a range. */
  noteAccess(address: number, length: number, write: boolean): void {
    const hits = this.#watches.some(
      (range) =>
        (range.on === "access" || (range.on === "write") === write) &&
        address < range.address + range.length &&
        range.address < address + length,
    );
    if (!hits) return;
    this.#watchHit ??= { address, write };
    this.#core.set32("stopRequest", 1);
  }

  /** The first hit since the last call. */
  takeWatchHit(): WatchHit | undefined {
    const hit = this.#watchHit;
    this.#watchHit = undefined;
    return hit;
  }

  #flagRange({ address, length }: WatchRange, flag: number): void {
    const first = Math.floor((address - RAM_BASE) / PAGE_BYTES);
    const last = Math.floor((address + length - 1 - RAM_BASE) / PAGE_BYTES);
    assert(first >= 0 && last < this.pageCount && length > 0, "watch ranges lie in RAM");
    for (let page = first; page <= last; page++) {
      this.#flags[page] = (this.#flags[page] & ~PAGE_FLAG.watched) | flag;
    }
  }
}
