/**
 * Address translation and every access that misses the TLB (privileged manual, "Sv39", "Sv48").
 * All hooks into guest memory live in this folder: page faults, absent pages, dirty tracking,
 * page tables that change, code that is overwritten, watch ranges, devices.
 *
 * Invariants:
 * - A cached translation equals what a walk would give now. A page that a cached walk read as a
 *   page table never has a write tag; a store that changes a valid entry there empties the TLBs
 *   before the next instruction.
 * - An instruction either happens as a whole or not at all: accesses are probed before A and D
 *   bits, memory or devices change.
 */

import type { HartBuilder } from "../builder.ts";
import { defineCheckPage } from "./access.ts";
import { defineFaults } from "./fault.ts";
import { defineFetch } from "./fetch.ts";
import type { MmuFunctions, MmuInternals } from "./functions.ts";
import { defineLoad, defineUpdate } from "./load.ts";
import { defineStore, defineZeroBlock } from "./store.ts";
import { defineStaleCode, defineTlb } from "./tlb.ts";
import { defineWalk } from "./walk.ts";

/** Gives the declared functions their bodies. */
export function defineMmu(b: HartBuilder, mmu: MmuFunctions): void {
  const { m } = b;
  const own: MmuInternals = {
    walk: mmu.walk,
    commitWalk: m.declare("commit_walk", []),
    pageFault: m.declare("page_fault", ["i64", "i32"]),
    accessFault: m.declare("access_fault", ["i64", "i32"]),
    checkPage: m.declare("check_page", ["i32", "i32", "i32"], "i32"),
    pushFill: mmu.pushFill,
    makeRoom: m.declare("make_room", []),
    dropPage: m.declare("drop_page", ["i64"]),
    touchWrite: m.declare("touch_write", ["i32"]),
    staleCode: m.declare("stale_code", ["i32"]),
  };
  defineFaults(b, own);
  defineTlb(b, mmu, own);
  defineStaleCode(b, own);
  defineWalk(b, own);
  defineCheckPage(b, own);
  defineLoad(b, mmu, own);
  defineStore(b, mmu, own);
  defineUpdate(b, mmu, own);
  defineZeroBlock(b, mmu, own);
  defineFetch(b, mmu, own);
}
