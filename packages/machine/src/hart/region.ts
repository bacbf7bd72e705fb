/**
 * How translated regions are called, from the interpreter and from each other.
 *
 * A region is a Wasm function (pc, budget, depth) -> budget left. `pc` is the virtual address of
 * its entry. A result of 0 or more means that the guest goes on at state field pc; a negative one
 * that everything unwinds: `exit`, pc and budgetLeft are set, and callers just return it.
 *
 * A guest call is a Wasm call. Its caller goes on in place when the guest comes back to the return
 * address; whatever else happens until then is left to `resume`. So frames survive code that is
 * not translated, and dropping them is always legal, because all state is in memory.
 */
import {
  add,
  and,
  eq,
  eqz,
  extendS,
  extendU,
  type I32,
  type I64,
  i32,
  i64,
  leS,
  load16U,
  load32,
  load64,
  ltS,
  ne,
  nez,
  or,
  shl,
  shrU,
  sub,
  wrap,
} from "../wasm/expr.ts";
import { call, callIndirect, type Fn, type FuncRef, type TypeRef } from "../wasm/module.ts";
import { get32, get64, type HartBuilder, set32, set64 } from "./builder.ts";
import type { ExecuteRef } from "./interpreter.ts";
import { AUX, EXIT, JUMP_CACHE_ENTRIES, JUMP_CACHE_ENTRY, RECORD } from "./layout.ts";
import type { MmuFunctions } from "./mmu/functions.ts";

/** The type of a region: (pc, budget, depth) -> budget left, or negative to unwind. */
export type RegionType = TypeRef<readonly ["i64", "i32", "i32"], "i32">;

/** Calls of translated code that may nest; bounded by the host's stack. */
export const MAX_DEPTH = 200;

/** An odd address: no jump goes there. */
export const NO_STOP = -1;

/** Functions of this file that regions and the outer loop call. */
export interface RegionFunctions {
  /**
   * (pc, budget, depth, return address) -> budget left: a guest call. Comes back with state pc
   * equal to the return address, or negative.
   */
  readonly invoke: FuncRef<readonly ["i64", "i32", "i32", "i64"], "i32">;
  /** (budget, depth, return address) -> budget left: runs on from state pc, likewise. */
  readonly resume: FuncRef<readonly ["i32", "i32", "i64"], "i32">;
  /** (pc, budget, depth) -> budget left: jumps out of a region to another, or just returns. */
  readonly chain: FuncRef<readonly ["i64", "i32", "i32"], "i32">;
  /**
   * (virtual address of the page, LEAVE_AT, budget) -> negative: unwinds with `exit` set. A call
   * rather than a common place in the region: where many branches meet, V8 merges all variables.
   */
  readonly leave: FuncRef<readonly ["i64", "i32", "i32"], "i32">;
  /**
   * (virtual address of the page, LEAVE_AT, budget, depth) -> budget left: the interpreter runs the
   * rest of the block, whose present instruction has not happened; another region may follow.
   */
  readonly miss: FuncRef<readonly ["i64", "i32", "i32", "i32"], "i32">;
  /** The same with `exit` set to EXIT.short. */
  readonly leaveShort: FuncRef<readonly ["i64", "i32", "i32"], "i32">;
}

/** LEAVE_AT: offset within the page; from bit 16, instructions paid for but not executed. */
export const LEAVE_AT = { unpaidShift: 16, offsetMask: 0xffff } as const;

/** Declares the functions of this file, so that others can call them. */
export function declareRegion(b: HartBuilder): RegionFunctions {
  const { m } = b;
  return {
    invoke: m.declare("invoke", ["i64", "i32", "i32", "i64"], "i32"),
    resume: m.declare("resume", ["i32", "i32", "i64"], "i32"),
    chain: m.declare("chain", ["i64", "i32", "i32"], "i32"),
    leave: m.declare("leave", ["i64", "i32", "i32"], "i32"),
    miss: m.declare("miss", ["i64", "i32", "i32", "i32"], "i32"),
    leaveShort: m.declare("leave_short", ["i64", "i32", "i32"], "i32"),
  };
}

/** Address of the jump cache entry for a virtual address; `base` is that of the cache in use. */
export function jumpCacheEntry(base: I32, pc: I64): I32 {
  const offset = and(
    shl(wrap(pc), i32(JUMP_CACHE_ENTRY.shift - 1)),
    i32((JUMP_CACHE_ENTRIES - 1) << JUMP_CACHE_ENTRY.shift),
  );
  return add(base, offset);
}

interface RegionContext {
  readonly b: HartBuilder;
  readonly mmu: MmuFunctions;
  readonly execute: ExecuteRef;
  readonly region: RegionType;
}

/** Gives the declared functions their bodies. */
export function defineRegion(functions: RegionFunctions, c: RegionContext): void {
  const { m, host } = c.b;
  const lookUp = m.declare("look_up_region", ["i64", "i32"], "i32");

  // (pc, budget) -> table index of the region at pc; 0: none, or not to be known without a fetch
  // that the budget does not cover.
  m.define(lookUp, (f, pc, budget) => {
    const entry = f.let(jumpCacheEntry(get32("jumpCache"), pc));
    f.if(
      eq(load64(entry, JUMP_CACHE_ENTRY.tag), pc),
      () => f.return(load32(entry, JUMP_CACHE_ENTRY.region)),
      undefined,
      "likely",
    );
    f.if(leS(budget, i32(0)), () => f.return(i32(0)));
    const record = f.let(call(c.mmu.fetch, pc));
    f.if(eqz(record), () => {
      set32(f, "exit", i32(EXIT.none));
      f.return(i32(0));
    });
    const region = f.let(load16U(record, AUX.region));
    f.if(nez(region), () => {
      f.if(eq(load64(entry, JUMP_CACHE_ENTRY.tag), i64(-1)), () => f.call(c.mmu.pushFill, entry));
      f.store64(entry, pc, JUMP_CACHE_ENTRY.tag);
      f.store32(entry, region, JUMP_CACHE_ENTRY.region);
    });
    f.return(region);
  });

  const unwind = (f: Fn, budget: I32, exit: number): void => {
    set32(f, "exit", i32(exit));
    set32(f, "budgetLeft", budget);
    f.return(i32(-1));
  };

  m.define(functions.invoke, (f, pc, budget, depth, returnPc) => {
    const region = f.let(call(lookUp, pc, budget));
    f.if(
      or(eqz(region), leS(depth, i32(0))),
      () => {
        set64(f, "pc", pc);
        f.return(call(functions.resume, budget, depth, returnPc));
      },
      undefined,
      "unlikely",
    );
    const left = f.let(callIndirect(c.region, region, pc, budget, sub(depth, i32(1))));
    f.if(ltS(left, i32(0)), () => f.return(left));
    f.if(eq(get64("pc"), returnPc), () => f.return(left), undefined, "likely");
    f.return(call(functions.resume, left, depth, returnPc));
  });

  m.define(functions.resume, (f, budget, depth, returnPc) => {
    f.if(or(leS(depth, i32(0)), leS(budget, i32(0))), () => unwind(f, budget, EXIT.recheck));
    const record = f.let(call(c.mmu.fetch, get64("pc")));
    f.if(eqz(record), () => unwind(f, budget, EXIT.recheck));
    f.if(eqz(load16U(record, RECORD.op)), () => f.call(host.predecode, record));
    const count = f.let(load16U(record, RECORD.count));
    f.if(ltS(budget, count), () => unwind(f, budget, EXIT.short));
    const exit = call(c.execute, record, sub(budget, count), returnPc, sub(depth, i32(1)));
    const reason = f.let(exit);
    // What the interpreter ran here, the region that called will count as its own.
    const used = extendS(sub(budget, get32("budgetLeft")));
    set64(f, "statTranslated", sub(get64("statTranslated"), used));
    f.if(eqz(reason), () => f.return(get32("budgetLeft")));
    f.return(i32(-1));
  });

  m.define(functions.chain, (f, pc, budget, depth) => {
    const region = f.let(call(lookUp, pc, budget));
    f.if(nez(region), () => f.returnCallIndirect(c.region, region, pc, budget, depth));
    set64(f, "pc", pc);
    f.return(budget);
  });

  m.define(functions.leave, (f, base, at, budget) => {
    set64(f, "pc", add(base, extendU(and(at, i32(LEAVE_AT.offsetMask)))));
    set32(f, "budgetLeft", add(budget, shrU(at, i32(LEAVE_AT.unpaidShift))));
    f.return(i32(-1));
  });
  m.define(functions.leaveShort, (f, base, at, budget) => {
    set32(f, "exit", i32(EXIT.short));
    f.returnCall(functions.leave, base, at, budget);
  });

  m.define(functions.miss, (f, base, at, budget, depth) => {
    set64(f, "pc", add(base, extendU(and(at, i32(LEAVE_AT.offsetMask)))));
    f.set(budget, add(budget, shrU(at, i32(LEAVE_AT.unpaidShift))));
    const record = f.let(call(c.mmu.fetch, get64("pc")));
    f.if(eqz(record), () => unwind(f, budget, EXIT.recheck));
    f.if(eqz(load16U(record, RECORD.op)), () => f.call(host.predecode, record));
    const count = f.let(load16U(record, RECORD.count));
    f.if(ltS(budget, count), () => unwind(f, budget, EXIT.short));
    // With no budget beyond the block it stops at the block's end. Positions count from the end
    // of the budget that it knows.
    const rest = f.let(sub(budget, count));
    set64(f, "segmentEnd", sub(get64("segmentEnd"), extendS(rest)));
    const reason = f.let(call(c.execute, record, i32(0), i64(NO_STOP), i32(0)));
    set64(f, "segmentEnd", add(get64("segmentEnd"), extendS(rest)));
    const left = f.let(add(rest, get32("budgetLeft")));
    // What the interpreter ran here, the region that called will count as its own.
    set64(f, "statTranslated", sub(get64("statTranslated"), extendS(sub(budget, left))));
    f.if(
      ne(reason, i32(EXIT.short)),
      () => {
        set32(f, "budgetLeft", left);
        f.return(i32(-1));
      },
      undefined,
      "unlikely",
    );
    set32(f, "exit", i32(EXIT.none));
    f.returnCall(functions.chain, get64("pc"), left, depth);
  });
}
