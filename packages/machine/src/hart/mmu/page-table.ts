/**
 * Pages that a cached walk read as page tables: they have no write tag, and a store that changes
 * a valid entry drops what was derived from it.
 */

import {
  add,
  and,
  both,
  eq,
  eqz,
  extendU,
  gtU,
  type I32,
  type I64,
  i32,
  i64,
  ifElse,
  load8U,
  load64,
  ne,
  or,
  shl,
  shrU,
  sub,
} from "../../wasm/expr.ts";
import { type Fn, type Local, not } from "../../wasm/module.ts";
import { count, get32, type HartBuilder, set32 } from "../builder.ts";
import { flagsOf, hasFlag, isRam, pageOf, sizeOf } from "../guest-access.ts";
import { PAGE_FLAG } from "../layout.ts";
import { type MmuFunctions, PPN_MASK, PTE } from "./functions.ts";

/** Stores into flagged page tables after which all flags go: the pages may be data by now. */
const TABLE_STORES_LIMIT = 2048;
/** `tableInfo` of a page that maps more than one range. */
const TABLE_SHARED = -1;

/** What a page table maps: the first address, with the level of its entries in the low bits. */
function tableInfo(address: I64, level: number): I64 {
  return or(and(address, i64(-(1n << BigInt(21 + 9 * level)))), i64(level));
}

/**
 * Keeps page tables that a translation of `address` depends on out of the write TLB, and notes
 * what they map, so that a store into one can drop just what it changes.
 */
export function protectTables(f: Fn, b: HartBuilder, mmu: MmuFunctions, address: I64): void {
  const { map } = b;
  for (const [level, name] of WALK_TABLES.entries()) {
    f.scope(() => {
      const page = f.let(get32(name));
      const infoAt = f.let(shl(page, i32(3)));
      f.if(ne(page, i32(-1)), () => {
        f.if(
          hasFlag(flagsOf(b, page), PAGE_FLAG.table),
          () => {
            const other = ne(load64(infoAt, map.pageTables), tableInfo(address, level));
            f.if(other, () => f.store64(infoAt, i64(TABLE_SHARED), map.pageTables));
          },
          () => {
            f.store8(page, or(flagsOf(b, page), i32(PAGE_FLAG.table)), map.pageFlags);
            f.store64(infoAt, tableInfo(address, level), map.pageTables);
            f.store32(shl(get32("tableCount"), i32(2)), page, map.tableList);
            set32(f, "tableCount", add(get32("tableCount"), i32(1)));
            f.call(mmu.dropWriteTags, page);
          },
        );
      });
    });
  }
}

/** Page-table pages of a walk, by level of their entries. */
const WALK_TABLES = ["walkTable0", "walkTable1", "walkTable2", "walkTable3"] as const;

/** Whether a store of up to 8 bytes at `linear` touches a valid page-table entry. */
export function touchesValidEntry(linear: I32, log2: I32): I32 {
  const first = load8U(and(linear, i32(-8)));
  const last = load8U(and(sub(add(linear, sizeOf(log2)), i32(1)), i32(-8)));
  return and(or(first, last), i32(PTE.V));
}

/** No page begins at an odd address. */
export const NO_PAGE = i64(-1);

interface TableStore {
  readonly page: I32;
  readonly linear: I32;
  readonly log2: I32;
  /** Set to 1 where all translations must go, so that the instruction must run alone. */
  readonly table: Local<"i32">;
  /** Set to the one virtual page whose translation changes, where it is known. */
  readonly changed: Local<"i64">;
}

/** What a store into a flagged page table changes. An entry that was not valid changes nothing. */
export function storeIntoTable(f: Fn, b: HartBuilder, mmu: MmuFunctions, at: TableStore): void {
  const { page, linear, log2, table, changed } = at;
  count(f, "statTableStores");
  set32(f, "tableStores", add(get32("tableStores"), i32(1)));
  f.if(gtU(get32("tableStores"), i32(TABLE_STORES_LIMIT)), () => f.call(mmu.flushTlb));
  const touches = touchesValidEntry(linear, log2);
  f.if(both(hasFlag(flagsOf(b, page), PAGE_FLAG.table), touches), () => {
    const info = f.let(load64(shl(page, i32(3)), b.map.pageTables));
    const entry = f.let(load64(and(linear, i32(-8))));
    const target = f.let(shl(and(shrU(entry, i64(10)), i64(PPN_MASK)), i64(12)));
    // Fetch translations and jump caches are not dropped page by page.
    const isCode = ifElse(
      isRam(b, target),
      hasFlag(flagsOf(b, pageOf(target)), PAGE_FLAG.code),
      i32(0),
    );
    const single = both(eq(log2, i32(3)), both(eqz(and(linear, i32(7))), isLeafTable(info)));
    f.if(
      both(single, not(isCode)),
      () => {
        const index = extendU(and(shrU(linear, i32(3)), i32(511)));
        f.set(changed, add(info, shl(index, i64(12))));
      },
      () => f.set(table, i32(1)),
    );
  });
}

/** Whether a page table maps pages, and one range of them only. */
const isLeafTable = (info: I64): I32 => eqz(and(info, i64(4095)));
