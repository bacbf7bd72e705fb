/**
 * The interpreter: one Wasm function, generated from the instruction table. It walks predecoded
 * records (layout.ts, RECORD), whose opcodes lead to handlers (dispatch.ts). Each record knows how
 * many instructions are left to the end of its block, so budget is taken off once a block and the
 * exact position is known at every instruction: segmentEnd - (budget left + count of the record).
 *
 *   execute(record, budget, stopPc, depth): runs from `record`, whose block is already paid for,
 *   until the budget does not cover the next block, a jump goes to `stopPc`, or something needs
 *   attention; returns EXIT.* (none for `stopPc`), with pc and budgetLeft in the state block.
 *   `depth` is how many calls of translated code may still nest.
 */

import {
  add,
  and,
  eq,
  eqz,
  extendS,
  extendU,
  gtS,
  i32,
  i64,
  leS,
  load8U,
  load16U,
  load32,
  load64,
  ltS,
  or,
  shl,
  shrU,
  sub,
  wrap,
  xor,
} from "../wasm/expr.ts";
import {
  call,
  callIndirect,
  type Fn,
  type FuncRef,
  type Label,
  type Local,
} from "../wasm/module.ts";
import { get32, get64, set32, set64, tlbOffset } from "./builder.ts";
import { type Dispatch, emitDispatch } from "./dispatch.ts";
import { AUX, EXIT, HEAT_SHIFT, ITLB_ENTRIES, ITLB_ENTRY, RECORD } from "./layout.ts";
import { type ExecuteContext, type Loop, RecordSem, recordPc, StraightSem } from "./record-sem.ts";
import { OP, VARIANTS, type Variant } from "./variants.ts";

/** (record address, budget, stop address, depth) -> EXIT.* */
export type ExecuteRef = FuncRef<readonly ["i32", "i32", "i64", "i32"], "i32">;

/** A pair of variants executed by one handler: the second directly follows the first. */
export interface FusedPair {
  readonly first: Variant;
  readonly second: Variant;
}

/** (record) -> 1: the instruction has not happened, and `exit` is set. */
type OutlinedRef = FuncRef<readonly ["i32"], "i32">;

/**
 * Whether an instruction's handler is a function of its own. Most of the code of all handlers is
 * that of arithmetic with rounding and of atomics, which few programs execute much before it is
 * translated; without it the host compiles `execute` in a third of the time.
 */
function isOutlined({ instruction: { spec, float, format } }: Variant): boolean {
  return spec === "A" || (float !== "none" && (format === "R" || format === "R4"));
}

function defineOutlined(context: ExecuteContext): ReadonlyMap<Variant, OutlinedRef> {
  const { m } = context.b;
  const refs = new Map<Variant, OutlinedRef>();
  for (const variant of VARIANTS) {
    if (!isOutlined(variant)) continue;
    const ref = m.declare(`handler_${refs.size}`, ["i32"], "i32");
    refs.set(variant, ref);
    m.define(ref, (f, d) => {
      const dataTlb = f.let(get32("dataTlb"));
      f.block((fault) => {
        new StraightSem({ f, d, dataTlb, fault }, context, variant, 0).emitStraight();
        f.return(i32(0));
      });
      f.return(i32(1));
    });
  }
  return refs;
}

/** Defines `execute`; fused pairs get the opcodes after the single ones, in order. */
export function defineExecute(
  ref: ExecuteRef,
  context: ExecuteContext,
  { pairs, dispatch: how }: { readonly pairs: readonly FusedPair[]; readonly dispatch: Dispatch },
): void {
  const { m } = context.b;
  const handlers = handlersOf(context, pairs);
  m.define(ref, (f, d, budget, stopPc, depth) => {
    const bias = f.let(sub(get64("pc"), extendU(shrU(d, i32(2)))));
    const target = f.local("i64");
    const dataTlb = f.let(get32("dataTlb"));
    const op = f.local("i32");
    f.block((out) => {
      f.block((leave) => {
        f.block((fault) => {
          f.loop((again) => {
            f.block((enter) => {
              f.block((jump) => {
                f.loop((next) => {
                  f.set(op, load16U(d, RECORD.op));
                  f.loop((redispatch) => {
                    dispatch(
                      {
                        f,
                        d,
                        budget,
                        bias,
                        target,
                        dataTlb,
                        depth,
                        op,
                        redispatch,
                        next,
                        enter,
                        jump,
                        fault,
                        leave,
                        out,
                      },
                      handlers,
                      how,
                    );
                  });
                });
              });
              emitJump(f, context, { d, budget, bias, target, stopPc, out });
            });
            const count = f.let(load16U(d, RECORD.count));
            f.if(
              ltS(budget, count),
              () => {
                set32(f, "exit", i32(EXIT.short));
                f.br(leave);
              },
              undefined,
              "unlikely",
            );
            f.set(budget, sub(budget, count));
            countHeat(f, context, d);
            f.br(again);
          });
        });
        // The instruction at d has not happened: its block is paid for up to its predecessor.
        f.set(budget, add(budget, load16U(d, RECORD.count)));
      });
      set64(f, "pc", add(bias, extendU(shrU(d, i32(2)))));
    });
    set32(f, "budgetLeft", budget);
    f.return(get32("exit"));
  });
}

/** One more entry of the block at `d`; tells the host each time the count is full. */
function countHeat(f: Fn, { b: { host, map } }: ExecuteContext, d: Local<"i32">): void {
  const at = f.let(shrU(d, i32(HEAT_SHIFT)));
  const heat = f.let(add(load8U(at, map.heat), i32(1)));
  f.store8(at, heat, map.heat);
  f.if(
    eq(heat, get32("heatUnit")),
    () => {
      f.store8(at, i32(0), map.heat);
      f.call(host.hot, d);
    },
    undefined,
    "unlikely",
  );
}

interface JumpContext {
  readonly stopPc: Local<"i64">;
  readonly d: Local<"i32">;
  readonly budget: Local<"i32">;
  readonly bias: Local<"i64">;
  readonly target: Local<"i64">;
  readonly out: Label;
}

/** To `target`: within the page by arithmetic, else through the fetch TLB. */
function emitJump(f: Fn, context: ExecuteContext, at: JumpContext): void {
  const { d, budget, bias, target, stopPc, out } = at;
  f.if(
    eq(target, stopPc),
    () => {
      set64(f, "pc", target);
      f.br(out);
    },
    undefined,
    "unlikely",
  );
  const pc = f.let(add(bias, extendU(shrU(d, i32(2)))));
  f.if(
    eqz(shrU(xor(pc, target), i64(12))),
    () => f.set(d, add(d, shl(wrap(sub(target, pc)), i32(2)))),
    () => {
      const entry = f.let(
        add(get32("fetchTlb"), tlbOffset(wrap(target), ITLB_ENTRIES, ITLB_ENTRY.shift)),
      );
      f.if(
        eq(load64(entry, ITLB_ENTRY.tag), and(target, i64(-4096))),
        () =>
          f.set(d, add(load32(entry, ITLB_ENTRY.slot), shl(and(wrap(target), i32(0xffe)), i32(2)))),
        () => {
          // What a fetch changes (an A bit, a trap) belongs to the next instruction: it is left
          // to the outer loop unless there is budget for that instruction and it succeeds.
          f.set(d, i32(0));
          f.if(gtS(budget, i32(0)), () => f.set(d, call(context.mmu.fetch, target)));
          f.if(eqz(d), () => {
            set64(f, "pc", target);
            set32(f, "exit", i32(EXIT.recheck));
            f.br(out);
          });
        },
        "likely",
      );
      f.set(bias, sub(target, extendU(shrU(d, i32(2)))));
    },
  );
}

/**
 * Runs the translated region that begins at d. An exact stop (its budget is below zero) and a
 * call chain that is deep enough already go on with the instruction that was here before.
 */
function enterRegion(loop: Loop, context: ExecuteContext): void {
  const { f, d, budget, depth, op, redispatch, target, jump, out } = loop;
  // The region pays for its blocks itself.
  const allowance = f.let(add(budget, load16U(d, RECORD.count)));
  const declines = or(ltS(budget, i32(0)), ltS(allowance, load16U(d, AUX.need)));
  f.if(or(declines, leS(depth, i32(0))), () => {
    f.set(op, load16U(d, AUX.op));
    f.br(redispatch);
  });
  const left = callIndirect(
    context.region,
    load16U(d, AUX.region),
    recordPc(loop, 0),
    allowance,
    sub(depth, i32(1)),
  );
  f.set(budget, left);
  const unwinds = f.let(ltS(budget, i32(0)));
  f.if(unwinds, () => f.set(budget, get32("budgetLeft")));
  const used = extendS(sub(allowance, budget));
  set64(f, "statTranslated", add(get64("statTranslated"), used));
  f.brIf(out, unwinds);
  f.set(target, get64("pc"));
  f.br(jump);
}

/** Where handlers go when they are done. */
const WAYS_ON = ["next", "enter", "jump", "fault", "leave"] as const;

/**
 * Handlers that meet in places of their own before they meet all others. V8's first pass over a
 * function keeps, at each place where ways meet, the values of each way for all the others: with
 * one place for all handlers it took half of the time that `execute` is compiled in.
 */
const HANDLERS_PER_GROUP = 32;

type EmitHandler = (loop: Loop) => void;

/** The way from an opcode to its handler, and the handlers behind it. */
function dispatch(loop: Loop, handlers: readonly EmitHandler[], how: Dispatch): void {
  const { f } = loop;
  const labels: Label[] = [];
  const open = (at: number, within: Loop): void => {
    f.block((label) => {
      labels[at] = label;
      if (at === 0) {
        f.block((none) => emitDispatch(f, how, { op: loop.op, labels, none }));
        f.unreachable();
      } else if (at % HANDLERS_PER_GROUP === 0) group(loop, (own) => open(at - 1, own));
      else open(at - 1, within);
    });
    f.scope(() => handlers[at]?.(within));
  };
  group(loop, (own) => open(handlers.length - 1, own));
}

/** Emits `body` with labels of its own for the ways on, all of which lead to the loop's. */
function group(loop: Loop, body: (own: Loop) => void): void {
  const { f } = loop;
  const within = (at: number, own: Loop): void => {
    const way = WAYS_ON[at];
    if (way === undefined) return body(own);
    f.block((label) => within(at + 1, { ...own, [way]: label }));
    f.br(loop[way]);
  };
  within(0, loop);
}

/** The handler of each opcode; fused pairs come after the single ones. */
function handlersOf(context: ExecuteContext, pairs: readonly FusedPair[]): readonly EmitHandler[] {
  const handlers: EmitHandler[] = [];
  handlers[OP.undecoded] = ({ f, d, enter }) => {
    f.call(context.b.host.predecode, d);
    f.br(enter);
  };
  handlers[OP.pageEnd] = ({ f, d, bias, target, jump }) => {
    f.set(target, add(bias, extendU(shrU(d, i32(2)))));
    // d must lie in the page that is left, so that the jump sees a page change.
    f.set(d, sub(d, i32(4 * RECORD.bytes)));
    f.br(jump);
  };
  handlers[OP.stop] = (loop) => exitWith(loop, EXIT.stepped, loop.leave);
  handlers[OP.cross] = (loop) => exitWith(loop, EXIT.prepare, loop.fault);
  handlers[OP.illegal] = (loop) => exitWith(loop, EXIT.illegal, loop.fault);
  handlers[OP.nop4] = (loop) => skip(loop, 2);
  handlers[OP.nop2] = (loop) => skip(loop, 1);
  handlers[OP.region] = (loop) => enterRegion(loop, context);
  handlers[OP.breakpoint] = (loop) => exitWith(loop, EXIT.prepare, loop.fault);
  const outlined = defineOutlined(context);
  for (const variant of VARIANTS) {
    const own = outlined.get(variant);
    handlers.push((loop) => {
      if (own === undefined) {
        new RecordSem(loop, context, variant, { offset: 0, last: true }).emit();
        return;
      }
      const { f, d, fault } = loop;
      f.if(call(own, d), () => f.br(fault), undefined, "unlikely");
      skip(loop, variant.length / 2);
    });
  }
  for (const { first, second } of pairs) {
    handlers.push((loop) => {
      new RecordSem(loop, context, first, { offset: 0, last: false }).emit();
      const offset = first.length * (RECORD.bytes / 2);
      new RecordSem(loop, context, second, { offset, last: true }).emit();
    });
  }
  return handlers;
}

function exitWith({ f }: Loop, code: number, to: Label): void {
  set32(f, "exit", i32(code));
  f.br(to);
}

/** On to the record so many records behind. */
function skip({ f, d, next }: Loop, records: number): void {
  f.set(d, add(d, i32(records * RECORD.bytes)));
  f.br(next);
}
