/**
 * The floating-point part of hart state that arithmetic reads and writes: accrued flags, rounding
 * mode and `mode`, the one word that tells whether plain WebAssembly arithmetic is enough.
 */
import { add, and, eq, type I32, i32, load32, or, xor } from "../../wasm/expr.ts";
import type { Fn, Local } from "../../wasm/module.ts";

/**
 * Where the words lie in linear memory: `base` is an absolute address, the others are offsets
 * from it, all of aligned i32.
 */
export interface FloatState {
  readonly base: number;
  /** Accrued exceptions, bits of `FLAG`. */
  readonly fflags: number;
  /** The dynamic rounding mode, 0 .. 7. */
  readonly frm: number;
  /**
   * 0 exactly when `frm` is RNE, NX is accrued and mstatus.FS is Dirty: then an operation in range
   * that rounds to nearest changes nothing but its destination. Derived, not architectural.
   */
  readonly mode: number;
}

/** Bits of fflags (RISC-V unprivileged specification, "F": floating-point CSR). */
export const FLAG = { NX: 1, UF: 2, OF: 4, DZ: 8, NV: 16 } as const;

/** Values of frm and of the rm field (same section). */
export const ROUND = { RNE: 0, RTZ: 1, RDN: 2, RUP: 3, RMM: 4, DYN: 7 } as const;

const HERE = i32(0);

/** fflags, bits of `FLAG`. */
export function loadFlags(state: FloatState): I32 {
  return load32(HERE, state.base + state.fflags);
}

function loadRounding(state: FloatState): I32 {
  return load32(HERE, state.base + state.frm);
}

/** `mode`: 0, or anything else. */
export function loadMode(state: FloatState): I32 {
  return load32(HERE, state.base + state.mode);
}

/**
 * Emits the update of `mode` from fflags, frm and `fsIsDirty` (0 or 1). Needed after every write
 * of fflags, frm or mstatus from outside the arithmetic.
 */
export function recomputeMode(f: Fn, state: FloatState, fsIsDirty: I32): void {
  const inexactMissing = xor(and(loadFlags(state), i32(FLAG.NX)), i32(1));
  const value = add(or(loadRounding(state), inexactMissing), xor(fsIsDirty, i32(1)));
  f.store32(HERE, value, state.base + state.mode);
}

/** Emits the accrual of `flags`. FS is Dirty by then: every FP instruction sees to that first. */
export function accrueFlags(f: Fn, state: FloatState, flags: I32): void {
  f.store32(HERE, or(loadFlags(state), flags), state.base + state.fflags);
  recomputeMode(f, state, i32(1));
}

/** Emits the replacement of DYN in `rm` by what frm says. */
export function resolveRounding(f: Fn, state: FloatState, rm: Local<"i32">): void {
  f.if(eq(rm, i32(ROUND.DYN)), () => f.set(rm, loadRounding(state)));
}

/** Whether the rm field is a constant that rounds to nearest even whenever `mode` is 0. */
export function mayRoundToNearest(rm: I32): boolean {
  return rm.known === ROUND.RNE || rm.known === ROUND.DYN;
}
