/**
 * The interpreter: one Wasm function, generated from the instruction table. It walks predecoded
 * records (layout.ts, RECORD) with one `br_table`. Each record knows how many instructions are
 * left to the end of its block, so budget is taken off once a block and the exact position is
 * known at every instruction: segmentEnd - (budget left + count of the record).
 *
 *   execute(record, budget, stopPc, depth): runs from `record`, whose block is already paid for,
 *   until the budget does not cover the next block, a jump goes to `stopPc`, or something needs
 *   attention; returns EXIT.* (none for `stopPc`), with pc and budgetLeft in the state block.
 *   `depth` is how many calls of translated code may still nest.
 */

import type { CsrAction, SystemOp } from "../isa/instruction.ts";
import { CAUSE } from "../isa/instruction.ts";
import type { I32, I64 } from "../wasm/expr.ts";
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
  load16S,
  load16U,
  load32,
  load64,
  load64From16S,
  ltS,
  ne,
  nez,
  or,
  shl,
  shrS,
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
import { type BodyFunctions, BodySem } from "./body-sem.ts";
import { get32, get64, type HartBuilder, set32, set64, tlbOffset } from "./builder.ts";
import type { CsrRef } from "./csr.ts";
import { MSTATUS } from "./csr.ts";
import { AUX, EXIT, F_BASE, ITLB_ENTRIES, ITLB_ENTRY, RECORD, X_BASE } from "./layout.ts";
import type { MmuFunctions } from "./mmu/functions.ts";
import type { RegionType } from "./region.ts";
import type { TrapFunctions } from "./trap.ts";
import { OP, VARIANTS, type Variant } from "./variants.ts";

/** What handlers call. */
export interface ExecuteContext extends BodyFunctions {
  readonly b: HartBuilder;
  readonly mmu: MmuFunctions;
  readonly trap: TrapFunctions;
  readonly csr: CsrRef;
  readonly region: RegionType;
}

/** (record address, budget, stop address, depth) -> EXIT.* */
export type ExecuteRef = FuncRef<readonly ["i32", "i32", "i64", "i32"], "i32">;

/** Variables and branch targets of the interpreter loop. */
interface Loop {
  readonly f: Fn;
  /** Linear address of the present record. */
  readonly d: Local<"i32">;
  readonly budget: Local<"i32">;
  /** pc = bias + d / 4. */
  readonly bias: Local<"i64">;
  readonly target: Local<"i64">;
  readonly dataTlb: Local<"i32">;
  readonly depth: Local<"i32">;
  /** The opcode that `redispatch` goes by. */
  readonly op: Local<"i32">;
  /** To the handler of `op`, which stands for the record at d. */
  readonly redispatch: Label;
  /** To the handler of the record at d. */
  readonly next: Label;
  /** To the block that begins at d: pays for it first. */
  readonly enter: Label;
  /** To the address in `target`. */
  readonly jump: Label;
  /** Out, with `exit` set: the instruction at d has not happened. */
  readonly fault: Label;
  /** Out, with `exit` set: execution goes on at d. */
  readonly leave: Label;
  /** Out, with `exit` and pc set. */
  readonly out: Label;
}

const recordPc = (loop: Loop, offset: number): I64 =>
  add(loop.bias, extendU(shrU(add(loop.d, i32(offset)), i32(2))));

/** Instruction semantics over predecoded records; `offset` is that of the record from d. */
class RecordSem extends BodySem {
  readonly #loop: Loop;
  readonly #context: ExecuteContext;
  readonly #variant: Variant;
  readonly #offset: number;
  readonly #last: boolean;

  constructor(
    loop: Loop,
    context: ExecuteContext,
    variant: Variant,
    at: { offset: number; last: boolean },
  ) {
    super(loop.f, context, { rm: variant.rm, dataTlb: loop.dataTlb });
    this.#loop = loop;
    this.#context = context;
    this.#variant = variant;
    this.#offset = at.offset;
    this.#last = at.last;
  }

  get #size(): number {
    return this.#variant.length * (RECORD.bytes / 2);
  }

  #byte(field: number): I32 {
    return load8U(this.#loop.d, field + this.#offset);
  }

  // ---- operands

  override get rs1(): I64 {
    return load64(this.#byte(RECORD.rs1), X_BASE);
  }
  override get rs2(): I64 {
    return load64(this.#byte(this.#rs2Field), X_BASE);
  }
  override get fs1(): I64 {
    return load64(this.#byte(RECORD.rs1), F_BASE);
  }
  override get fs2(): I64 {
    return load64(this.#byte(this.#rs2Field), F_BASE);
  }
  override get fs3(): I64 {
    return load64(this.#byte(RECORD.rs3), F_BASE);
  }
  get #rs2Field(): number {
    const { format } = this.#variant.instruction;
    return format === "S" || format === "B" ? RECORD.rd : RECORD.rs2;
  }
  override get imm(): I64 {
    const { format } = this.#variant.instruction;
    if (format === "U")
      return extendS(shl(shrS(load32(this.#loop.d, RECORD.rd + this.#offset), i32(8)), i32(12)));
    if (format === "J")
      return extendS(shrS(load32(this.#loop.d, RECORD.rd + this.#offset), i32(8)));
    return load64From16S(this.#loop.d, RECORD.imm + this.#offset);
  }
  override get zimm(): I64 {
    return extendU(this.#byte(RECORD.rs1));
  }
  override get pc(): I64 {
    return recordPc(this.#loop, this.#offset);
  }
  override get link(): I64 {
    return recordPc(this.#loop, this.#offset + this.#size);
  }
  get #position(): I64 {
    const count = load16U(this.#loop.d, RECORD.count + this.#offset);
    return sub(get64("segmentEnd"), extendS(add(this.#loop.budget, count)));
  }

  // ---- results

  override rd(value: I64): void {
    if (this.#variant.discard) {
      this.f.scope(() => void this.f.let(value));
      return;
    }
    this.f.store64(this.#byte(RECORD.rd), value, X_BASE);
  }
  override fd(value: I64): void {
    this.f.store64(this.#byte(RECORD.rd), value, F_BASE);
  }

  // ---- control

  override branch(condition: I32): void {
    const { f } = this;
    const { d, target, jump, enter } = this.#loop;
    const fallThrough = (): void => f.set(d, add(d, i32(this.#offset + this.#size)));
    if (this.#variant.near) {
      const taken = load16S(d, RECORD.imm + this.#offset);
      f.if(condition, () => f.set(d, add(add(d, taken), i32(this.#offset))), fallThrough);
      f.br(enter);
      return;
    }
    f.if(condition, () => {
      f.set(target, add(this.pc, this.imm));
      f.br(jump);
    });
    fallThrough();
    f.br(enter);
  }

  override jumpRelative(): void {
    const { f } = this;
    const { d, target, jump, enter } = this.#loop;
    if (this.#variant.near) {
      f.set(d, add(add(d, load16S(d, RECORD.imm + this.#offset)), i32(this.#offset)));
      f.br(enter);
      return;
    }
    f.set(target, add(this.pc, this.imm));
    f.br(jump);
  }

  override jump(target: I64): void {
    this.f.set(this.#loop.target, target);
    this.f.br(this.#loop.jump);
  }

  // ---- system

  override csr(action: CsrAction, operand: I64): void {
    const { f } = this;
    const index = load16U(this.#loop.d, RECORD.imm + this.#offset);
    const writes = action === "write" ? i32(1) : nez(this.#byte(RECORD.rs1));
    const code = { write: 0, set: 1, clear: 2 }[action];
    const old = f.let(call(this.#context.csr, index, i32(code), operand, writes, this.#position));
    f.if(
      nez(get32("exit")),
      () => {
        f.if(ne(get32("exit"), i32(EXIT.recheck)), () => this.fault());
        this.rd(old);
        this.#advance();
        f.br(this.#loop.leave);
      },
      undefined,
      "unlikely",
    );
    this.rd(old);
    this.#advance();
    f.br(this.#loop.enter);
  }

  override system(op: SystemOp): void {
    const { f } = this;
    const { trap } = this.#context;
    switch (op) {
      case "ecall":
        return this.#ecall();
      case "ebreak":
        return this.trap(CAUSE.breakpoint, this.pc);
      case "mret":
      case "sret":
        f.call(op === "mret" ? trap.mret : trap.sret);
        f.if(eq(get32("exit"), i32(EXIT.illegal)), () => this.fault());
        f.br(this.#loop.out);
        return;
      case "wfi":
        f.if(this.#supervisorMayNot(MSTATUS.TW), () => this.illegal());
        set32(f, "exit", i32(EXIT.wfi));
        this.#advance();
        f.br(this.#loop.leave);
        return;
      case "sfence.vma":
        // Translations are always coherent: there is nothing to do but check the privilege.
        f.if(this.#supervisorMayNot(MSTATUS.TVM), () => this.illegal());
        this.#advance();
        f.br(this.#loop.enter);
        return;
      case "fence.i":
        // So is fetched code.
        this.#advance();
        f.br(this.#loop.enter);
        return;
    }
  }

  /** True in U-mode, and in S-mode where the mstatus bit forbids it. */
  #supervisorMayNot(bit: bigint): I32 {
    const forbidden = nez(and(get64("mstatus"), i64(bit)));
    return ltS(get32("mode"), add(i32(1), forbidden));
  }

  #ecall(): void {
    const { f } = this;
    f.if(and(get32("builtinSbi"), eq(get32("mode"), i32(1))), () => {
      set32(f, "exit", i32(EXIT.sbi));
      this.fault();
    });
    set64(f, "trapCause", extendU(add(get32("mode"), i32(CAUSE.ecallU))));
    set64(f, "trapValue", i64(0));
    set32(f, "exit", i32(EXIT.trap));
    this.fault();
  }

  /** Leaves with d at this instruction's own record, also from the second of a fused pair. */
  protected override fault(): void {
    const { f } = this;
    const { d, fault } = this.#loop;
    if (this.#offset > 0) f.set(d, add(d, i32(this.#offset)));
    f.br(fault);
  }

  #advance(): void {
    const { d } = this.#loop;
    this.f.set(d, add(d, i32(this.#offset + this.#size)));
  }

  /** Emits the instruction, and the way to the next one unless another follows in a fused pair. */
  emit(): void {
    const { instruction } = this.#variant;
    this.perform(instruction, instruction.float);
    if (instruction.ends) return;
    if (!this.#last) return;
    this.#advance();
    this.f.br(this.#loop.next);
  }
}

/** A pair of variants executed by one handler: the second directly follows the first. */
export interface FusedPair {
  readonly first: Variant;
  readonly second: Variant;
}

/** Defines `execute`; fused pairs get the opcodes after the single ones, in order. */
export function defineExecute(
  ref: ExecuteRef,
  context: ExecuteContext,
  pairs: readonly FusedPair[],
): void {
  const { m } = context.b;
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
                      context,
                      pairs,
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
function countHeat(f: Fn, context: ExecuteContext, d: Local<"i32">): void {
  const heat = f.let(add(load16U(d, AUX.heat), i32(1)));
  f.store16(d, heat, AUX.heat);
  f.if(
    eq(heat, get32("heatUnit")),
    () => {
      f.store16(d, i32(0), AUX.heat);
      f.call(context.b.host.hot, d);
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

/** The `br_table` over all opcodes and the handlers behind it. */
function dispatch(loop: Loop, context: ExecuteContext, pairs: readonly FusedPair[]): void {
  const { f, d, fault, leave, jump, next, enter, bias, target } = loop;
  const exitWith = (code: number, to: Label): void => {
    set32(f, "exit", i32(code));
    f.br(to);
  };
  const skip = (records: number): void => {
    f.set(d, add(d, i32(records * RECORD.bytes)));
    f.br(next);
  };
  const handlers: (() => void)[] = [];
  handlers[OP.undecoded] = () => {
    f.call(context.b.host.predecode, d);
    f.br(enter);
  };
  handlers[OP.pageEnd] = () => {
    f.set(target, add(bias, extendU(shrU(d, i32(2)))));
    // d must lie in the page that is left, so that the jump sees a page change.
    f.set(d, sub(d, i32(4 * RECORD.bytes)));
    f.br(jump);
  };
  handlers[OP.stop] = () => exitWith(EXIT.stepped, leave);
  handlers[OP.cross] = () => exitWith(EXIT.prepare, fault);
  handlers[OP.illegal] = () => exitWith(EXIT.illegal, fault);
  handlers[OP.nop4] = () => skip(2);
  handlers[OP.nop2] = () => skip(1);
  handlers[OP.region] = () => enterRegion(loop, context);
  handlers[OP.breakpoint] = () => exitWith(EXIT.prepare, fault);
  for (const variant of VARIANTS) {
    handlers.push(() => new RecordSem(loop, context, variant, { offset: 0, last: true }).emit());
  }
  for (const { first, second } of pairs) {
    handlers.push(() => {
      new RecordSem(loop, context, first, { offset: 0, last: false }).emit();
      const offset = first.length * (RECORD.bytes / 2);
      new RecordSem(loop, context, second, { offset, last: true }).emit();
    });
  }
  const labels: Label[] = [];
  const open = (at: number): void => {
    f.block((label) => {
      labels[at] = label;
      if (at > 0) open(at - 1);
      else f.block((none) => f.brTable(loop.op, labels, none));
      if (at === 0) f.unreachable();
    });
    const handler = handlers[at];
    f.scope(() => handler?.());
  };
  open(handlers.length - 1);
}
