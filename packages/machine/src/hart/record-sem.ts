/**
 * Instruction semantics over predecoded records, for the interpreter's handlers: operands come
 * from the register files, which a record names by byte offsets, and results go there.
 */
import { AssertionError } from "@dejavm/base";
import type { CsrAction, SystemOp } from "../isa/instruction.ts";
import { CAUSE } from "../isa/instruction.ts";
import type { I32, I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  eq,
  extendS,
  extendU,
  i32,
  i64,
  load8U,
  load16S,
  load16U,
  load32,
  load64,
  load64From16S,
  ltS,
  ne,
  nez,
  shl,
  shrS,
  shrU,
  sub,
  wrap,
} from "../wasm/expr.ts";
import { call, type Fn, type Label, type Local } from "../wasm/module.ts";
import { type BodyFunctions, BodySem } from "./body-sem.ts";
import { get32, get64, type HartBuilder, set32, set64 } from "./builder.ts";
import { type CsrRef, MSTATUS } from "./csr.ts";
import { EXIT, F_BASE, RECORD, X_BASE } from "./layout.ts";
import type { MmuFunctions } from "./mmu/functions.ts";
import type { RegionType } from "./region.ts";
import type { TrapFunctions } from "./trap.ts";
import type { Variant } from "./variants.ts";

/** What handlers call. */
export interface ExecuteContext extends BodyFunctions {
  readonly b: HartBuilder;
  readonly mmu: MmuFunctions;
  readonly trap: TrapFunctions;
  readonly csr: CsrRef;
  readonly region: RegionType;
}

/** What a handler needs that goes nowhere but to the next instruction. */
export interface Handler {
  readonly f: Fn;
  /** Linear address of the present record. */
  readonly d: Local<"i32">;
  readonly dataTlb: Local<"i32">;
  /** Out, with `exit` set: the instruction at d has not happened. */
  readonly fault: Label;
}

/** Variables and branch targets of the interpreter loop. */
export interface Loop extends Handler {
  readonly budget: Local<"i32">;
  /** pc = bias + d / 4. */
  readonly bias: Local<"i64">;
  readonly target: Local<"i64">;
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
  /** Out, with `exit` set: execution goes on at d. */
  readonly leave: Label;
  /** Out, with `exit` and pc set. */
  readonly out: Label;
}

/** The address of the instruction whose record lies `offset` bytes behind d. */
export const recordPc = (loop: Loop, offset: number): I64 =>
  add(loop.bias, extendU(shrU(add(loop.d, i32(offset)), i32(2))));

/** What only the interpreter's own handlers may do. */
function notStraight(): never {
  throw new AssertionError("a handler outside the interpreter goes nowhere");
}

/** Instructions that touch registers and memory only, over predecoded records. */
export class StraightSem extends BodySem {
  readonly variant: Variant;
  /** Of the record, from d. */
  readonly offset: number;
  readonly #handler: Handler;

  constructor(handler: Handler, functions: BodyFunctions, variant: Variant, offset: number) {
    super(handler.f, functions, { rm: variant.rm, dataTlb: handler.dataTlb });
    this.#handler = handler;
    this.variant = variant;
    this.offset = offset;
  }

  /** One byte of the record, which names a register by its offset in the register file. */
  protected byte(field: number): I32 {
    return load8U(this.#handler.d, field + this.offset);
  }

  // ---- operands

  override get rs1(): I64 {
    return load64(this.byte(RECORD.rs1), X_BASE);
  }
  override get rs2(): I64 {
    return load64(this.byte(this.#rs2Field), X_BASE);
  }
  override get fs1(): I64 {
    return load64(this.byte(RECORD.rs1), F_BASE);
  }
  override get fs2(): I64 {
    return load64(this.byte(this.#rs2Field), F_BASE);
  }
  override get fs3(): I64 {
    return load64(this.byte(RECORD.rs3), F_BASE);
  }
  get #rs2Field(): number {
    const { format } = this.variant.instruction;
    return format === "S" || format === "B" ? RECORD.rd : RECORD.rs2;
  }
  override get imm(): I64 {
    const { format } = this.variant.instruction;
    const { d } = this.#handler;
    if (format === "U")
      return extendS(shl(shrS(load32(d, RECORD.rd + this.offset), i32(8)), i32(12)));
    if (format === "J") return extendS(shrS(load32(d, RECORD.rd + this.offset), i32(8)));
    return load64From16S(d, RECORD.imm + this.offset);
  }
  override get zimm(): I64 {
    return extendU(this.byte(RECORD.rs1));
  }
  override get pc(): I64 {
    return notStraight();
  }
  override get link(): I64 {
    return notStraight();
  }

  // ---- results

  override rd(value: I64): void {
    if (this.variant.discard) {
      this.f.scope(() => void this.f.let(value));
      return;
    }
    this.f.store64(this.byte(RECORD.rd), value, X_BASE);
  }
  override fd(value: I64): void {
    this.f.store64(this.byte(RECORD.rd), value, F_BASE);
  }

  /** Leaves with d at this instruction's own record, also from the second of a fused pair. */
  protected override fault(): void {
    const { f, d, fault } = this.#handler;
    if (this.offset > 0) f.set(d, add(d, i32(this.offset)));
    f.br(fault);
  }

  /** Emits the instruction and nothing behind it. */
  emitStraight(): void {
    const { instruction } = this.variant;
    this.perform(instruction, instruction.float);
  }

  // ---- what straight code does not have

  override branch(_condition: I32): void {
    notStraight();
  }
  override jumpRelative(): void {
    notStraight();
  }
  override jump(_target: I64): void {
    notStraight();
  }
  override csr(_action: CsrAction, _operand: I64): void {
    notStraight();
  }
  override system(_op: SystemOp): void {
    notStraight();
  }
}

/** The other instructions: they know where they are and where to go. */
export class RecordSem extends StraightSem {
  readonly #loop: Loop;
  readonly #context: ExecuteContext;
  readonly #last: boolean;

  constructor(
    loop: Loop,
    context: ExecuteContext,
    variant: Variant,
    at: { offset: number; last: boolean },
  ) {
    super(loop, context, variant, at.offset);
    this.#loop = loop;
    this.#context = context;
    this.#last = at.last;
  }

  get #size(): number {
    return this.variant.length * (RECORD.bytes / 2);
  }
  override get pc(): I64 {
    return recordPc(this.#loop, this.offset);
  }
  override get link(): I64 {
    return recordPc(this.#loop, this.offset + this.#size);
  }
  get #position(): I64 {
    const count = load16U(this.#loop.d, RECORD.count + this.offset);
    return sub(get64("segmentEnd"), extendS(add(this.#loop.budget, count)));
  }

  // ---- control

  override branch(condition: I32): void {
    const { f } = this;
    const { d, target, jump, enter } = this.#loop;
    const fallThrough = (): void => f.set(d, add(d, i32(this.offset + this.#size)));
    if (this.variant.near) {
      const taken = load16S(d, RECORD.imm + this.offset);
      f.if(condition, () => f.set(d, add(add(d, taken), i32(this.offset))), fallThrough);
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
    if (this.variant.near) {
      f.set(d, add(add(d, load16S(d, RECORD.imm + this.offset)), i32(this.offset)));
      f.br(enter);
      return;
    }
    f.set(target, add(this.pc, this.imm));
    f.br(jump);
  }

  override jump(target: I64): void {
    const { f } = this;
    if (this.variant.discard) {
      set32(f, "jumpFrom", add(this.#loop.d, i32(this.offset)));
      set32(f, "jumpTo", wrap(target));
    }
    f.set(this.#loop.target, target);
    f.br(this.#loop.jump);
  }

  // ---- system

  override csr(action: CsrAction, operand: I64): void {
    const { f } = this;
    const index = load16U(this.#loop.d, RECORD.imm + this.offset);
    const writes = action === "write" ? i32(1) : nez(this.byte(RECORD.rs1));
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

  #advance(): void {
    const { d } = this.#loop;
    this.f.set(d, add(d, i32(this.offset + this.#size)));
  }

  /** Emits the instruction, and the way to the next one unless another follows in a fused pair. */
  emit(): void {
    this.emitStraight();
    if (this.variant.instruction.ends || !this.#last) return;
    this.#advance();
    this.f.br(this.#loop.next);
  }
}
