/**
 * Expressions over guest physical addresses and accesses to them, as the MMU and traps use them.
 */
import { RAM_BASE } from "../board/memory-map.ts";
import type { I32, I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  both,
  eq,
  eqz,
  gtU,
  i32,
  i64,
  ifElse,
  load8U,
  load64,
  load64From8U,
  load64From16U,
  load64From32U,
  ltU,
  nez,
  shl,
  shrU,
  sub,
  wrap,
} from "../wasm/expr.ts";
import type { Fn } from "../wasm/module.ts";
import { get32, get64, type HartBuilder } from "./builder.ts";
import { MSTATUS } from "./csr.ts";

/** Whether a physical address lies in RAM. */
export const isRam = (b: HartBuilder, physical: I64): I32 =>
  ltU(sub(physical, i64(RAM_BASE)), i64(b.map.ramBytes));
/** RAM page number of a physical address. */
export const pageOf = (physical: I64): I32 => wrap(shrU(sub(physical, i64(RAM_BASE)), i64(12)));
/** Linear address of a physical address in RAM. */
export const linearOf = (b: HartBuilder, physical: I64): I32 =>
  add(wrap(sub(physical, i64(RAM_BASE))), i32(b.map.ram));
/** PAGE_FLAG bits of a RAM page. */
export const flagsOf = (b: HartBuilder, page: I32): I32 => load8U(page, b.map.pageFlags);
/** Whether any of the bits of `flag` is set. */
export const hasFlag = (flags: I32, flag: number): I32 => nez(and(flags, i32(flag)));
/** Bytes of an access, from their binary logarithm. */
export const sizeOf = (log2: I32): I32 => shl(i32(1), log2);
/** Whether an access lies in two pages. */
export const crosses = (address: I64, log2: I32): I32 =>
  gtU(add(and(wrap(address), i32(4095)), sizeOf(log2)), i32(4096));
/** Whether an access is not naturally aligned. */
export const misaligned = (address: I64, log2: I32): I32 =>
  nez(and(wrap(address), sub(sizeOf(log2), i32(1))));

/** Loads 1, 2, 4 or 8 bytes, zero-extended. */
export function loadSized(address: I32, log2: I32): I64 {
  return ifElse(
    eq(log2, i32(3)),
    load64(address),
    ifElse(
      eq(log2, i32(2)),
      load64From32U(address),
      ifElse(eqz(log2), load64From8U(address), load64From16U(address)),
    ),
  );
}

/** Stores the low 1, 2, 4 or 8 bytes of `value`. */
export function storeSized(f: Fn, address: I32, value: I64, log2: I32): void {
  f.if(
    eq(log2, i32(3)),
    () => f.store64(address, value),
    () =>
      f.if(
        eq(log2, i32(2)),
        () => f.store32(address, value),
        () =>
          f.if(
            eqz(log2),
            () => f.store8(address, value),
            () => f.store16(address, value),
          ),
      ),
  );
}

/** Privilege that data accesses are checked with: MPP under MPRV (privileged manual, "mstatus"). */
export const dataPrivilege: I32 = ifElse(
  both(eq(get32("mode"), i32(3)), nez(and(get64("mstatus"), i64(MSTATUS.MPRV)))),
  and(wrap(shrU(get64("mstatus"), i64(11))), i32(3)),
  get32("mode"),
);
