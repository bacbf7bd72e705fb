/**
 * The software TLB: filling, emptying, and dropping what a page's change makes untrue. The list of
 * filled entries makes emptying cheap.
 */

import {
  add,
  and,
  both,
  eq,
  eqz,
  gtU,
  type I32,
  type I64,
  i32,
  i64,
  load32,
  load64,
  ltU,
  ne,
  nez,
  or,
  shl,
  sub,
  wrap,
} from "../../wasm/expr.ts";
import { type Fn, type Local, not } from "../../wasm/module.ts";
import { count, get32, type HartBuilder, ramAddress, set32, tlbOffset } from "../builder.ts";
import { flagsOf } from "../guest-access.ts";
import {
  DTLB_ENTRIES,
  DTLB_ENTRY,
  DTLB_SET_BYTES,
  FILL_LIST_CAPACITY,
  ITLB_ENTRY,
  PAGE_FLAG,
  STALE_CODE,
  TABLE_LIST_CAPACITY,
} from "../layout.ts";
import { type MmuFunctions, type MmuInternals, PAGE_MASK } from "./functions.ts";

/** No page begins at an odd address. */
export const EMPTY_TAG = i64(-1);

/** Entries of the fill list and page tables that one access takes at most. */
const FILLS_PER_ACCESS = 8;
const TABLES_PER_WALK = 8;

/** Emptying the TLB as a whole or in part, and the bookkeeping of the first write to a page. */
export function defineTlb(b: HartBuilder, mmu: MmuFunctions, own: MmuInternals): void {
  const { m, map } = b;
  const listAt = (index: I32): I32 => load32(shl(index, i32(2)), map.fillList);
  const forEachFill = (f: Fn, body: (entry: Local<"i32">) => void): void => {
    const index = f.let(get32("fillCount"));
    f.while(nez(index), () => {
      f.set(index, sub(index, i32(1)));
      body(f.let(listAt(index)));
    });
  };
  const isFetchEntry = (entry: I32): I32 => not(ltU(entry, i32(map.itlb)));

  // Emptying both words of a data entry also empties a fetch entry: its second word is the slot.
  m.define(mmu.flushTlb, (f) => {
    count(f, "statFlushes");
    forEachFill(f, (entry) => {
      f.store64(entry, EMPTY_TAG, DTLB_ENTRY.readTag);
      f.store64(entry, EMPTY_TAG, DTLB_ENTRY.writeTag);
    });
    set32(f, "fillCount", i32(0));
    // Nothing is derived from page tables any more.
    const index = f.let(get32("tableCount"));
    f.while(nez(index), () => {
      f.set(index, sub(index, i32(1)));
      const page = f.let(load32(shl(index, i32(2)), map.tableList));
      f.store8(page, and(flagsOf(b, page), i32(~PAGE_FLAG.table)), map.pageFlags);
    });
    set32(f, "tableCount", i32(0));
    set32(f, "tableStores", i32(0));
  });
  m.define(own.makeRoom, (f) => {
    const full = or(
      gtU(get32("fillCount"), i32(FILL_LIST_CAPACITY - FILLS_PER_ACCESS)),
      gtU(get32("tableCount"), i32(TABLE_LIST_CAPACITY - TABLES_PER_WALK)),
    );
    f.if(full, () => f.call(mmu.flushTlb), undefined, "unlikely");
  });
  m.define(own.dropPage, (f, address) => {
    const offset = tlbOffset(wrap(address), DTLB_ENTRIES, DTLB_ENTRY.shift);
    const entry = f.let(add(offset, i32(map.dtlb)));
    f.while(ltU(entry, i32(map.itlb)), () => {
      for (const tag of [DTLB_ENTRY.readTag, DTLB_ENTRY.writeTag]) {
        f.if(eq(load64(entry, tag), address), () => f.store64(entry, EMPTY_TAG, tag));
      }
      f.set(entry, add(entry, i32(DTLB_SET_BYTES)));
    });
  });
  m.define(own.pushFill, (f, entry) => {
    f.store32(shl(get32("fillCount"), i32(2)), entry, map.fillList);
    set32(f, "fillCount", add(get32("fillCount"), i32(1)));
  });
  m.define(mmu.dropWriteTags, (f, page) => {
    forEachFill(f, (entry) => {
      const matches = both(not(isFetchEntry(entry)), eq(load32(entry, DTLB_ENTRY.page), page));
      f.if(matches, () => f.store64(entry, EMPTY_TAG, DTLB_ENTRY.writeTag));
    });
  });
  m.define(mmu.dropAllWriteTags, (f) => {
    forEachFill(f, (entry) => {
      f.if(not(isFetchEntry(entry)), () => f.store64(entry, EMPTY_TAG, DTLB_ENTRY.writeTag));
    });
  });
  m.define(mmu.dropFetchTags, (f, slot) => {
    forEachFill(f, (entry) => {
      const matches = both(isFetchEntry(entry), eq(load32(entry, ITLB_ENTRY.slot), slot));
      f.if(matches, () => f.store64(entry, EMPTY_TAG, ITLB_ENTRY.tag));
    });
  });
  m.define(own.touchWrite, (f, page) => {
    const at = f.let(shl(page, i32(2)));
    f.if(ne(load32(at, map.pageEpochs), get32("epoch")), () => {
      f.call(b.host.firstWrite, page);
      f.store32(at, get32("epoch"), map.pageEpochs);
    });
  });
}

/** Remembers code pages that the present instruction overwrites. */
export function defineStaleCode(b: HartBuilder, own: MmuInternals): void {
  b.m.define(own.staleCode, (f, page) => {
    for (const name of STALE_CODE) {
      f.if(eqz(get32(name)), () => {
        set32(f, name, add(page, i32(1)));
        f.return();
      });
    }
  });
}

/** Enters a data translation; `writable` also sets the write tag. */
export function fillData(
  f: Fn,
  b: HartBuilder,
  own: MmuInternals,
  at: { readonly address: I64; readonly page: I32; readonly writable: boolean },
): void {
  count(f, "statDataFills");
  const entry = f.let(
    add(get32("dataTlb"), tlbOffset(wrap(at.address), DTLB_ENTRIES, DTLB_ENTRY.shift)),
  );
  const tag = f.let(and(at.address, i64(PAGE_MASK)));
  const wasEmpty = both(
    eq(load64(entry, DTLB_ENTRY.readTag), EMPTY_TAG),
    eq(load64(entry, DTLB_ENTRY.writeTag), EMPTY_TAG),
  );
  f.if(wasEmpty, () => f.call(own.pushFill, entry));
  if (at.writable) f.store64(entry, tag, DTLB_ENTRY.writeTag);
  else {
    f.if(ne(load64(entry, DTLB_ENTRY.writeTag), tag), () =>
      f.store64(entry, EMPTY_TAG, DTLB_ENTRY.writeTag),
    );
  }
  f.store64(entry, tag, DTLB_ENTRY.readTag);
  f.store32(entry, sub(ramAddress(b.map, at.page), wrap(tag)), DTLB_ENTRY.addend);
  f.store32(entry, at.page, DTLB_ENTRY.page);
}
