/**
 * What instruction bodies do alike in both tiers: memory accesses through the TLB, reservations,
 * traps, the state of the floating-point unit. A tier adds where operands come from, where
 * results go, and how control leaves an instruction.
 */

import { assert } from "@dejavm/base";
import type {
  CsrAction,
  Instruction,
  MemoryKind,
  RoundingField,
  Sem,
  SystemOp,
} from "../isa/instruction.ts";
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
  gtU,
  i32,
  i64,
  load32,
  load64,
  load64From8S,
  load64From8U,
  load64From16S,
  load64From16U,
  load64From32S,
  load64From32U,
  ne,
  nez,
  or,
  wrap,
} from "../wasm/expr.ts";
import { call, type Fn, type FuncRef, type Local, not } from "../wasm/module.ts";
import { get32, get64, set32, set64, tlbOffset } from "./builder.ts";
import type { FloatOps } from "./float/float.ts";
import { boxF32, unboxF32 } from "./float/format.ts";
import { DTLB_ENTRIES, DTLB_ENTRY, EXIT } from "./layout.ts";
import type { MmuFunctions } from "./mmu/functions.ts";

/** Functions that instruction bodies call in both tiers. */
export interface BodyFunctions {
  readonly mmu: Pick<MmuFunctions, "loadSlow" | "storeSlow" | "loadForUpdateSlow" | "zeroBlock">;
  readonly fp: FloatOps;
  /** (is the rounding mode dynamic): before an instruction that changes floating-point state. */
  readonly floatEnter: FuncRef<readonly ["i32"], undefined>;
}

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

/** See the head of this file. */
export abstract class BodySem implements Sem {
  readonly f: Fn;
  readonly fp: FloatOps;
  readonly rm: RoundingField;
  readonly #functions: BodyFunctions;
  readonly #dataTlb: Local<"i32">;

  constructor(f: Fn, functions: BodyFunctions, at: { rm: RoundingField; dataTlb: Local<"i32"> }) {
    this.f = f;
    this.fp = functions.fp;
    this.rm = at.rm;
    this.#functions = functions;
    this.#dataTlb = at.dataTlb;
  }

  abstract get rs1(): I64;
  abstract get rs2(): I64;
  abstract get imm(): I64;
  abstract get pc(): I64;
  abstract get link(): I64;
  abstract get fs1(): I64;
  abstract get fs2(): I64;
  abstract get fs3(): I64;
  abstract get zimm(): I64;
  abstract rd(value: I64): void;
  abstract fd(value: I64): void;
  abstract branch(condition: I32): void;
  abstract jumpRelative(): void;
  abstract jump(target: I64): void;
  abstract csr(action: CsrAction, operand: I64): void;
  abstract system(op: SystemOp): void;
  /** Leaves, with `exit` set; the instruction has not happened. */
  protected abstract fault(): void;
  /** Whether an access that misses the TLB is left to `missed`. */
  protected get leavesOnMiss(): boolean {
    return false;
  }
  /** Leaves; the instruction, which has not happened, is somebody else's. */
  protected missed(): void {
    assert(false, "this tier calls its slow paths");
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

  let<T extends ValType>(value: Expr<T>): Local<T> {
    return this.f.let(value);
  }

  fds(value: I32): void {
    this.fd(boxF32(value));
  }

  // ---- memory

  #entry(address: I64): Local<"i32"> {
    return this.f.let(add(this.#dataTlb, tlbOffset(wrap(address), DTLB_ENTRIES, DTLB_ENTRY.shift)));
  }

  /** Hit where the last byte lies in the page: misaligned accesses within it do, too. */
  #hits(address: I64, entry: I32, tag: number, log2: number): I32 {
    const last = log2 === 0 ? address : add(address, i64((1 << log2) - 1));
    return eq(load64(entry, tag), and(last, i64(-4096)));
  }

  /** Hit where tag and alignment agree: the low bits that must be 0 stay in the comparison. */
  #hitsAligned(address: I64, entry: I32, tag: number, log2: number): I32 {
    return eq(load64(entry, tag), and(address, i64(-4096 | ((1 << log2) - 1))));
  }

  load(kind: MemoryKind, address: I64): I64 {
    const { log2, load, extend } = MEMORY[kind];
    const { f } = this;
    const at = f.let(address);
    const entry = this.#entry(at);
    const value = f.local("i64");
    this.#access(
      this.#hits(at, entry, DTLB_ENTRY.readTag, log2),
      () => f.set(value, load(add(wrap(at), load32(entry, DTLB_ENTRY.addend)))),
      () => f.set(value, extend(call(this.#functions.mmu.loadSlow, at, i32(log2)))),
    );
    return value;
  }

  store(kind: MemoryKind, address: I64, value: I64): void {
    const { log2 } = MEMORY[kind];
    const { f } = this;
    const at = f.let(address);
    const entry = this.#entry(at);
    this.#access(
      this.#hits(at, entry, DTLB_ENTRY.writeTag, log2),
      () => storeKind(f, kind, add(wrap(at), load32(entry, DTLB_ENTRY.addend)), value),
      () => f.call(this.#functions.mmu.storeSlow, at, value, i32(log2)),
    );
  }

  loadForUpdate(kind: "w" | "d", address: I64): I64 {
    const { log2, load, extend } = MEMORY[kind];
    const { f } = this;
    const at = f.let(address);
    const entry = this.#entry(at);
    const value = f.local("i64");
    this.#access(
      this.#hitsAligned(at, entry, DTLB_ENTRY.writeTag, log2),
      () => f.set(value, load(add(wrap(at), load32(entry, DTLB_ENTRY.addend)))),
      () => f.set(value, extend(call(this.#functions.mmu.loadForUpdateSlow, at, i32(log2)))),
    );
    return value;
  }

  /** One access: `fast` where it `hits`, else `slow`, unless the tier has a way of its own. */
  #access(hits: I32, fast: () => void, slow: () => void): void {
    if (this.leavesOnMiss) {
      this.f.if(not(hits), () => this.missed(), undefined, "unlikely");
      fast();
      return;
    }
    const slowOrFault = (): void => {
      slow();
      this.faultIfExit();
    };
    this.f.if(hits, fast, slowOrFault, "likely");
  }

  loadReserved(kind: "w" | "d", address: I64): I64 {
    const { f } = this;
    const at = f.let(address);
    const { log2 } = MEMORY[kind];
    f.if(
      nez(and(wrap(at), i32((1 << log2) - 1))),
      () => {
        this.trap(CAUSE.loadMisaligned, at);
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
        this.trap(CAUSE.storeMisaligned, at);
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
    this.f.call(this.#functions.mmu.zeroBlock, address);
    this.faultIfExit();
  }

  // ---- traps

  illegal(): void {
    set32(this.f, "exit", i32(EXIT.illegal));
    this.fault();
  }

  protected trap(cause: number, value: I64): void {
    const { f } = this;
    set64(f, "trapCause", i64(cause));
    set64(f, "trapValue", value);
    set32(f, "exit", i32(EXIT.trap));
    this.fault();
  }

  protected faultIfExit(): void {
    this.f.if(nez(get32("exit")), () => this.fault(), undefined, "unlikely");
  }

  /**
   * Emits an instruction; `access` is what it does to floating-point state that has to be checked
   * or marked, "none" where that is known to be done.
   */
  protected perform(instruction: Instruction, access: Instruction["float"]): void {
    const { body, format, rounds } = instruction;
    if (access === "changes" && format === "I") {
      this.#floatLoad(body);
      return;
    }
    if (access !== "none") this.#enterFloat(access, rounds && this.rm === 7);
    body(this);
  }

  /** A load marks the state dirty only once it is sure to happen. */
  #floatLoad(body: (s: Sem) => void): void {
    const { f } = this;
    f.if(
      ne(get32("fpState"), i32(2)),
      () => {
        f.if(eqz(get32("fpState")), () => this.illegal());
        body(this);
        f.call(this.#functions.floatEnter, i32(0));
      },
      () => body(this),
      "unlikely",
    );
  }

  /** Checks that the floating-point unit is on, and marks its state dirty where it may change. */
  #enterFloat(access: "reads" | "changes", dynamicRounding: boolean): void {
    const { f } = this;
    if (access === "reads") {
      f.if(eqz(get32("fpState")), () => this.illegal(), undefined, "unlikely");
      return;
    }
    const clean = ne(get32("fpState"), i32(2));
    const needed = dynamicRounding ? or(clean, gtU(get32("frm"), i32(4))) : clean;
    f.if(
      needed,
      () => {
        f.call(this.#functions.floatEnter, i32(dynamicRounding ? 1 : 0));
        this.faultIfExit();
      },
      undefined,
      "unlikely",
    );
  }
}
