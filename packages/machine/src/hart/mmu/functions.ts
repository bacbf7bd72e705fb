/**
 * What the MMU offers, what its parts call of each other, and the words that all of them use.
 */

import type { FuncRef } from "../../wasm/module.ts";
import type { HartBuilder } from "../builder.ts";

/** What an access wants to do. */
export const ACCESS = { read: 0, write: 1, fetch: 2 } as const;

/** Bits of a page-table entry. */
export const PTE = { V: 1, R: 2, W: 4, X: 8, U: 16, A: 64, D: 128 } as const;

/** A physical page number, where it has been shifted to bit 0. */
export const PPN_MASK = (1n << 44n) - 1n;

/** Leaves the address of a page. */
export const PAGE_MASK = -4096;

type Unary = FuncRef<readonly ["i32"], undefined>;

/** Functions of the MMU that others call. */
export interface MmuFunctions {
  /** (virtual address, log2 size) -> zero-extended value; `exit` is set where it did not happen. */
  readonly loadSlow: FuncRef<readonly ["i64", "i32"], "i64">;
  /** (virtual address, value, log2 size) */
  readonly storeSlow: FuncRef<readonly ["i64", "i64", "i32"], undefined>;
  /** (virtual address, log2 size) -> value: for AMOs; needs alignment and write permission. */
  readonly loadForUpdateSlow: FuncRef<readonly ["i64", "i32"], "i64">;
  /** (virtual address): cbo.zero. */
  readonly zeroBlock: FuncRef<readonly ["i64"], undefined>;
  /** (virtual address) -> record address, 0: `exit` is set. */
  readonly fetch: FuncRef<readonly ["i64"], "i32">;
  readonly flushTlb: FuncRef<readonly [], undefined>;
  /** (page): drops write tags of one RAM page. */
  readonly dropWriteTags: Unary;
  readonly dropAllWriteTags: FuncRef<readonly [], undefined>;
  /** (slot): drops fetch entries that lead to a record slot. */
  readonly dropFetchTags: Unary;
  /** (address, access) -> 1: walkAddress holds the physical address; 0: `exit` is set. */
  readonly walk: FuncRef<readonly ["i64", "i32"], "i32">;
  /** (entry): an empty TLB or jump cache entry is about to be filled. */
  readonly pushFill: Unary;
}

/** Declares the functions of the MMU, so that others can call them. */
export function declareMmu(b: HartBuilder): MmuFunctions {
  const { m } = b;
  return {
    loadSlow: m.declare("load_slow", ["i64", "i32"], "i64"),
    storeSlow: m.declare("store_slow", ["i64", "i64", "i32"]),
    loadForUpdateSlow: m.declare("load_for_update_slow", ["i64", "i32"], "i64"),
    zeroBlock: m.declare("zero_block", ["i64"]),
    fetch: m.declare("fetch", ["i64"], "i32"),
    flushTlb: m.declare("flush_tlb", []),
    dropWriteTags: m.declare("drop_write_tags", ["i32"]),
    dropAllWriteTags: m.declare("drop_all_write_tags", []),
    dropFetchTags: m.declare("drop_fetch_tags", ["i32"]),
    walk: m.declare("walk", ["i64", "i32"], "i32"),
    pushFill: m.declare("push_fill", ["i32"]),
  };
}

/** Functions that only the MMU calls, beside `walk` and `pushFill`. */
export interface MmuInternals {
  /** (address, access) -> 1: walkAddress holds the physical address; 0: `exit` is set. */
  readonly walk: FuncRef<readonly ["i64", "i32"], "i32">;
  /** (): writes back the A and D bits that the last walk asked for. */
  readonly commitWalk: FuncRef<readonly [], undefined>;
  /** (address, access): sets the page fault or access fault that fits. */
  readonly pageFault: FuncRef<readonly ["i64", "i32"], undefined>;
  readonly accessFault: FuncRef<readonly ["i64", "i32"], undefined>;
  /** (page, access) -> 1: the page may be touched now; 0: `exit` is set. */
  readonly checkPage: FuncRef<readonly ["i32", "i32", "i32"], "i32">;
  readonly pushFill: Unary;
  /** (): empties everything unless one more access can be entered. */
  readonly makeRoom: FuncRef<readonly [], undefined>;
  /** (address of a page): drops the data translations of one virtual page. */
  readonly dropPage: FuncRef<readonly ["i64"], undefined>;
  /** (page): a write is about to happen. */
  readonly touchWrite: Unary;
  /** (page): its code is overwritten by the present instruction, and goes after it. */
  readonly staleCode: Unary;
}
