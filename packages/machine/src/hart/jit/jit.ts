/**
 * The translated tier: learns from the interpreter which blocks are hot, translates regions that
 * begin there in batches between runs, and puts them in front of the interpreter's records. What
 * is translated, and when, changes speed only.
 */
import { Prng } from "@dejavm/base";
import { PAGE_BYTES } from "../../device/device.ts";
import { createTable, instantiate, type WasmTable } from "../../wasm/runtime.ts";
import type { FloatState } from "../float/state.ts";
import { AUX, type MemoryMap, RECORD, SLOT_BYTES, SLOT_PAGE } from "../layout.ts";
import { OP } from "../variants.ts";
import { CodeMemory } from "./code-memory.ts";
import { MAX_REGIONS, regionModule } from "./region-module.ts";
import { type Block, findRegion, type JumpTarget } from "./shape.ts";

/** When the translator acts. Nothing of it is visible to the guest. */
export interface JitPolicy {
  /** Entries of a block that make one unit of heat: 1 .. 255; 0: it is not measured. */
  readonly heatUnit: number;
  /** Units of heat after which a block is translated; Infinity: never. */
  readonly threshold: number;
  /** The same for S-mode: kernels spread over more code, and run it faster when it is cold. */
  readonly supervisorThreshold: number;
  /**
   * Units of heat that a block needs to be part of a region that another one makes hot; 0: all
   * that was run is taken in.
   */
  readonly warm: number;
  /** Regions that wait before the hart is asked to pause for their translation. */
  readonly batch: number;
  /** For tests: translates what waits at random, from this seed. */
  readonly seed?: number;
  /** Bytes of WebAssembly kept at once; past this all regions go. Default: 48 MiB. */
  readonly maxCodeBytes?: number;
  /** CPU milliseconds of this thread as the host counts them, for statistics only. */
  readonly now?: () => number;
}

/** The policy found best by measurement (docs/PERFORMANCE.md). */
export const DEFAULT_POLICY: JitPolicy = {
  heatUnit: 255,
  threshold: 32,
  supervisorThreshold: 96,
  warm: 4,
  batch: 16,
};
/** Only the interpreter. */
export const NO_JIT: JitPolicy = {
  heatUnit: 0,
  threshold: Number.POSITIVE_INFINITY,
  supervisorThreshold: Number.POSITIVE_INFINITY,
  warm: 0,
  batch: 1,
};
/** Everything that runs is translated at once. */
export const EAGER_JIT: JitPolicy = {
  heatUnit: 1,
  threshold: 1,
  supervisorThreshold: 1,
  warm: 0,
  batch: 1,
};

/**
 * A block inside some region is run by that region, and seldom worth one of its own: it takes so
 * many times the threshold.
 */
const COVERED_FACTOR = 4;

/** Pauses of the hart, a millisecond apart where it is paced, that a small batch waits at most. */
const MAX_WAIT = 100;

/** What waits and has got so many times the heat that it takes is not to wait for others. */
const URGENT_FACTOR = 1.5;

/** The default of JitPolicy.maxCodeBytes. */
const MAX_CODE_BYTES = 48 * 1024 * 1024;

/** What the translator did so far. */
export interface JitStatistics {
  readonly regions: number;
  readonly modules: number;
  /** Of WebAssembly, now. */
  readonly codeBytes: number;
  /** Guest instructions translated. */
  readonly instructions: number;
  /** Regions whose code was overwritten, moved or evicted. */
  readonly dropped: number;
  /** Times that the memory for code was full, and all regions were dropped. */
  readonly flushes: number;
  /** Modules that the host could not compile. */
  readonly failures: number;
  /** CPU time in translation and compilation on the machine's thread; 0 without `now`. */
  readonly compileMs: number;
}

interface Candidate {
  readonly slot: number;
  /** Of the record at which the region begins. */
  readonly index: number;
  /** Lies inside a region, and got hot in spite of that. */
  readonly covered: boolean;
}

/** A candidate and the blocks of its region. */
interface Found {
  readonly candidate: Candidate;
  readonly blocks: ReadonlyMap<number, Block>;
}

/** What the translator needs of the hart. */
export interface JitHost {
  readonly map: MemoryMap;
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly floatState: FloatState;
  /** Exports of the hart's module, which regions import. */
  readonly exports: Readonly<Record<string, unknown>>;
  /** The first variant's opcode where `op` is a fused pair's. */
  unfuse(op: number): number;
  /** Forgets cached translations and the jump caches. */
  flush(): void;
  /** Whether the interpreter must see the instruction at this offset of a page. */
  hasBreakpoint(offset: number): boolean;
  /** The computed jump that the interpreter did last: its record, and its target's low 32 bits. */
  lastJump(): { readonly from: number; readonly to: number };
  /** Whether the hart is in S-mode. */
  isSupervisor(): boolean;
  /** Asks `run` to return soon. */
  requestPause(): void;
}

/** See the head of this file. */
export class Jit {
  readonly table: WasmTable;
  readonly #policy: JitPolicy;
  readonly #prng: Prng | undefined;
  #host: JitHost | undefined;
  /** Heat of records, by slot and record index. */
  readonly #heat = new Map<number, Map<number, number>>();
  /** For each slot, by the index of a computed jump: where in the page it was seen to go. */
  readonly #jumps = new Map<number, Map<number, Map<number, number>>>();
  #queue: Candidate[] = [];
  /** Table indices of the regions of each slot. */
  readonly #installed = new Map<number, { readonly at: number; readonly index: number }[]>();
  /** For each slot the indices of records at which blocks of its regions begin. */
  readonly #covered = new Map<number, Set<number>>();
  readonly #code: CodeMemory;
  /** Pauses that a batch too small has waited for. */
  #waited = 0;
  /** One of those that wait is run so much that it should not. */
  #isUrgent = false;
  readonly #statistics = {
    regions: 0,
    modules: 0,
    instructions: 0,
    dropped: 0,
    flushes: 0,
    failures: 0,
    compileMs: 0,
  };

  constructor(policy: JitPolicy) {
    this.#policy = policy;
    this.#prng = policy.seed === undefined ? undefined : new Prng(policy.seed);
    const { maxCodeBytes = MAX_CODE_BYTES } = policy;
    this.#code = new CodeMemory({ maxRegions: MAX_REGIONS, maxBytes: maxCodeBytes });
    this.table = createTable(MAX_REGIONS);
  }

  /** Connects it to the hart, which exists only after the table. */
  attach(host: JitHost): void {
    this.#host = host;
  }

  get statistics(): JitStatistics {
    return { ...this.#statistics, codeBytes: this.#code.bytes };
  }

  /** The block at this record was entered heatUnit times more. */
  hot(record: number): void {
    const host = this.#host;
    if (host === undefined) return;
    const { slots } = host.map;
    const slot = slots + Math.floor((record - slots) / SLOT_BYTES) * SLOT_BYTES;
    const index = (record - slot) / RECORD.bytes;
    this.#noteJump(host, slot, index);
    const u16 = new Uint16Array(host.memory.buffer);
    if (u16[(record + AUX.region) >>> 1] !== 0) return;
    let page = this.#heat.get(slot);
    if (page === undefined) this.#heat.set(slot, (page = new Map<number, number>()));
    const heat = (page.get(index) ?? 0) + 1;
    page.set(index, heat);
    const { batch } = this.#policy;
    const threshold = this.#policy[host.isSupervisor() ? "supervisorThreshold" : "threshold"];
    const covered = this.#covered.get(slot)?.has(index) === true;
    const limit = covered ? threshold * COVERED_FACTOR : threshold;
    if (heat === limit) this.#queue.push({ slot, index, covered });
    else if (heat >= limit * URGENT_FACTOR) this.#isUrgent = true;
    else return;
    if (this.#isUrgent || this.#queue.length >= batch) host.requestPause();
  }

  /** If the last computed jump in this page went to this record, it is one of its targets. */
  #noteJump(host: JitHost, slot: number, index: number): void {
    const { from, to } = host.lastJump();
    const source = (from - slot) / RECORD.bytes;
    if (source < 0 || source >= RECORD.perPage || (to % PAGE_BYTES) / 2 !== index) return;
    let page = this.#jumps.get(slot);
    if (page === undefined) this.#jumps.set(slot, (page = new Map<number, Map<number, number>>()));
    let targets = page.get(source);
    if (targets === undefined) page.set(source, (targets = new Map<number, number>()));
    targets.set(index, (targets.get(index) ?? 0) + 1);
  }

  /** The code of this slot is gone. */
  dropSlot(slot: number): void {
    this.#heat.delete(slot);
    this.#jumps.delete(slot);
    this.#queue = this.#queue.filter((candidate) => candidate.slot !== slot);
    const installed = this.#installed.get(slot);
    if (installed === undefined) return;
    this.#installed.delete(slot);
    this.#covered.delete(slot);
    for (const { index } of installed) {
      this.table.set(index, null);
    }
    this.#code.release(installed.map(({ index }) => index));
    this.#statistics.dropped += installed.length;
    this.#host?.flush();
  }

  /** All code is gone. */
  dropAll(): void {
    this.#queue = [];
    for (const slot of this.#installed.keys()) this.dropSlot(slot);
    this.#heat.clear();
    this.#jumps.clear();
    this.#covered.clear();
  }

  /** Whether there is something to translate. */
  get pending(): boolean {
    return this.#queue.length > 0;
  }

  /** Translates and installs what waits. Only while the hart does not run. */
  translatePending(): void {
    const host = this.#host;
    if (host === undefined || this.#queue.length === 0) return;
    if (!this.#isDue()) return;
    const { now } = this.#policy;
    const start = now?.() ?? 0;
    const queue = this.#queue;
    this.#queue = [];
    this.#isUrgent = false;
    const found = this.#choose(host, queue);
    if (found.length > 0) this.#translate(host, found);
    this.#statistics.compileMs += (now?.() ?? 0) - start;
  }

  #translate(host: JitHost, found: readonly Found[]): void {
    const places = this.#code.reserve(found.length);
    if (places === undefined) {
      this.#uninstallAll(host);
      return;
    }
    const needs = this.#build(host, found, places);
    if (needs === undefined) {
      this.#statistics.failures++;
      this.#code.release(places);
      return;
    }
    for (const [i, { candidate, blocks }] of found.entries()) {
      this.#install(host, candidate, { region: places[i], need: needs[i] });
      for (const { instructions } of blocks.values()) {
        this.#statistics.instructions += instructions.length;
      }
    }
    this.#statistics.regions += found.length;
    this.#statistics.modules++;
  }

  /**
   * The regions of the candidates. The blocks of a loop or a function get hot at about the same
   * time; those that lie within a larger region chosen here are left out.
   */
  #choose(host: JitHost, queue: readonly Candidate[]): Found[] {
    const all = queue.map((candidate) => {
      const { slot, index } = candidate;
      const blocks = findRegion(this.#codeOf(host, slot), index * 2, {
        belongs: (offset) => this.#belongs(host, slot, offset / 2),
        isExcluded: (offset) => host.hasBreakpoint(offset),
        jumpTargets: (offset) => this.#jumpTargets(slot, offset / 2),
      });
      return { candidate, blocks };
    });
    for (const { candidate, blocks } of all) {
      // Heat begins anew, in case that it lies in another's region; never, if it cannot have one.
      const heat = blocks === undefined ? Number.NEGATIVE_INFINITY : 0;
      this.#heat.get(candidate.slot)?.set(candidate.index, heat);
    }
    return all
      .flatMap(({ candidate, blocks }) => (blocks === undefined ? [] : [{ candidate, blocks }]))
      .sort((a, b) => b.blocks.size - a.blocks.size)
      .filter(({ candidate: { slot, index, covered }, blocks }) => {
        const indices = this.#covered.get(slot) ?? new Set();
        this.#covered.set(slot, indices);
        if (!covered && indices.has(index)) return false;
        for (const offset of blocks.keys()) indices.add(offset / 2);
        return true;
      });
  }

  #jumpTargets(slot: number, index: number): readonly JumpTarget[] {
    const targets = this.#jumps.get(slot)?.get(index) ?? [];
    return [...targets].map(([target, weight]) => ({ offset: target * 2, weight }));
  }

  /** Whether a block is worth being part of a region that begins at another one. */
  #belongs({ memory }: JitHost, slot: number, index: number): boolean {
    const u16 = new Uint16Array(memory.buffer);
    const record = slot + index * RECORD.bytes;
    if (u16[(record + RECORD.op) >>> 1] === OP.undecoded) return false;
    const { warm } = this.#policy;
    if (warm === 0) return true;
    if (u16[(record + AUX.region) >>> 1] !== 0) return true;
    if (this.#covered.get(slot)?.has(index) === true) return true;
    return (this.#heat.get(slot)?.get(index) ?? 0) >= warm;
  }

  /** Whether to translate now rather than to collect more. */
  #isDue(): boolean {
    if (this.#prng !== undefined) return this.#prng.oneIn(4);
    this.#waited++;
    const isSmall = this.#queue.length < this.#policy.batch;
    if (isSmall && this.#waited < MAX_WAIT && !this.#isUrgent) return false;
    this.#waited = 0;
    return true;
  }

  #codeOf({ map, memory }: JitHost, slot: number): Uint16Array {
    const page = new Int32Array(memory.buffer)[(slot + SLOT_PAGE) >>> 2];
    return new Uint16Array(memory.buffer, map.ram + page * PAGE_BYTES, PAGE_BYTES / 2);
  }

  /** Instantiates one module with all regions; gives the budgets that they want, or undefined. */
  #build(
    host: JitHost,
    found: readonly Found[],
    indices: readonly number[],
  ): readonly number[] | undefined {
    const regions = found.map(({ candidate: { index }, blocks }, i) => ({
      place: indices[i],
      entry: index * 2,
      blocks,
    }));
    const { bytes, needs } = regionModule(host, regions);
    try {
      instantiate(bytes, { ...host.exports, memory: host.memory, table: this.table });
    } catch {
      // The engine has no memory for code: the interpreter goes on with these blocks.
      return undefined;
    }
    this.#code.fill(indices, bytes.length);
    return needs;
  }

  #install(
    host: JitHost,
    { slot, index }: Candidate,
    { region, need }: { region: number; need: number },
  ): void {
    const record = slot + index * RECORD.bytes;
    const u16 = new Uint16Array(host.memory.buffer);
    u16[(record + AUX.op) >>> 1] = host.unfuse(u16[(record + RECORD.op) >>> 1]);
    u16[(record + AUX.region) >>> 1] = region;
    u16[(record + AUX.need) >>> 1] = need;
    u16[(record + RECORD.op) >>> 1] = OP.region;
    const list = this.#installed.get(slot) ?? [];
    list.push({ at: record, index: region });
    this.#installed.set(slot, list);
  }

  /** Takes every region away; the interpreter's records stay. */
  #uninstallAll(host: JitHost): void {
    this.#statistics.flushes++;
    const u16 = new Uint16Array(host.memory.buffer);
    for (const regions of this.#installed.values()) {
      for (const { at } of regions) {
        u16[(at + RECORD.op) >>> 1] = u16[(at + AUX.op) >>> 1];
        u16[(at + AUX.region) >>> 1] = 0;
      }
    }
    this.dropAll();
  }
}
