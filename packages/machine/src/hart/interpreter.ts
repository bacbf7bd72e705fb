/**
 * The interpreter: one Wasm function, generated from the instruction table. It walks predecoded
 * records (layout.ts, RECORD) with one `br_table`. Each record knows how many instructions are
 * left to the end of its block, so budget is taken off once a block and the exact position is
 * known at every instruction: segmentEnd - (budget left + count of the record).
 *
 *   execute(record, budget): runs from `record`, whose block is already paid for, until the
 *   budget does not cover the next block or something needs attention; returns EXIT.*, with pc
 *   and budgetLeft in the state block.
 */

import type { CsrAction, MemoryKind, RoundingField, Sem, SystemOp } from "../isa/instruction.ts";
import { CAUSE } from "../isa/instruction.ts";
import type { Expr, I32, I64, ValType } from "../wasm/expr.ts";
import {
  add,
  and,
  eq,
  eqz,
  extend8S,
  extend16S,
  extend32S,
  extendS,
  extendU,
  gtS,
  gtU,
  i32,
  i64,
  load8U,
  load16S,
  load16U,
  load32,
  load64,
  load64From8S,
  load64From8U,
  load64From16S,
  load64From16U,
  load64From32S,
  load64From32U,
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
import { call, type Fn, type FuncRef, type Label, type Local } from "../wasm/module.ts";
import { get32, get64, type HartBuilder, set32, set64, tlbOffset } from "./builder.ts";
import type { CsrRef } from "./csr.ts";
import { MSTATUS } from "./csr.ts";
import type { FloatOps } from "./float/float.ts";
import { boxF32, unboxF32 } from "./float/format.ts";
import {
  DTLB_ENTRIES,
  DTLB_ENTRY,
  EXIT,
  F_BASE,
  ITLB_ENTRIES,
  ITLB_ENTRY,
  RECORD,
  X_BASE,
} from "./layout.ts";
import type { MmuFunctions } from "./mmu.ts";
import type { TrapFunctions } from "./trap.ts";
import { OP, VARIANTS, type Variant } from "./variants.ts";

/** What handlers call. */
export interface ExecuteContext {
  readonly b: HartBuilder;
  readonly mmu: MmuFunctions;
  readonly trap: TrapFunctions;
  readonly csr: CsrRef;
  readonly fp: FloatOps;
  /** (is the rounding mode dynamic): before an instruction that changes floating-point state. */
  readonly floatEnter: FuncRef<readonly ["i32"], undefined>;
}

/** (record address, budget) -> EXIT.* */
export type ExecuteRef = FuncRef<readonly ["i32", "i32"], "i32">;

/** Size and extension of each kind of memory access. */
const MEMORY: Readonly<
  Record<
    MemoryKind,
    {
      readonly log2: number;
      readonly load: (address: I32, offset?: number) => I64;
      /** Extends what the slow path gives, which is zero-extended. */
      readonly extend: (value: I64) => I64;
    }
  >
> = {
  b: { log2: 0, load: load64From8S, extend: extend8S },
  bu: { log2: 0, load: load64From8U, extend: (x) => x },
  h: { log2: 1, load: load64From16S, extend: extend16S },
  hu: { log2: 1, load: load64From16U, extend: (x) => x },
  w: { log2: 2, load: load64From32S, extend: extend32S },
  wu: { log2: 2, load: load64From32U, extend: (x) => x },
  d: { log2: 3, load: load64, extend: (x) => x },
};

/** Stores the low 8, 16, 32 or 64 bits of `value` at a linear address. */
function storeKind(f: Fn, kind: MemoryKind, address: I32, value: I64): void {
  switch (MEMORY[kind].log2) {
    case 0:
      return f.store8(address, value);
    case 1:
      return f.store16(address, value);
    case 2:
      return f.store32(address, value);
    default:
      return f.store64(address, value);
  }
}

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
class RecordSem implements Sem {
  readonly f: Fn;
  readonly fp: FloatOps;
  readonly rm: RoundingField;
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
    this.f = loop.f;
    this.fp = context.fp;
    this.rm = variant.rm;
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

  get rs1(): I64 {
    return load64(this.#byte(RECORD.rs1), X_BASE);
  }
  get rs2(): I64 {
    return load64(this.#byte(this.#rs2Field), X_BASE);
  }
  get fs1(): I64 {
    return load64(this.#byte(RECORD.rs1), F_BASE);
  }
  get fs2(): I64 {
    return load64(this.#byte(this.#rs2Field), F_BASE);
  }
  get fs3(): I64 {
    return load64(this.#byte(RECORD.rs3), F_BASE);
  }
  get fs1s(): I32 {
    return unboxF32(this.f.let(this.fs1));
  }
  get fs2s(): I32 {
    return unboxF32(this.f.let(this.fs2));
  }
  get fs3s(): I32 {
    return unboxF32(this.f.let(this.fs3));
  }
  get #rs2Field(): number {
    const { format } = this.#variant.instruction;
    return format === "S" || format === "B" ? RECORD.rd : RECORD.rs2;
  }
  get imm(): I64 {
    const { format } = this.#variant.instruction;
    if (format === "U")
      return extendS(shl(shrS(load32(this.#loop.d, RECORD.rd + this.#offset), i32(8)), i32(12)));
    if (format === "J")
      return extendS(shrS(load32(this.#loop.d, RECORD.rd + this.#offset), i32(8)));
    return load64From16S(this.#loop.d, RECORD.imm + this.#offset);
  }
  get zimm(): I64 {
    return extendU(this.#byte(RECORD.rs1));
  }
  get pc(): I64 {
    return recordPc(this.#loop, this.#offset);
  }
  get link(): I64 {
    return recordPc(this.#loop, this.#offset + this.#size);
  }
  get #position(): I64 {
    const count = load16U(this.#loop.d, RECORD.count + this.#offset);
    return sub(get64("segmentEnd"), extendS(add(this.#loop.budget, count)));
  }

  let<T extends ValType>(value: Expr<T>): Local<T> {
    return this.f.let(value);
  }

  // ---- results

  rd(value: I64): void {
    if (this.#variant.discard) {
      this.f.scope(() => void this.f.let(value));
      return;
    }
    this.f.store64(this.#byte(RECORD.rd), value, X_BASE);
  }
  fd(value: I64): void {
    this.f.store64(this.#byte(RECORD.rd), value, F_BASE);
  }
  fds(value: I32): void {
    this.fd(boxF32(value));
  }

  // ---- memory

  #entry(address: I64): Local<"i32"> {
    return this.f.let(
      add(this.#loop.dataTlb, tlbOffset(wrap(address), DTLB_ENTRIES, DTLB_ENTRY.shift)),
    );
  }

  /** Hit where tag and alignment agree: the low bits that must be 0 stay in the comparison. */
  #hits(address: I64, entry: I32, tag: number, log2: number): I32 {
    return eq(load64(entry, tag), and(address, i64(-4096 | ((1 << log2) - 1))));
  }

  load(kind: MemoryKind, address: I64): I64 {
    const { log2, load, extend } = MEMORY[kind];
    const { f } = this;
    const at = f.let(address);
    const entry = this.#entry(at);
    const value = f.local("i64");
    f.if(
      this.#hits(at, entry, DTLB_ENTRY.readTag, log2),
      () => f.set(value, load(add(wrap(at), load32(entry, DTLB_ENTRY.addend)))),
      () => {
        f.set(value, extend(call(this.#context.mmu.loadSlow, at, i32(log2))));
        this.#faultIfExit();
      },
      "likely",
    );
    return value;
  }

  store(kind: MemoryKind, address: I64, value: I64): void {
    const { log2 } = MEMORY[kind];
    const { f } = this;
    const at = f.let(address);
    const entry = this.#entry(at);
    f.if(
      this.#hits(at, entry, DTLB_ENTRY.writeTag, log2),
      () => storeKind(f, kind, add(wrap(at), load32(entry, DTLB_ENTRY.addend)), value),
      () => {
        f.call(this.#context.mmu.storeSlow, at, value, i32(log2));
        this.#faultIfExit();
      },
      "likely",
    );
  }

  loadForUpdate(kind: "w" | "d", address: I64): I64 {
    const { log2, load, extend } = MEMORY[kind];
    const { f } = this;
    const at = f.let(address);
    const entry = this.#entry(at);
    const value = f.local("i64");
    f.if(
      this.#hits(at, entry, DTLB_ENTRY.writeTag, log2),
      () => f.set(value, load(add(wrap(at), load32(entry, DTLB_ENTRY.addend)))),
      () => {
        f.set(value, extend(call(this.#context.mmu.loadForUpdateSlow, at, i32(log2))));
        this.#faultIfExit();
      },
      "likely",
    );
    return value;
  }

  loadReserved(kind: "w" | "d", address: I64): I64 {
    const { f } = this;
    const at = f.let(address);
    const { log2 } = MEMORY[kind];
    f.if(
      nez(and(wrap(at), i32((1 << log2) - 1))),
      () => {
        this.#trap(CAUSE.loadMisaligned, at);
      },
      undefined,
      "unlikely",
    );
    const value = this.load(kind, at);
    set32(f, "reserved", i32(1));
    set64(f, "reservation", at);
    return value;
  }

  storeConditional(kind: "w" | "d", address: I64, value: I64): I64 {
    const { f } = this;
    const at = f.let(address);
    const failed = f.let(i64(1));
    const { log2 } = MEMORY[kind];
    f.if(
      nez(and(wrap(at), i32((1 << log2) - 1))),
      () => {
        this.#trap(CAUSE.storeMisaligned, at);
      },
      undefined,
      "unlikely",
    );
    const holds = and(get32("reserved"), eq(get64("reservation"), at));
    f.if(holds, () => {
      this.store(kind, at, value);
      f.set(failed, i64(0));
    });
    set32(f, "reserved", i32(0));
    return failed;
  }

  zeroBlock(address: I64): void {
    this.f.call(this.#context.mmu.zeroBlock, address);
    this.#faultIfExit();
  }

  // ---- control

  branch(condition: I32): void {
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

  jumpRelative(): void {
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

  jump(target: I64): void {
    this.f.set(this.#loop.target, target);
    this.f.br(this.#loop.jump);
  }

  // ---- system

  csr(action: CsrAction, operand: I64): void {
    const { f } = this;
    const index = load16U(this.#loop.d, RECORD.imm + this.#offset);
    const writes = action === "write" ? i32(1) : nez(this.#byte(RECORD.rs1));
    const code = { write: 0, set: 1, clear: 2 }[action];
    const old = f.let(call(this.#context.csr, index, i32(code), operand, writes, this.#position));
    f.if(
      nez(get32("exit")),
      () => {
        f.if(ne(get32("exit"), i32(EXIT.recheck)), () => this.#fault());
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

  system(op: SystemOp): void {
    const { f } = this;
    const { trap } = this.#context;
    switch (op) {
      case "ecall":
        return this.#ecall();
      case "ebreak":
        return this.#trap(CAUSE.breakpoint, this.pc);
      case "mret":
      case "sret":
        f.call(op === "mret" ? trap.mret : trap.sret);
        f.if(eq(get32("exit"), i32(EXIT.illegal)), () => this.#fault());
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

  illegal(): void {
    set32(this.f, "exit", i32(EXIT.illegal));
    this.#fault();
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
      this.#fault();
    });
    set64(f, "trapCause", extendU(add(get32("mode"), i32(CAUSE.ecallU))));
    set64(f, "trapValue", i64(0));
    set32(f, "exit", i32(EXIT.trap));
    this.#fault();
  }

  #trap(cause: number, value: I64): void {
    const { f } = this;
    set64(f, "trapCause", i64(cause));
    set64(f, "trapValue", value);
    set32(f, "exit", i32(EXIT.trap));
    this.#fault();
  }

  #faultIfExit(): void {
    this.f.if(nez(get32("exit")), () => this.#fault(), undefined, "unlikely");
  }

  /** Leaves with d at this instruction's own record, also from the second of a fused pair. */
  #fault(): void {
    const { f } = this;
    const { d, fault } = this.#loop;
    if (this.#offset > 0) f.set(d, add(d, i32(this.#offset)));
    f.br(fault);
  }

  #advance(): void {
    const { d } = this.#loop;
    this.f.set(d, add(d, i32(this.#offset + this.#size)));
  }

  /** Checks that the floating-point unit is on, and marks its state dirty. */
  #enterFloat(): void {
    const { f } = this;
    const { float, rounds } = this.#variant.instruction;
    if (float === "none") return;
    if (float === "reads") {
      f.if(eqz(get32("fpState")), () => this.illegal(), undefined, "unlikely");
      return;
    }
    const dynamic = rounds && this.rm === 7;
    const clean = ne(get32("fpState"), i32(2));
    const needed = dynamic ? or(clean, gtU(get32("frm"), i32(4))) : clean;
    f.if(
      needed,
      () => {
        f.call(this.#context.floatEnter, i32(dynamic ? 1 : 0));
        this.#faultIfExit();
      },
      undefined,
      "unlikely",
    );
  }

  /** A load marks the state dirty only once it is sure to happen. */
  #floatLoad(): void {
    const { f } = this;
    const { body } = this.#variant.instruction;
    f.if(
      ne(get32("fpState"), i32(2)),
      () => {
        f.if(eqz(get32("fpState")), () => this.illegal());
        body(this);
        f.call(this.#context.floatEnter, i32(0));
      },
      () => body(this),
      "unlikely",
    );
  }

  /** Emits the instruction, and the way to the next one unless another follows in a fused pair. */
  emit(): void {
    const { instruction } = this.#variant;
    if (instruction.float === "changes" && instruction.format === "I") this.#floatLoad();
    else {
      this.#enterFloat();
      instruction.body(this);
    }
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
  m.define(ref, (f, d, budget) => {
    const bias = f.let(sub(get64("pc"), extendU(shrU(d, i32(2)))));
    const target = f.local("i64");
    const dataTlb = f.let(get32("dataTlb"));
    f.block((out) => {
      f.block((leave) => {
        f.block((fault) => {
          f.loop((again) => {
            f.block((enter) => {
              f.block((jump) => {
                f.loop((next) => {
                  const loop = {
                    f,
                    d,
                    budget,
                    bias,
                    target,
                    dataTlb,
                    next,
                    enter,
                    jump,
                    fault,
                    leave,
                    out,
                  };
                  dispatch(loop, context, pairs);
                });
              });
              emitJump(f, context, { d, budget, bias, target, out });
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

interface JumpContext {
  readonly d: Local<"i32">;
  readonly budget: Local<"i32">;
  readonly bias: Local<"i64">;
  readonly target: Local<"i64">;
  readonly out: Label;
}

/** To `target`: within the page by arithmetic, else through the fetch TLB. */
function emitJump(f: Fn, context: ExecuteContext, at: JumpContext): void {
  const { d, budget, bias, target, out } = at;
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
  handlers[OP.cross] = () => exitWith(EXIT.cross, fault);
  handlers[OP.illegal] = () => exitWith(EXIT.illegal, fault);
  handlers[OP.nop4] = () => skip(2);
  handlers[OP.nop2] = () => skip(1);
  handlers[OP.breakpoint] = () => exitWith(EXIT.breakpoint, fault);
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
      else f.block((none) => f.brTable(load16U(d, RECORD.op), labels, none));
      if (at === 0) f.unreachable();
    });
    const handler = handlers[at];
    f.scope(() => handler?.());
  };
  open(handlers.length - 1);
}
