/**
 * The outer loop: takes interrupts and traps, waits in WFI, gives `execute` its budget, and runs
 * single instructions alone where an exact stop or an access with consequences asks for it.
 *
 *   run(budget): executes at most `budget` positions; returns EXIT.* when the host is needed.
 *
 * Exact stops: when fewer instructions are wanted than a block has, the record after the last
 * wanted one becomes OP.stop for the time being. The accounting stays as it is: the budget goes
 * below zero by what is not executed.
 */

import { CAUSE } from "../isa/instruction.ts";
import type { I32, I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  divU,
  eq,
  eqz,
  extendS,
  extendU,
  geS,
  geU,
  gtU,
  i32,
  i64,
  load16U,
  load32,
  load64,
  ltS,
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
} from "../wasm/expr.ts";
import { call, type Fn, type FuncRef, type Label, type Local } from "../wasm/module.ts";
import { count, get32, get64, type HartBuilder, ramAddress, set32, set64 } from "./builder.ts";
import type { ExecuteRef } from "./interpreter.ts";
import {
  CROSS_INDEX,
  EXIT,
  RECORD,
  SLOT_BYTES,
  SLOT_CROSS_RECORD,
  SLOT_CROSS_WORD,
  SLOT_PAGE,
  STALE_CODE,
} from "./layout.ts";
import type { MmuFunctions } from "./mmu/functions.ts";
import { MAX_DEPTH, NO_STOP } from "./region.ts";
import type { TrapFunctions } from "./trap.ts";
import { OP, SINGLE_OPS } from "./variants.ts";

const INTERRUPT = 1n << 63n;

/** What the outer loop is made of. */
export interface RunContext {
  readonly b: HartBuilder;
  readonly mmu: MmuFunctions;
  readonly trap: TrapFunctions;
  readonly execute: ExecuteRef;
  /** Linear address of a u16 table: the first variant's opcode of each fused opcode. */
  readonly firstOfPair: number;
}

interface Private {
  /** (record, instructions): makes `execute` stop after that many. */
  readonly patch: FuncRef<readonly ["i32", "i32"], undefined>;
  readonly unpatch: FuncRef<readonly [], undefined>;
  /** (record) -> instruction bits, for mtval of illegal instructions */
  readonly bitsAt: FuncRef<readonly ["i32"], "i64">;
  /** (record) -> 1: the straddling instruction's record is in place; 0: `exit` is set */
  readonly prepareCross: FuncRef<readonly ["i32"], "i32">;
  /** (): what stores of the instruction that ran alone left to do. */
  readonly afterStep: FuncRef<readonly [], undefined>;
}

/** (budget in positions, at least 1) -> EXIT.* */
export type RunRef = FuncRef<readonly ["i32"], "i32">;

/** Defines `run`; see the head of this file. */
export function defineRun(ref: RunRef, c: RunContext): void {
  const { m } = c.b;
  const own: Private = {
    patch: m.declare("patch", ["i32", "i32"]),
    unpatch: m.declare("unpatch", []),
    bitsAt: m.declare("bits_at", ["i32"], "i64"),
    prepareCross: m.declare("prepare_cross", ["i32"], "i32"),
    afterStep: m.declare("after_step", []),
  };
  definePatch(c, own);
  defineBits(c, own);
  defineCross(c, own);
  defineAfterStep(c, own);
  m.define(ref, (f, budget) => {
    f.loop((again) => {
      interruptOrWait(f, c, budget, again);
      f.if(eqz(budget), () => f.return(i32(EXIT.budget)));
      segment(f, c, own, budget, again);
    });
    f.unreachable();
  });
}

// ---- one round ----------

function takeTrap(f: Fn, c: RunContext, budget: Local<"i32">, cause: I64, value: I64): void {
  f.call(c.trap.takeTrap, cause, value);
  set64(f, "position", add(get64("position"), i64(1)));
  f.set(budget, sub(budget, i32(1)));
}

function interruptOrWait(f: Fn, c: RunContext, budget: Local<"i32">, again: Label): void {
  const { trap } = c;
  f.if(nez(get32("stopRequest")), () => f.return(i32(EXIT.stop)), undefined, "unlikely");
  f.if(eqz(budget), () => f.return(i32(EXIT.budget)));
  f.if(geU(call(trap.timeAt, get64("position")), get64("deviceTimer")), () =>
    f.return(i32(EXIT.deviceTimer)),
  );
  const due = f.let(call(trap.dueInterrupt, get64("position")));
  f.if(geS(due, i32(0)), () => {
    takeTrap(f, c, budget, or(extendU(due), i64(INTERRUPT)), i64(0));
    f.br(again);
  });
  f.if(nez(get32("waiting")), () => {
    const awake = and(call(trap.pending, get64("position")), get64("mie"));
    f.if(
      nez(awake),
      () => set32(f, "waiting", i32(0)),
      () => {
        const wake = f.let(call(trap.wakeTime));
        set64(f, "idleDeadline", wake);
        const never = eq(wake, i64(-1));
        f.if(or(never, gtU(wake, get64("skipLimit"))), () => f.return(i32(EXIT.idle)));
        // All that happens until then is that time passes.
        set64(f, "timeTicks", wake);
        set64(f, "timeFraction", i64(0));
        set64(f, "timePosition", get64("position"));
        set64(f, "idlePosition", get64("position"));
        f.br(again);
      },
    );
  });
}

function segment(f: Fn, c: RunContext, own: Private, budget: Local<"i32">, again: Label): void {
  const { mmu, trap, execute } = c;
  const { host } = c.b;
  const size = f.let(budget);
  const timer = f.let(call(trap.timerDistance, get64("position")));
  f.if(ltU(timer, extendS(size)), () => f.set(size, wrap(timer)));
  set32(f, "exit", i32(EXIT.none));
  f.if(get32("breakpoints"), () =>
    f.if(call(host.atBreakpoint), () => f.return(i32(EXIT.breakpoint))),
  );
  const record = f.let(call(mmu.fetch, get64("pc")));
  const ready = f.let(nez(record));
  /** The op that belongs into the record once its instruction is done; 0: what is there. */
  const standIn = f.let(i32(0));
  /** 1: the instruction must be kept from going on in a block that it does not end. */
  const cut = f.let(i32(0));
  const opIs = (op: number): I32 => eq(load16U(record, RECORD.op), i32(op));
  f.if(ready, () => {
    f.if(opIs(OP.undecoded), () => f.call(host.predecode, record));
    f.if(opIs(OP.breakpoint), () => {
      f.set(size, i32(1));
      f.set(standIn, i32(OP.breakpoint));
      f.set(cut, call(host.decodeUnder, record));
    });
    f.if(opIs(OP.cross), () => {
      f.set(size, i32(1));
      f.if(eqz(standIn), () => f.set(standIn, i32(OP.cross)));
      f.set(ready, call(own.prepareCross, record));
    });
  });
  const restore = (): void =>
    f.if(standIn, () => f.store16(record, standIn, RECORD.op), undefined, "unlikely");
  f.if(
    ready,
    () => {
      runSegment(f, own, { record, size, cut, execute });
      account(f, budget, size);
      f.if(
        eq(get32("exit"), i32(EXIT.step)),
        () => stepAlone(f, c, own, { budget, cut, restore }),
        restore,
        "unlikely",
      );
    },
    // Where it is to be prepared again, the record is not this page's any more.
    () => f.if(ne(get32("exit"), i32(EXIT.prepare)), restore),
  );
  handleExit(f, c, own, { budget, again });
}

interface Segment {
  readonly record: I32;
  readonly size: Local<"i32">;
  /** 1: stops after `size` even where the record is said to end a block there. */
  readonly cut: Local<"i32">;
  readonly execute: ExecuteRef;
}

/** Executes `size` positions from `record`, or less if something happens. */
function runSegment(f: Fn, own: Private, { record, size, cut, execute }: Segment): void {
  set64(f, "segmentEnd", add(get64("position"), extendS(size)));
  const length = f.let(load16U(record, RECORD.count));
  const exact = f.let(or(ltS(size, length), cut));
  f.if(exact, () => f.call(own.patch, record, size), undefined, "unlikely");
  set32(f, "deferFetch", get32("breakpoints"));
  f.call(execute, record, sub(size, length), i64(NO_STOP), i32(MAX_DEPTH));
  set32(f, "deferFetch", i32(0));
  f.if(exact, () => f.call(own.unpatch), undefined, "unlikely");
}

/** After `execute` with a budget of `size`: advances the position by what was used. */
function account(f: Fn, budget: Local<"i32">, size: I32): void {
  // After an exact stop budgetLeft is size - block length plus what was not executed: the
  // instructions after the stop still count as paid.
  const used = f.let(sub(size, get32("budgetLeft")));
  f.if(eq(get32("exit"), i32(EXIT.stepped)), () => f.set(used, size));
  set64(f, "position", add(get64("position"), extendS(used)));
  f.set(budget, sub(budget, used));
}

interface StepAlone {
  readonly budget: Local<"i32">;
  readonly cut: Local<"i32">;
  /** Undoes what was arranged for the instruction, before its code may go. */
  readonly restore: () => void;
}

/** Runs the instruction at pc by itself, with device access and writes to code allowed. */
function stepAlone(f: Fn, c: RunContext, own: Private, at: StepAlone): void {
  const { budget, cut, restore } = at;
  count(f, "statSteps");
  set32(f, "exit", i32(EXIT.none));
  set32(f, "stepping", i32(1));
  const record = f.let(call(c.mmu.fetch, get64("pc")));
  const one = f.let(i32(1));
  f.if(nez(record), () => {
    runSegment(f, own, { record, size: one, cut, execute: c.execute });
    account(f, budget, one);
  });
  set32(f, "stepping", i32(0));
  restore();
  f.call(own.afterStep);
}

interface ExitHandling {
  readonly budget: Local<"i32">;
  readonly again: Label;
}

function handleExit(f: Fn, c: RunContext, own: Private, { budget, again }: ExitHandling): void {
  const code = f.let(get32("exit"));
  const is = (value: number): I32 => eq(code, i32(value));
  f.if(is(EXIT.trap), () => {
    takeTrap(f, c, budget, get64("trapCause"), get64("trapValue"));
    f.br(again);
  });
  f.if(is(EXIT.wfi), () => {
    set32(f, "waiting", i32(1));
    f.br(again);
  });
  f.if(is(EXIT.illegal), () => {
    set32(f, "exit", i32(EXIT.none));
    const at = f.let(call(c.mmu.fetch, get64("pc")));
    takeTrap(f, c, budget, i64(CAUSE.illegal), call(own.bitsAt, at));
    f.br(again);
  });
  f.if(
    or(or(is(EXIT.missingPage), is(EXIT.missingDevice)), or(is(EXIT.sbi), is(EXIT.breakpoint))),
    () => f.return(code),
  );
  // short, stepped, recheck, step done, prepare: go round again.
  f.br(again);
}

// ---- exact stops ----------

/** Start of the slot that a record lies in. */
function slotOf(c: RunContext, record: I32): I32 {
  const { slots } = c.b.map;
  const index = divU(sub(record, i32(slots)), i32(SLOT_BYTES));
  return add(mul(index, i32(SLOT_BYTES)), i32(slots));
}

/** Linear address of the guest code that a record stands for. */
function codeAt(c: RunContext, record: I32, slot: I32): I32 {
  return add(ramAddress(c.b.map, load32(slot, SLOT_PAGE)), shrU(sub(record, slot), i32(2)));
}

/** Size of the record of an instruction whose first halfword is given: 8 or 16 bytes. */
const recordSize = (half: I32): I32 => select(eq(and(half, i32(3)), i32(3)), i32(16), i32(8));

function definePatch(c: RunContext, own: Private): void {
  const { m } = c.b;
  m.define(own.patch, (f, record, instructions) => {
    const slot = f.let(slotOf(c, record));
    const at = f.let(record);
    const before = f.let(record);
    const left = f.let(instructions);
    f.while(nez(left), () => {
      f.set(before, at);
      f.set(at, add(at, recordSize(load16U(codeAt(c, at, slot)))));
      f.set(left, sub(left, i32(1)));
    });
    set32(f, "patchBeforeAt", before);
    set32(f, "patchBeforeOp", load16U(before, RECORD.op));
    f.if(geS(get32("patchBeforeOp"), i32(SINGLE_OPS)), () => {
      const first = load16U(shl(get32("patchBeforeOp"), i32(1)), c.firstOfPair);
      f.store16(before, first, RECORD.op);
    });
    set32(f, "patchAt", at);
    set32(f, "patchOp", load16U(at, RECORD.op));
    f.store16(at, i32(OP.stop), RECORD.op);
  });
  m.define(own.unpatch, (f) => {
    f.store16(get32("patchAt"), get32("patchOp"), RECORD.op);
    f.store16(get32("patchBeforeAt"), get32("patchBeforeOp"), RECORD.op);
  });
}

function defineBits(c: RunContext, own: Private): void {
  c.b.m.define(own.bitsAt, (f, record) => {
    const slot = f.let(slotOf(c, record));
    const at = f.let(codeAt(c, record, slot));
    const half = f.let(load16U(at));
    f.if(ne(and(half, i32(3)), i32(3)), () => f.return(extendU(half)));
    f.if(eq(sub(record, slot), i32(CROSS_INDEX * RECORD.bytes)), () =>
      f.return(extendU(load32(slot, SLOT_CROSS_WORD))),
    );
    f.return(extendU(load32(at)));
  });
}

// ---- straddling instructions ----------

/**
 * A four-byte instruction in the last halfword of a page: its second half is wherever the next
 * virtual page lies now, so it is put together each time, decoded only if it changed, and its
 * record stands in for the OP.cross record while it runs alone.
 */
function defineCross(c: RunContext, own: Private): void {
  const { m, host } = c.b;
  m.define(own.prepareCross, (f, record) => {
    const slot = f.let(slotOf(c, record));
    const first = f.let(load16U(codeAt(c, record, slot)));
    const nextRecord = f.let(call(c.mmu.fetch, add(get64("pc"), i64(2))));
    f.if(eqz(nextRecord), () => f.return(i32(0)));
    const nextSlot = f.let(slotOf(c, nextRecord));
    const second = load16U(codeAt(c, nextRecord, nextSlot));
    const word = f.let(or(first, shl(second, i32(16))));
    // Fetching the second half may have emptied the pool of slots: then the first is fetched anew.
    f.if(ne(call(c.mmu.fetch, get64("pc")), record), () => {
      set32(f, "exit", i32(EXIT.prepare));
      f.return(i32(0));
    });
    f.if(ne(load32(slot, SLOT_CROSS_WORD), word), () => f.call(host.decodeCross, slot, word));
    f.store64(record, load64(slot, SLOT_CROSS_RECORD));
    f.return(i32(1));
  });
}

function defineAfterStep(c: RunContext, own: Private): void {
  const { m, host } = c.b;
  m.define(own.afterStep, (f) => {
    for (const name of STALE_CODE) {
      f.if(nez(get32(name)), () => {
        f.call(host.dropCode, sub(get32(name), i32(1)));
        set32(f, name, i32(0));
      });
    }
    f.if(nez(get32("dropTlb")), () => {
      f.call(c.mmu.flushTlb);
      set32(f, "dropTlb", i32(0));
    });
    f.if(get32("htif"), () => f.call(host.htif));
  });
}
