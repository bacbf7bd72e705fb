/**
 * Puts the hart together: one linear memory, one generated module, and the functions of the host
 * that generated code calls. `HartCore` is the door to both for the rest of the machine.
 */
import { assert } from "@dejavm/base";
import { PAGE_BYTES } from "../device/device.ts";
import { and, either, eqz, gtU, i32, i64, or } from "../wasm/expr.ts";
import { type FuncRef, ModuleBuilder } from "../wasm/module.ts";
import {
  compile,
  createMemory,
  instantiate,
  type WasmMemory,
  type WasmModule,
} from "../wasm/runtime.ts";
import { get32, get64, type HartBuilder, type HostFunctions, set32, set64 } from "./builder.ts";
import { type CsrFunctions, type CsrRef, defineCsr, ENVCFG, MSTATUS } from "./csr.ts";
import { defineDigest } from "./digest.ts";
import type { Dispatch } from "./dispatch.ts";
import { defineFloat } from "./float/float.ts";
import { defineExecute, type FusedPair } from "./interpreter.ts";
import { Jit, type JitPolicy } from "./jit/jit.ts";
import { MAX_REGIONS } from "./jit/region-module.ts";
import {
  EXIT,
  F_BASE,
  FIELD,
  type FieldName,
  type MemoryMap,
  memoryMap,
  WASM_PAGE_BYTES,
  X_BASE,
} from "./layout.ts";
import { declareMmu } from "./mmu/functions.ts";
import { defineMmu } from "./mmu/mmu.ts";
import { FUSED_PAIRS } from "./pairs.ts";
import { CodeCache } from "./predecode.ts";
import { declareRegion, defineRegion } from "./region.ts";
import { defineRun } from "./run.ts";
import { declareTrap, defineTrap } from "./trap.ts";
import { opcodeOf, SINGLE_OPS } from "./variants.ts";

/** What the hart asks of the machine around it, while it runs. Every call is synchronous. */
export interface HartHost {
  /** First write to a RAM page in the present epoch, before it happens. */
  firstWrite(page: number): void;
  firstTouch(page: number): void;
  /** Device register access at physical `address`; the value passes through `mmioValue`. */
  mmioRead(address: number, size: number): number;
  mmioWrite(address: number, size: number): number;
  /** An access to a watched page happened. */
  watch(address: number, size: number, write: boolean): void;
  /** Code that DMA overwrote during the present instruction may go now. */
  dropStaleCode(): void;
  /** `tohost` may have been written. */
  htif(): void;
  /** Whether a breakpoint is at pc that has not been stopped at yet. */
  atBreakpoint(): boolean;
}

/** Functions of the generated module that the host calls. */
interface HartExports {
  run(budget: number): number;
  flush_tlb(): void;
  select_context(): void;
  drop_write_tags(page: number): void;
  drop_all_write_tags(): void;
  drop_fetch_tags(slot: number): void;
  refresh_mode(): void;
  refresh_float(): void;
  rebase_time(): void;
  /** Pending interrupts at a position; when the earliest enabled timer fires. Both signed. */
  pending(position: bigint): bigint;
  wake_time(): bigint;
  walk(address: bigint, access: number): number;
  hash_page(address: number, seed: number): void;
}

/** How code is executed; nothing of it is visible to the guest. */
interface HartTiers {
  readonly policy: JitPolicy;
  readonly dispatch: Dispatch;
}

/** Where the u16 table of first opcodes of fused pairs lies: in the state block's upper half. */
const PAIR_TABLE = 4096 - SINGLE_OPS * 2;

/** A time that does not come. */
export const NEVER = (1n << 64n) - 1n;

/** The hart's memory, registers and execution. */
export class HartCore {
  readonly map: MemoryMap;
  readonly memory: WasmMemory;
  readonly u8: Uint8Array;
  readonly code: CodeCache;
  readonly exports: HartExports;
  readonly #jit: Jit;
  readonly #i32: Int32Array;
  readonly #u64: BigUint64Array;

  constructor(ramBytes: number, host: HartHost, { policy, dispatch }: HartTiers) {
    this.#jit = new Jit(policy);
    this.map = memoryMap(ramBytes);
    const pages = this.map.totalBytes / WASM_PAGE_BYTES;
    this.memory = createMemory(pages);
    const { buffer } = this.memory;
    this.u8 = new Uint8Array(buffer);
    this.#i32 = new Int32Array(buffer);
    this.#u64 = new BigUint64Array(buffer);
    const env = {
      memory: this.memory,
      predecode: (record: number) => this.code.predecode(record),
      allocate_slot: (page: number) => this.code.allocate(page),
      decode_cross: (slot: number, word: number) => this.code.decodeCross(slot, word),
      at_breakpoint: () => (host.atBreakpoint() ? 1 : 0),
      decode_under: (record: number) => (this.code.decodeUnder(record) ? 1 : 0),
      drop_code: (page: number) => {
        this.code.drop(page);
        host.dropStaleCode();
      },
      first_write: (page: number) => host.firstWrite(page),
      first_touch: (page: number) => host.firstTouch(page),
      mmio_read: (address: number, size: number) => host.mmioRead(address >>> 0, size),
      mmio_write: (address: number, size: number) => host.mmioWrite(address >>> 0, size),
      watch: (address: number, size: number, write: number) =>
        host.watch(address >>> 0, size, write !== 0),
      htif: () => host.htif(),
      hot: (record: number) => this.#jit.hot(record >>> 0),
      table: this.#jit.table,
    };
    const exports = instantiate(compiledHart(this.map, dispatch), env);
    this.exports = exports as unknown as HartExports;
    this.code = new CodeCache({
      map: this.map,
      memory: buffer,
      pair: (first, second) => PAIR_OPS.get(first * 65_536 + second),
      dropFetchTags: (slot) => this.exports.drop_fetch_tags(slot),
      flushTlb: () => this.exports.flush_tlb(),
      slotDropped: (slot) => this.#jit.dropSlot(slot),
      allDropped: () => this.#jit.dropAll(),
    });
    this.#jit.attach({
      map: this.map,
      memory: this.memory,
      floatState: FLOAT_STATE,
      exports,
      unfuse: (op) => (op < SINGLE_OPS ? op : opcodeOf(FUSED_PAIRS[op - SINGLE_OPS].first)),
      flush: () => this.exports.flush_tlb(),
      hasBreakpoint: (offset) => this.code.hasBreakpoint(offset),
      lastJump: () => ({ from: this.get32("jumpFrom") >>> 0, to: this.get32("jumpTo") >>> 0 }),
      isSupervisor: () => this.get32("mode") === 1,
      requestPause: () => this.set32("stopRequest", 1),
    });
    this.#reset(policy.heatUnit);
  }

  /** The translated tier. */
  get jit(): Jit {
    return this.#jit;
  }

  /** A 32-bit state field, unsigned. */
  get32(name: FieldName): number {
    return this.#i32[FIELD[name].offset >>> 2] >>> 0;
  }

  set32(name: FieldName, value: number): void {
    this.#i32[FIELD[name].offset >>> 2] = value;
  }

  /** A 64-bit state field, unsigned. */
  get64(name: FieldName): bigint {
    return this.#u64[FIELD[name].offset >>> 3];
  }

  set64(name: FieldName, value: bigint): void {
    this.#u64[FIELD[name].offset >>> 3] = value;
  }

  /** Integer register, unsigned; x0 reads 0. */
  getX(index: number): bigint {
    return this.#u64[(X_BASE >>> 3) + index];
  }

  setX(index: number, value: bigint): void {
    assert(index > 0 && index < 32, `x${index} cannot be written`);
    this.#u64[(X_BASE >>> 3) + index] = value;
  }

  /** Raw bits of a floating-point register. */
  getF(index: number): bigint {
    return this.#u64[(F_BASE >>> 3) + index];
  }

  setF(index: number, value: bigint): void {
    this.#u64[(F_BASE >>> 3) + index] = value;
  }

  /**
   * A 128-bit hash of any bytes, unsigned; of zeros it is their number. `seed` is 32 bits.
   */
  hashBytes(bytes: Uint8Array, seed: number): bigint {
    const { hashScratch } = this.map;
    let sum = BigInt(bytes.length);
    for (let at = 0, block = 0; at < bytes.length; at += PAGE_BYTES, block++) {
      const part = bytes.subarray(at, at + PAGE_BYTES);
      this.u8.set(part, hashScratch);
      this.u8.fill(0, hashScratch + part.length, hashScratch + PAGE_BYTES);
      sum += this.hashPage(hashScratch, (seed + block) | 0);
    }
    return BigInt.asUintN(128, sum);
  }

  /** The 128-bit hash of the 4,096 bytes at a linear address; 0 where they are zero. */
  hashPage(address: number, seed: number): bigint {
    this.exports.hash_page(address, seed);
    return (this.get64("hashHigh") << 64n) | this.get64("hashLow");
  }

  /** After state fields were set from outside: brings everything derived from them up to date. */
  refresh(): void {
    this.exports.flush_tlb();
    this.set32("contextCount", 0);
    this.exports.select_context();
    this.exports.refresh_float();
  }

  #reset(heatUnit: number): void {
    for (const [index, pair] of FUSED_PAIRS.entries()) {
      const at = PAIR_TABLE + (SINGLE_OPS + index) * 2;
      new DataView(this.memory.buffer).setUint16(at, opcodeOf(pair.first), true);
    }
    this.set32("mode", 3);
    this.set32("epoch", 1);
    for (const timer of ["mtimecmp", "stimecmp", "deviceTimer", "idlePosition"] as const) {
      this.set64(timer, NEVER);
    }
    this.set64("menvcfg", ENVCFG.ADUE);
    this.set32("heatUnit", heatUnit);
    this.refresh();
  }
}

/** Opcode of a fused pair by the opcodes of its parts. */
const PAIR_OPS = new Map(
  FUSED_PAIRS.map((pair: FusedPair, index) => [
    opcodeOf(pair.first) * 65_536 + opcodeOf(pair.second),
    SINGLE_OPS + index,
  ]),
);

const FLOAT_STATE = {
  base: 0,
  fflags: FIELD.fflags.offset,
  frm: FIELD.frm.offset,
  mode: FIELD.fpMode.offset,
};

/** Emitting and compiling takes longer than all else that makes a machine. */
const COMPILED = new Map<string, WasmModule>();

function compiledHart(map: MemoryMap, dispatch: Dispatch): WasmModule {
  const key = `${map.ramBytes} ${dispatch}`;
  const known = COMPILED.get(key);
  if (known !== undefined) return known;
  const module = compile(hartModule(map, dispatch));
  COMPILED.set(key, module);
  return module;
}

/** The binary module for one memory map. */
function hartModule(map: MemoryMap, dispatch: Dispatch): Uint8Array<ArrayBuffer> {
  const pages = map.totalBytes / WASM_PAGE_BYTES;
  const m = new ModuleBuilder({ initialPages: pages, maximumPages: pages });
  const host = importHost(m);
  const b: HartBuilder = { m, map, host };
  const mmu = declareMmu(b);
  const trap = declareTrap(b);
  const csr: CsrRef = m.declare("csr", ["i32", "i32", "i64", "i32", "i64"], "i64");
  const floatEnter = m.declare("float_enter", ["i32"]);
  const execute = m.declare("execute", ["i32", "i32", "i64", "i32"], "i32");
  m.importTable(MAX_REGIONS);
  const region = m.type(["i64", "i32", "i32"], "i32");
  const regions = declareRegion(b);
  const run = m.declare("run", ["i32"], "i32");
  const fp = defineFloat(m, FLOAT_STATE);
  const csrFunctions: CsrFunctions = { ...trap, flushTlb: mmu.flushTlb };
  defineMmu(b, mmu);
  defineTrap(b, trap, { fp, flushTlb: mmu.flushTlb });
  defineCsr(b, csrFunctions, csr);
  defineFloatEnter(b, floatEnter, trap.refreshFloat);
  const context = { b, mmu, trap, csr, fp, floatEnter, region };
  defineExecute(execute, context, { pairs: FUSED_PAIRS, dispatch });
  defineRegion(regions, { b, mmu, execute, region });
  defineRun(run, { b, mmu, trap, execute, firstOfPair: PAIR_TABLE });
  m.export(defineDigest(b));
  for (const ref of [
    run,
    mmu.flushTlb,
    mmu.dropWriteTags,
    mmu.dropAllWriteTags,
    mmu.dropFetchTags,
    mmu.walk,
    mmu.loadSlow,
    mmu.storeSlow,
    mmu.loadForUpdateSlow,
    mmu.zeroBlock,
    floatEnter,
    regions.invoke,
    regions.resume,
    regions.chain,
    regions.leave,
    regions.leaveShort,
    regions.miss,
    trap.selectContext,
    trap.refreshFloat,
    trap.rebaseTime,
    trap.pending,
    trap.wakeTime,
  ]) {
    m.export(ref);
  }
  return m.finish();
}

function importHost(m: ModuleBuilder): HostFunctions {
  return {
    predecode: m.import("predecode", ["i32"]),
    allocateSlot: m.import("allocate_slot", ["i32"], "i32"),
    decodeCross: m.import("decode_cross", ["i32", "i32"]),
    atBreakpoint: m.import("at_breakpoint", [], "i32"),
    decodeUnder: m.import("decode_under", ["i32"], "i32"),
    firstWrite: m.import("first_write", ["i32"]),
    firstTouch: m.import("first_touch", ["i32"]),
    dropCode: m.import("drop_code", ["i32"]),
    mmioRead: m.import("mmio_read", ["i32", "i32"], "i32"),
    mmioWrite: m.import("mmio_write", ["i32", "i32"], "i32"),
    watch: m.import("watch", ["i32", "i32", "i32"]),
    htif: m.import("htif", []),
    hot: m.import("hot", ["i32"]),
  };
}

/** Illegal where FS is off, or frm is reserved and used; else FS becomes Dirty. */
function defineFloatEnter(
  b: HartBuilder,
  ref: FuncRef<readonly ["i32"], undefined>,
  refreshFloat: FuncRef,
): void {
  b.m.define(ref, (f, dynamic) => {
    const reserved = and(dynamic, gtU(get32("frm"), i32(4)));
    f.if(either(eqz(get32("fpState")), reserved), () => {
      set32(f, "exit", i32(EXIT.illegal));
      f.return();
    });
    set64(f, "mstatus", or(get64("mstatus"), i64(MSTATUS.FS)));
    f.call(refreshFloat);
  });
}
