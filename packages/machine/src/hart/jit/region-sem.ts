/**
 * Instruction semantics with known operands: registers are variables of the region's function,
 * immediates and offsets are constants. How control leaves is up to the translator.
 */
import { assert } from "@dejavm/base";
import { fieldRd, fieldRm, fieldRs1, fieldRs2, fieldRs3, immediate } from "../../isa/decode.ts";
import type { RoundingField } from "../../isa/instruction.ts";
import { add, type I32, type I64, i64 } from "../../wasm/expr.ts";
import type { Fn, Local } from "../../wasm/module.ts";
import { type BodyFunctions, BodySem } from "../body-sem.ts";
import type { Registers } from "./registers.ts";
import type { RegionInstruction } from "./shape.ts";

/** What the translator does for the instruction at hand. */
export interface RegionControl {
  /** Leaves the region with `exit` set: this instruction has not happened. */
  fault(): void;
  /** Leaves the region: the interpreter does this instruction and goes on. */
  missed(): void;
  /** The block's last instruction goes one of two ways. */
  branch(condition: I32): void;
  jumpRelative(): void;
  jump(target: I64): void;
}

/** Variables that all instructions of a region share. */
export interface RegionFrame {
  readonly f: Fn;
  readonly registers: Registers;
  /** Virtual address of the page. */
  readonly base: Local<"i64">;
  readonly dataTlb: Local<"i32">;
  readonly functions: BodyFunctions;
}

/** See the head of this file. */
export class RegionSem extends BodySem {
  readonly #frame: RegionFrame;
  readonly #at: RegionInstruction;
  readonly #control: RegionControl;

  constructor(frame: RegionFrame, at: RegionInstruction, control: RegionControl) {
    const rm = at.instruction.rounds ? (fieldRm(at.word) as RoundingField) : 7;
    super(frame.f, frame.functions, { rm, dataTlb: frame.dataTlb });
    this.#frame = frame;
    this.#at = at;
    this.#control = control;
  }

  override get rs1(): I64 {
    return this.#frame.registers.x(fieldRs1(this.#at.word));
  }
  override get rs2(): I64 {
    return this.#frame.registers.x(fieldRs2(this.#at.word));
  }
  override get fs1(): I64 {
    return this.#frame.registers.f(fieldRs1(this.#at.word));
  }
  override get fs2(): I64 {
    return this.#frame.registers.f(fieldRs2(this.#at.word));
  }
  override get fs3(): I64 {
    return this.#frame.registers.f(fieldRs3(this.#at.word));
  }
  override get imm(): I64 {
    return i64(immediate(this.#at.instruction.format, this.#at.word));
  }
  override get zimm(): I64 {
    return i64(fieldRs1(this.#at.word));
  }
  override get pc(): I64 {
    return add(this.#frame.base, i64(this.#at.offset));
  }
  override get link(): I64 {
    return add(this.#frame.base, i64(this.#at.offset + this.#at.length));
  }

  override rd(value: I64): void {
    const rd = fieldRd(this.#at.word);
    if (rd === 0) this.f.scope(() => void this.f.let(value));
    else this.#frame.registers.setX(rd, value);
  }
  override fd(value: I64): void {
    this.#frame.registers.setF(fieldRd(this.#at.word), value);
  }

  override branch(condition: I32): void {
    this.#control.branch(condition);
  }
  override jumpRelative(): void {
    this.#control.jumpRelative();
  }
  override jump(target: I64): void {
    this.#control.jump(target);
  }

  override csr(): void {
    assert(false, "CSR instructions are not translated");
  }
  override system(): void {
    assert(false, "system instructions are not translated");
  }

  protected override fault(): void {
    this.#control.fault();
  }
  /** A call in a slow path, even an unlikely one, makes V8's register allocator spill around it. */
  protected override get leavesOnMiss(): boolean {
    return true;
  }
  protected override missed(): void {
    this.#control.missed();
  }

  /** Emits the instruction; `float` says what is known of the floating-point unit so far. */
  emit(float: FloatKnowledge): void {
    const { instruction } = this.#at;
    const { registers } = this.#frame;
    const dynamic = instruction.rounds && this.rm === 7;
    const access = instruction.float;
    const check = access !== "none" && !float.covers(access, dynamic);
    const touchesMemory =
      instruction.format === "I" || instruction.format === "S" || access === "none";
    if (check || (!instruction.pure && touchesMemory)) registers.flush();
    this.perform(instruction, check ? access : "none");
    if (check) float.learn(access, dynamic);
  }
}

/** What checks a block has made already; only an instruction that ends it could undo them. */
export class FloatKnowledge {
  #reads = false;
  #changes = false;
  #dynamic = false;

  covers(access: "reads" | "changes", dynamic: boolean): boolean {
    if (access === "reads") return this.#reads;
    return this.#changes && (!dynamic || this.#dynamic);
  }

  learn(access: "reads" | "changes", dynamic: boolean): void {
    this.#reads = true;
    if (access === "changes") this.#changes = true;
    if (dynamic) this.#dynamic = true;
  }
}
