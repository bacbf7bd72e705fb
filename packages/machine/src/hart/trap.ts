/**
 * Traps, returns from traps, interrupts and virtual time (privileged manual, "Machine-Level ISA"
 * and "Supervisor-Level ISA"; Sstc). Position, and with it time, is an argument here: it is known
 * exactly at every instruction.
 */

import type { I32, I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  both,
  ctz,
  divU,
  either,
  eq,
  eqz,
  extendU,
  geU,
  gtU,
  i32,
  i64,
  ifElse,
  ltU,
  mul,
  ne,
  nez,
  or,
  select,
  shl,
  shrU,
  sub,
  wrap,
  xor,
} from "../wasm/expr.ts";
import { call, type FuncRef } from "../wasm/module.ts";
import { get32, get64, type HartBuilder, set32, set64 } from "./builder.ts";
import { ENVCFG, IP, MSTATUS } from "./csr.ts";
import type { FloatOps } from "./float/float.ts";
import { dataPrivilege } from "./guest-access.ts";
import {
  CONTEXT_SATP,
  CONTEXTS,
  DTLB_SET_BYTES,
  EXIT,
  FIELD,
  ITLB_SET_BYTES,
  JUMP_CACHE_BYTES,
  TLB_SET,
  TLB_SETS,
} from "./layout.ts";

const NEVER = (1n << 63n) - 1n;
const ALL_ONES = i64(-1);

/** Functions of this file that others call. */
export interface TrapFunctions {
  /** (position) -> ticks */
  readonly timeAt: FuncRef<readonly ["i64"], "i64">;
  /** (position) -> mip */
  readonly pending: FuncRef<readonly ["i64"], "i64">;
  /** (position) -> cause of the interrupt to take now, -1: none */
  readonly dueInterrupt: FuncRef<readonly ["i64"], "i32">;
  /** (position) -> positions until a timer comes due that is not due yet */
  readonly timerDistance: FuncRef<readonly ["i64"], "i64">;
  /** () -> ticks of the earliest enabled timer or device deadline, unsigned; all ones: never */
  readonly wakeTime: FuncRef<readonly [], "i64">;
  /** (): moves the origin of virtual time to the present position; changes no time. */
  readonly rebaseTime: FuncRef<readonly [], undefined>;
  /** (cause, value): enters the handler; state field pc is that of the trapped instruction. */
  readonly takeTrap: FuncRef<readonly ["i64", "i64"], undefined>;
  readonly mret: FuncRef<readonly [], undefined>;
  readonly sret: FuncRef<readonly [], undefined>;
  readonly refreshMode: FuncRef<readonly [], undefined>;
  /** (): after a change of satp: which context is in use. */
  readonly selectContext: FuncRef<readonly [], undefined>;
  readonly refreshFloat: FuncRef<readonly [], undefined>;
}

/** Declares the functions of this file, so that others can call them. */
export function declareTrap(b: HartBuilder): TrapFunctions {
  const { m } = b;
  return {
    timeAt: m.declare("time_at", ["i64"], "i64"),
    pending: m.declare("pending", ["i64"], "i64"),
    dueInterrupt: m.declare("due_interrupt", ["i64"], "i32"),
    timerDistance: m.declare("timer_distance", ["i64"], "i64"),
    wakeTime: m.declare("wake_time", [], "i64"),
    rebaseTime: m.declare("rebase_time", []),
    takeTrap: m.declare("take_trap", ["i64", "i64"]),
    mret: m.declare("mret", []),
    sret: m.declare("sret", []),
    refreshMode: m.declare("refresh_mode", []),
    selectContext: m.declare("select_context", []),
    refreshFloat: m.declare("refresh_float", []),
  };
}

/** Gives the declared functions their bodies. */
export function defineTrap(
  b: HartBuilder,
  trap: TrapFunctions,
  { fp, flushTlb }: { readonly fp: FloatOps; readonly flushTlb: FuncRef<readonly [], undefined> },
): void {
  defineTime(b, trap);
  defineInterrupts(b, trap);
  defineTakeTrap(b, trap);
  defineReturns(b, trap);
  defineRefresh(b, trap, fp);
  defineContexts(b, trap, flushTlb);
}

// ---- time ----------

/** Ticks and fraction (in 2^-32) since the time origin. */
const elapsed = (position: I64): I64 =>
  add(get64("timeFraction"), mul(sub(position, get64("timePosition")), get64("timeRate")));

const stimecmpActive = nez(and(get64("menvcfg"), i64(ENVCFG.STCE)));

function defineTime(b: HartBuilder, trap: TrapFunctions): void {
  const { m } = b;
  m.define(trap.timeAt, (f, position) => {
    f.return(add(get64("timeTicks"), shrU(elapsed(position), i64(32))));
  });
  m.define(trap.rebaseTime, (f) => {
    const total = f.let(elapsed(get64("position")));
    set64(f, "timeTicks", add(get64("timeTicks"), shrU(total, i64(32))));
    set64(f, "timeFraction", and(total, i64(0xffff_ffff)));
    set64(f, "timePosition", get64("position"));
  });
  m.define(trap.timerDistance, (f, position) => {
    const now = f.let(call(trap.timeAt, position));
    const nearest = f.let(i64(NEVER));
    const consider = (compare: I64): void => {
      f.if(gtU(compare, now), () =>
        f.set(nearest, select(ltU(sub(compare, now), nearest), sub(compare, now), nearest)),
      );
    };
    consider(get64("mtimecmp"));
    consider(get64("deviceTimer"));
    f.if(stimecmpActive, () => consider(get64("stimecmp")));
    // Further away than any slice: do not compute with it.
    f.if(either(geU(nearest, i64(1n << 30n)), eqz(get64("timeRate"))), () => f.return(i64(NEVER)));
    const fraction = f.let(and(elapsed(position), i64(0xffff_ffff)));
    const needed = sub(shl(nearest, i64(32)), fraction);
    const rate = get64("timeRate");
    f.return(divU(add(needed, sub(rate, i64(1))), rate));
  });
  m.define(trap.wakeTime, (f) => {
    const wake = f.let(get64("deviceTimer"));
    const consider = (compare: I64, bit: number): void => {
      f.if(both(nez(and(get64("mie"), i64(bit))), ltU(compare, wake)), () => f.set(wake, compare));
    };
    consider(get64("mtimecmp"), IP.MTIP);
    f.if(stimecmpActive, () => consider(get64("stimecmp"), IP.STIP));
    f.return(wake);
  });
}

// ---- interrupts ----------

function defineInterrupts(b: HartBuilder, trap: TrapFunctions): void {
  const { m } = b;
  m.define(trap.pending, (f, position) => {
    const now = f.let(call(trap.timeAt, position));
    const machineTimer = select(geU(now, get64("mtimecmp")), i64(IP.MTIP), i64(0));
    const supervisorTimer = select(geU(now, get64("stimecmp")), i64(IP.STIP), i64(0));
    const soft = f.let(get64("mipSoft"));
    f.if(stimecmpActive, () => f.set(soft, or(and(soft, i64(~IP.STIP)), supervisorTimer)));
    f.return(or(or(soft, get64("mipLines")), machineTimer));
  });
  m.define(trap.dueInterrupt, (f, position) => {
    const enabled = f.let(and(call(trap.pending, position), get64("mie")));
    f.if(eqz(enabled), () => f.return(i32(-1)));
    const machine = f.let(and(enabled, xor(get64("mideleg"), ALL_ONES)));
    const allowed = (level: number, enable: bigint): I32 =>
      either(
        ltU(get32("mode"), i32(level)),
        both(eq(get32("mode"), i32(level)), nez(and(get64("mstatus"), i64(enable)))),
      );
    f.if(eqz(allowed(3, MSTATUS.MIE)), () => f.set(machine, i64(0)));
    const supervisor = f.let(and(enabled, get64("mideleg")));
    f.if(eqz(allowed(1, MSTATUS.SIE)), () => f.set(supervisor, i64(0)));
    const due = f.let(ifElse(nez(machine), machine, supervisor));
    f.if(eqz(due), () => f.return(i32(-1)));
    // Priority: external, software, timer; machine before supervisor.
    for (const bit of [IP.MEIP, IP.MSIP, IP.MTIP, IP.SEIP, IP.SSIP, IP.STIP]) {
      f.if(nez(and(due, i64(bit))), () => f.return(i32(Math.log2(bit))));
    }
    f.return(wrap(ctz(due)));
  });
}

// ---- trap entry and return ----------

/** mstatus bit at `to` takes the value of the bit at `from`. */
const moveBit = (status: I64, from: bigint, to: bigint): I64 =>
  or(and(status, i64(~to)), ifElse(nez(and(status, i64(from))), i64(to), i64(0)));

function vectored(base: I64, cause: I64): I64 {
  const isVectored = both(nez(and(base, i64(1))), nez(shrU(cause, i64(63))));
  const offset = ifElse(isVectored, shl(cause, i64(2)), i64(0));
  return add(and(base, i64(-4)), offset);
}

function defineTakeTrap(b: HartBuilder, trap: TrapFunctions): void {
  b.m.define(trap.takeTrap, (f, cause, value) => {
    const delegation = ifElse(nez(shrU(cause, i64(63))), get64("mideleg"), get64("medeleg"));
    const delegated = nez(and(shrU(delegation, and(cause, i64(63))), i64(1)));
    const status = f.let(get64("mstatus"));
    f.if(
      both(delegated, ne(get32("mode"), i32(3))),
      () => {
        set64(f, "sepc", get64("pc"));
        set64(f, "scause", cause);
        set64(f, "stval", value);
        f.set(status, moveBit(status, MSTATUS.SIE, MSTATUS.SPIE));
        f.set(status, and(status, i64(~(MSTATUS.SIE | MSTATUS.SPP))));
        f.set(status, or(status, shl(extendU(get32("mode")), i64(8))));
        set64(f, "mstatus", status);
        set32(f, "mode", i32(1));
        set64(f, "pc", vectored(get64("stvec"), cause));
      },
      () => {
        set64(f, "mepc", get64("pc"));
        set64(f, "mcause", cause);
        set64(f, "mtval", value);
        f.set(status, moveBit(status, MSTATUS.MIE, MSTATUS.MPIE));
        f.set(status, and(status, i64(~(MSTATUS.MIE | MSTATUS.MPP))));
        f.set(status, or(status, shl(extendU(get32("mode")), i64(11))));
        set64(f, "mstatus", status);
        set32(f, "mode", i32(3));
        set64(f, "pc", vectored(get64("mtvec"), cause));
      },
    );
    set64(f, "traps", add(get64("traps"), i64(1)));
    set32(f, "waiting", i32(0));
    f.call(trap.refreshMode);
  });
}

/** MRET and SRET: `exit` becomes recheck with pc set, or illegal with pc untouched. */
function defineReturns(b: HartBuilder, trap: TrapFunctions): void {
  const { m } = b;
  m.define(trap.mret, (f) => {
    f.if(ne(get32("mode"), i32(3)), () => {
      set32(f, "exit", i32(EXIT.illegal));
      f.return();
    });
    const status = f.let(get64("mstatus"));
    const mode = f.let(and(wrap(shrU(status, i64(11))), i32(3)));
    f.set(status, moveBit(status, MSTATUS.MPIE, MSTATUS.MIE));
    f.set(status, and(or(status, i64(MSTATUS.MPIE)), i64(~MSTATUS.MPP)));
    f.if(ne(mode, i32(3)), () => f.set(status, and(status, i64(~MSTATUS.MPRV))));
    set64(f, "mstatus", status);
    set32(f, "mode", mode);
    set64(f, "pc", get64("mepc"));
    set32(f, "exit", i32(EXIT.recheck));
    f.call(trap.refreshMode);
  });
  m.define(trap.sret, (f) => {
    const trapped = both(eq(get32("mode"), i32(1)), nez(and(get64("mstatus"), i64(MSTATUS.TSR))));
    f.if(either(eqz(get32("mode")), trapped), () => {
      set32(f, "exit", i32(EXIT.illegal));
      f.return();
    });
    const status = f.let(get64("mstatus"));
    set32(f, "mode", and(wrap(shrU(status, i64(8))), i32(1)));
    f.set(status, moveBit(status, MSTATUS.SPIE, MSTATUS.SIE));
    f.set(status, and(or(status, i64(MSTATUS.SPIE)), i64(~(MSTATUS.SPP | MSTATUS.MPRV))));
    set64(f, "mstatus", status);
    set64(f, "pc", get64("sepc"));
    set32(f, "exit", i32(EXIT.recheck));
    f.call(trap.refreshMode);
  });
}

// ---- derived fields ----------

function defineRefresh(b: HartBuilder, trap: TrapFunctions, fp: FloatOps): void {
  const { m, map } = b;
  m.define(trap.refreshMode, (f) => {
    const supervisorSet = ifElse(
      nez(and(get64("mstatus"), i64(MSTATUS.SUM))),
      i32(TLB_SET.supervisorSum),
      i32(TLB_SET.supervisor),
    );
    const setOf = (privilege: I32): I32 => ifElse(eq(privilege, i32(1)), supervisorSet, privilege);
    const first = f.let(mul(get32("context"), i32(TLB_SETS)));
    const data = add(first, setOf(dataPrivilege));
    set32(f, "dataTlb", add(mul(data, i32(DTLB_SET_BYTES)), i32(map.dtlb)));
    const fetch = f.let(add(first, get32("mode")));
    set32(f, "jumpCache", add(mul(fetch, i32(JUMP_CACHE_BYTES)), i32(map.jumpCache)));
    set32(f, "fetchTlb", add(mul(fetch, i32(ITLB_SET_BYTES)), i32(map.itlb)));
  });
  m.define(trap.refreshFloat, (f) => {
    const fs = f.let(and(wrap(shrU(get64("mstatus"), i64(13))), i32(3)));
    const dirty = f.let(eq(fs, i32(3)));
    set32(f, "fpState", ifElse(eqz(fs), i32(0), ifElse(dirty, i32(2), i32(1))));
    fp.recomputeMode(f, dirty);
  });
}

/**
 * Cached translations are true of the address space that they were made in, whichever is in use:
 * each of the last few has TLBs of its own. When there is room for no more, all are emptied.
 */
function defineContexts(
  { m, map }: HartBuilder,
  trap: TrapFunctions,
  flushTlb: FuncRef<readonly [], undefined>,
): void {
  /** Tables of each context: where the first one's begins, and its size. */
  const tables = [
    [map.dtlb, TLB_SETS * DTLB_SET_BYTES],
    [map.itlb, TLB_SETS * ITLB_SET_BYTES],
    [map.jumpCache, TLB_SETS * JUMP_CACHE_BYTES],
  ] as const;
  m.define(trap.selectContext, (f) => {
    const select = (index: I32): void => {
      set32(f, "context", index);
      f.call(trap.refreshMode);
      f.return();
    };
    for (const [index, name] of CONTEXT_SATP.entries()) {
      f.if(both(gtU(get32("contextCount"), i32(index)), eq(get64(name), get64("satp"))), () =>
        select(i32(index)),
      );
    }
    f.if(eq(get32("contextCount"), i32(CONTEXTS)), () => {
      f.call(flushTlb);
      set32(f, "contextCount", i32(0));
    });
    const index = f.let(get32("contextCount"));
    f.if(eq(index, get32("contextsReady")), () => {
      for (const [base, bytes] of tables) {
        f.memoryFill(add(i32(base), mul(index, i32(bytes))), i32(0xff), i32(bytes));
      }
      set32(f, "contextsReady", add(index, i32(1)));
    });
    f.store64(shl(index, i32(3)), get64("satp"), FIELD[CONTEXT_SATP[0]].offset);
    set32(f, "contextCount", add(index, i32(1)));
    select(index);
  });
}
