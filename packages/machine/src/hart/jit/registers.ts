/**
 * Guest registers as variables of a region's function. Reads come from variables; writes set the
 * variable at once and reach the state block at the next `flush`, which comes before everything
 * that may leave the region or look at memory.
 */
import { type I64, i32, i64, load64 } from "../../wasm/expr.ts";
import type { Fn, Local } from "../../wasm/module.ts";
import { F_BASE, X_BASE } from "../layout.ts";
import type { RegisterSets } from "./liveness.ts";

/** One register file. */
class RegisterFile {
  readonly #f: Fn;
  readonly #base: number;
  readonly #locals: Local<"i64">[] = [];
  #dirty = 0;

  /** `used` are the registers that the region names, as a set. */
  constructor(f: Fn, base: number, used: number) {
    this.#f = f;
    this.#base = base;
    for (let index = 0; index < 32; index++) {
      if (((used >>> index) & 1) === 1) this.#locals[index] = f.local("i64");
    }
  }

  get(index: number): Local<"i64"> {
    return this.#locals[index];
  }

  set(index: number, value: I64): void {
    this.#f.set(this.get(index), value);
    this.#dirty |= 1 << index;
  }

  flush(): void {
    for (let index = 0; index < 32; index++) {
      if (((this.#dirty >>> index) & 1) === 0) continue;
      this.#f.store64(i32(0), this.get(index), this.#base + index * 8);
    }
    this.#dirty = 0;
  }

  load(set: number): void {
    for (let index = 0; index < 32; index++) {
      if (((set >>> index) & 1) === 0) continue;
      this.#f.set(this.get(index), load64(i32(0), this.#base + index * 8));
    }
  }
}

/** See the head of this file. */
export class Registers {
  readonly #x: RegisterFile;
  readonly #f: RegisterFile;

  constructor(f: Fn, used: RegisterSets) {
    this.#x = new RegisterFile(f, X_BASE, used.x);
    this.#f = new RegisterFile(f, F_BASE, used.f);
  }

  x(index: number): I64 {
    return index === 0 ? i64(0) : this.#x.get(index);
  }

  f(index: number): I64 {
    return this.#f.get(index);
  }

  /** Writes to x0 go nowhere. */
  setX(index: number, value: I64): void {
    if (index !== 0) this.#x.set(index, value);
  }

  setF(index: number, value: I64): void {
    this.#f.set(index, value);
  }

  /** The state block has every register from here on. */
  flush(): void {
    this.#x.flush();
    this.#f.flush();
  }

  /** The variables of these registers take what the state block has. */
  load(sets: RegisterSets): void {
    this.#x.load(sets.x);
    this.#f.load(sets.f);
  }
}
