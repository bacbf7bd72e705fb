/**
 * Instruction fetches that miss the TLB.
 */

import { add, and, eq, eqz, i32, i64, load32, load64, shl, wrap } from "../../wasm/expr.ts";
import { call, type FuncRef, not } from "../../wasm/module.ts";
import { count, get32, get64, type HartBuilder, tlbOffset } from "../builder.ts";
import { isRam, pageOf } from "../guest-access.ts";
import { ITLB_ENTRIES, ITLB_ENTRY } from "../layout.ts";
import { stopIfAbsent } from "./fault.ts";
import { ACCESS, type MmuFunctions, type MmuInternals, PAGE_MASK } from "./functions.ts";
import { protectTables } from "./page-table.ts";
import { EMPTY_TAG } from "./tlb.ts";

type AllocateRef = FuncRef<readonly ["i32"], "i32">;

/** Finds the record of the instruction at a virtual address, and predecodes its page. */
export function defineFetch(b: HartBuilder, mmu: MmuFunctions, own: MmuInternals): void {
  const { map } = b;
  b.m.define(mmu.fetch, (f, pc) => {
    f.call(own.makeRoom);
    const entry = f.let(
      add(get32("fetchTlb"), tlbOffset(wrap(pc), ITLB_ENTRIES, ITLB_ENTRY.shift)),
    );
    const tag = f.let(and(pc, i64(PAGE_MASK)));
    const recordOffset = shl(and(wrap(pc), i32(0xffe)), i32(2));
    f.if(eq(load64(entry, ITLB_ENTRY.tag), tag), () =>
      f.return(add(load32(entry, ITLB_ENTRY.slot), recordOffset)),
    );
    // Stopping in front of the instruction must not have set its page's A bit.
    f.if(get32("deferFetch"), () => f.return(i32(0)), undefined, "unlikely");
    f.if(eqz(call(own.walk, pc, i32(ACCESS.fetch))), () => f.return(i32(0)));
    const physical = f.let(get64("walkAddress"));
    f.if(not(isRam(b, physical)), () => {
      f.call(own.accessFault, pc, i32(ACCESS.fetch));
      f.return(i32(0));
    });
    const page = f.let(pageOf(physical));
    stopIfAbsent(f, b, page);
    f.call(own.commitWalk);
    const slot = f.let(load32(shl(page, i32(2)), map.pageSlots));
    f.if(eqz(slot), () => {
      f.set(slot, call(b.host.allocateSlot as AllocateRef, page));
      f.call(mmu.dropWriteTags, page);
    });
    protectTables(f, b, mmu, pc);
    count(f, "statFetchFills");
    f.if(eq(load64(entry, ITLB_ENTRY.tag), EMPTY_TAG), () => f.call(own.pushFill, entry));
    f.store64(entry, tag, ITLB_ENTRY.tag);
    f.store32(entry, slot, ITLB_ENTRY.slot);
    f.return(add(slot, recordOffset));
  });
}
