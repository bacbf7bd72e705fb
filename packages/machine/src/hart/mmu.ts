/**
 * Address translation and every access that misses the TLB (privileged manual, "Sv39", "Sv48"). All
 * hooks into guest memory live here: page faults, absent pages, dirty tracking, page tables that
 * change, code that is overwritten, watch ranges, devices.
 *
 * Invariants:
 * - A cached translation equals what a walk would give now. A page that a cached walk read as a
 *   page table never has a write tag; a store that changes a valid entry there empties the TLBs
 *   before the next instruction.
 * - An instruction either happens as a whole or not at all: accesses are probed before A and D
 *   bits, memory or devices change.
 */

import { CAUSE } from "../isa/instruction.ts";
import type { I32, I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  both,
  either,
  eq,
  eqz,
  extendU,
  gtU,
  i32,
  i64,
  ifElse,
  leU,
  load8U,
  load32,
  load64,
  load64From8U,
  ltU,
  ne,
  nez,
  or,
  shl,
  shrS,
  shrU,
  sub,
  wrap,
} from "../wasm/expr.ts";
import { call, type Fn, type FuncRef, type Local, not } from "../wasm/module.ts";
import {
  count,
  get32,
  get64,
  type HartBuilder,
  MMIO,
  ramAddress,
  set32,
  set64,
  tlbOffset,
} from "./builder.ts";
import { ENVCFG, MSTATUS, SATP_SV48 } from "./csr.ts";
import {
  crosses,
  dataPrivilege,
  flagsOf,
  hasFlag,
  isRam,
  linearOf,
  loadSized,
  misaligned,
  pageOf,
  sizeOf,
  storeSized,
} from "./guest-access.ts";
import {
  DTLB_ENTRIES,
  DTLB_ENTRY,
  DTLB_SET_BYTES,
  EXIT,
  FILL_LIST_CAPACITY,
  ITLB_ENTRIES,
  ITLB_ENTRY,
  PAGE_FLAG,
  STALE_CODE,
  TABLE_LIST_CAPACITY,
  TLB_SETS,
} from "./layout.ts";

/** What an access wants to do. */
const ACCESS = { read: 0, write: 1, fetch: 2 } as const;

const PTE = { V: 1, R: 2, W: 4, X: 8, U: 16, A: 64, D: 128 } as const;
const PPN_MASK = (1n << 44n) - 1n;
const PAGE_MASK = -4096;
const EMPTY_TAG = i64(-1);

/** Entries of the fill list and page tables that one access takes at most. */
const FILLS_PER_ACCESS = 8;
const TABLES_PER_WALK = 8;
/** Stores into flagged page tables after which all flags go: the pages may be data by now. */
const TABLE_STORES_LIMIT = 512;
/** `tableInfo` of a page that maps more than one range. */
const TABLE_SHARED = -1;

type Unary = FuncRef<readonly ["i32"], undefined>;

/** Functions of this file that others call. */
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

/** Declares the functions of this file, so that others can call them. */
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

/** Private functions of this file. */
interface Internal {
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

/** Gives the declared functions their bodies. */
export function defineMmu(b: HartBuilder, mmu: MmuFunctions): void {
  const { m } = b;
  const own: Internal = {
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
  defineCheckPage(b, mmu, own);
  defineLoad(b, mmu, own);
  defineStore(b, mmu, own);
  defineUpdate(b, mmu, own);
  defineZeroBlock(b, mmu, own);
  defineFetch(b, mmu, own);
}

// ---- faults ----------

function defineFaults(b: HartBuilder, own: Internal): void {
  const fault = (ref: Internal["pageFault"], read: number, write: number, fetch: number): void => {
    b.m.define(ref, (f, address, access) => {
      // An access fault at the end of a walk comes after the walk's own update of A and D.
      if (ref === own.accessFault) f.call(own.commitWalk);
      const cause = ifElse(
        eqz(access),
        i64(read),
        ifElse(eq(access, i32(ACCESS.write)), i64(write), i64(fetch)),
      );
      set64(f, "trapCause", cause);
      set64(f, "trapValue", address);
      set32(f, "exit", i32(EXIT.trap));
    });
  };
  fault(own.pageFault, CAUSE.loadPage, CAUSE.storePage, CAUSE.fetchPage);
  fault(own.accessFault, CAUSE.loadAccess, CAUSE.storeAccess, CAUSE.fetchAccess);
}

function missing(f: Fn, page: I32): void {
  set32(f, "missing0", page);
  set32(f, "missingCount", i32(1));
  set32(f, "exit", i32(EXIT.missingPage));
}

// ---- TLB ----------

function defineTlb(b: HartBuilder, mmu: MmuFunctions, own: Internal): void {
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
    for (let set = 0; set < TLB_SETS; set++) {
      const entry = f.let(add(offset, i32(map.dtlb + set * DTLB_SET_BYTES)));
      for (const tag of [DTLB_ENTRY.readTag, DTLB_ENTRY.writeTag]) {
        f.if(eq(load64(entry, tag), address), () => f.store64(entry, EMPTY_TAG, tag));
      }
    }
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

function defineStaleCode(b: HartBuilder, own: Internal): void {
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
function fillData(
  f: Fn,
  b: HartBuilder,
  own: Internal,
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

// ---- walk ----------

function defineWalk(b: HartBuilder, own: Internal): void {
  const { m } = b;
  m.define(own.walk, (f, address, access) => {
    set32(f, "walkPteAt", i32(0));
    set32(f, "walkTable0", i32(-1));
    set32(f, "walkTable1", i32(-1));
    set32(f, "walkTable2", i32(-1));
    set32(f, "walkTable3", i32(-1));
    const privilege = f.let(ifElse(eq(access, i32(ACCESS.fetch)), get32("mode"), dataPrivilege));
    f.if(either(eq(privilege, i32(3)), eqz(shrU(get64("satp"), i64(60)))), () => {
      set64(f, "walkAddress", address);
      f.return(i32(1));
    });
    const failPage = (): void => {
      f.call(own.pageFault, address, access);
      f.return(i32(0));
    };
    const sv48 = f.let(eq(wrap(shrU(get64("satp"), i64(60))), i32(SATP_SV48)));
    const unused = f.let(ifElse(sv48, i64(64 - 48), i64(64 - 39)));
    f.if(ne(shrS(shl(address, unused), unused), address), failPage);
    const pte = f.local("i64");
    const pteAt = f.local("i32");
    const base = f.let(shl(and(get64("satp"), i64(PPN_MASK)), i64(12)));
    const level = f.let(add(i32(2), sv48));
    const page = f.local("i32");
    f.block((leaf) => {
      f.loop((next) => {
        const physical = f.let(
          add(base, and(shrU(address, extendU(add(i32(9), mul9(level)))), i64(0xff8))),
        );
        f.if(not(isRam(b, physical)), () => {
          f.call(own.accessFault, address, access);
          f.return(i32(0));
        });
        f.set(page, pageOf(physical));
        f.if(
          hasFlag(flagsOf(b, page), PAGE_FLAG.absent),
          () => {
            missing(f, page);
            f.return(i32(0));
          },
          undefined,
          "unlikely",
        );
        f.if(eq(level, i32(3)), () => set32(f, "walkTable3", page));
        f.if(eq(level, i32(2)), () => set32(f, "walkTable2", page));
        f.if(eq(level, i32(1)), () => set32(f, "walkTable1", page));
        f.if(eqz(level), () => set32(f, "walkTable0", page));
        f.set(pteAt, linearOf(b, physical));
        f.set(pte, load64(pteAt));
        const invalid = either(
          eqz(and(pte, i64(PTE.V))),
          either(
            eq(and(pte, i64(PTE.R | PTE.W)), i64(PTE.W)),
            // Svnapot, Svpbmt and the reserved bits are not implemented: they must be 0.
            nez(shrU(pte, i64(54))),
          ),
        );
        f.if(invalid, failPage);
        f.brIf(leaf, nez(and(pte, i64(PTE.R | PTE.X))));
        // A, D and U are reserved in a pointer to the next level.
        f.if(either(eqz(level), nez(and(pte, i64(PTE.A | PTE.D | PTE.U)))), failPage);
        f.set(base, shl(and(shrU(pte, i64(10)), i64(PPN_MASK)), i64(12)));
        f.set(level, sub(level, i32(1)));
        f.br(next);
      });
    });
    checkPermission(f, { pte, privilege, access, level, fail: failPage });
    const offsetMask = f.let(sub(shl(i64(1), extendU(add(i32(12), mul9(level)))), i64(1)));
    const ppn = f.let(shl(and(shrU(pte, i64(10)), i64(PPN_MASK)), i64(12)));
    f.if(nez(and(ppn, and(offsetMask, i64(PAGE_MASK)))), failPage);
    const wanted = f.let(
      or(pte, ifElse(eq(access, i32(ACCESS.write)), i64(PTE.A | PTE.D), i64(PTE.A))),
    );
    f.if(ne(wanted, pte), () => {
      f.if(eqz(and(get64("menvcfg"), i64(ENVCFG.ADUE))), failPage);
      // The bit to be set may lie in code that is running.
      const inUse = both(ne(access, i32(ACCESS.fetch)), eqz(get32("stepping")));
      f.if(both(hasFlag(flagsOf(b, page), PAGE_FLAG.code), inUse), () => {
        set32(f, "exit", i32(EXIT.step));
        f.return(i32(0));
      });
      set32(f, "walkPteAt", pteAt);
      set64(f, "walkPte", wanted);
    });
    set64(f, "walkAddress", or(ppn, and(address, offsetMask)));
    f.return(i32(1));
  });
  m.define(own.commitWalk, (f) => {
    f.if(nez(get32("walkPteAt")), () => {
      const at = f.let(get32("walkPteAt"));
      const page = f.let(shrU(sub(at, i32(b.map.ram)), i32(12)));
      f.call(own.touchWrite, page);
      f.store64(at, get64("walkPte"));
      set32(f, "walkPteAt", i32(0));
      f.if(hasFlag(flagsOf(b, page), PAGE_FLAG.code), () =>
        // A fetch comes between instructions, when no code is in use.
        f.if(
          get32("stepping"),
          () => f.call(own.staleCode, page),
          () => f.call(b.host.dropCode, page),
        ),
      );
    });
  });
}

/** level * 9, the width of one page-table index. */
const mul9 = (level: I32): I32 => add(shl(level, i32(3)), level);

interface PermissionCheck {
  readonly pte: I64;
  readonly privilege: I32;
  readonly access: I32;
  readonly level: I32;
  readonly fail: () => void;
}

function checkPermission(f: Fn, { pte, privilege, access, fail }: PermissionCheck): void {
  const isFetch = eq(access, i32(ACCESS.fetch));
  f.if(
    nez(and(pte, i64(PTE.U))),
    () => {
      const sumAllows = both(not(isFetch), nez(and(get64("mstatus"), i64(MSTATUS.SUM))));
      f.if(both(eq(privilege, i32(1)), not(sumAllows)), fail);
    },
    () => f.if(eqz(privilege), fail),
  );
  f.if(isFetch, () => f.if(eqz(and(pte, i64(PTE.X))), fail));
  f.if(eq(access, i32(ACCESS.write)), () => f.if(eqz(and(pte, i64(PTE.W))), fail));
  f.if(eqz(access), () => {
    const executable = both(
      nez(and(pte, i64(PTE.X))),
      nez(and(get64("mstatus"), i64(MSTATUS.MXR))),
    );
    f.if(not(either(nez(and(pte, i64(PTE.R))), executable)), fail);
  });
}

/** What a page table maps: the first address, with the level of its entries in the low bits. */
function tableInfo(address: I64, level: number): I64 {
  return or(and(address, i64(-(1n << BigInt(21 + 9 * level)))), i64(level));
}

/**
 * Keeps page tables that a translation of `address` depends on out of the write TLB, and notes
 * what they map, so that a store into one can drop just what it changes.
 */
function protectTables(f: Fn, b: HartBuilder, mmu: MmuFunctions, address: I64): void {
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

// ---- data accesses ---------------------------------------------------------------------------

/**
 * (page, access, valid entries touched): whether the access may happen now. Absent pages stop
 * the machine; pages whose change has consequences want the instruction to run alone.
 */
function defineCheckPage(b: HartBuilder, _mmu: MmuFunctions, own: Internal): void {
  b.m.define(own.checkPage, (f, page, access, changesTable) => {
    const flags = f.let(flagsOf(b, page));
    f.if(eqz(flags), () => f.return(i32(1)));
    f.if(hasFlag(flags, PAGE_FLAG.absent), () => {
      missing(f, page);
      f.return(i32(0));
    });
    const alone = ifElse(
      eq(access, i32(ACCESS.write)),
      either(hasFlag(flags, PAGE_FLAG.watched | PAGE_FLAG.code | PAGE_FLAG.htif), changesTable),
      hasFlag(flags, PAGE_FLAG.watched),
    );
    f.if(both(alone, eqz(get32("stepping"))), () => {
      set32(f, "exit", i32(EXIT.step));
      f.return(i32(0));
    });
    f.return(i32(1));
  });
}

/** Whether a store of up to 8 bytes at `linear` touches a valid page-table entry. */
function touchesValidEntry(linear: I32, log2: I32): I32 {
  const first = load8U(and(linear, i32(-8)));
  const last = load8U(and(sub(add(linear, sizeOf(log2)), i32(1)), i32(-8)));
  return and(or(first, last), i32(PTE.V));
}

/** What the present instruction, running alone, must do once it is complete. */
function afterStore(
  f: Fn,
  b: HartBuilder,
  own: Internal,
  at: { page: I32; physical: I64; log2: I32; table: I32 },
): void {
  const flags = f.let(flagsOf(b, at.page));
  f.if(nez(flags), () => {
    f.if(hasFlag(flags, PAGE_FLAG.code), () => f.call(own.staleCode, at.page));
    f.if(both(hasFlag(flags, PAGE_FLAG.table), at.table), () => set32(f, "dropTlb", i32(1)));
    f.if(hasFlag(flags, PAGE_FLAG.watched), () =>
      f.call(b.host.watch, wrap(at.physical), sizeOf(at.log2), i32(1)),
    );
  });
}

function defineLoad(b: HartBuilder, mmu: MmuFunctions, own: Internal): void {
  b.m.define(mmu.loadSlow, (f, address, log2) => {
    f.call(own.makeRoom);
    f.if(
      crosses(address, log2),
      () => {
        loadAcross(f, b, own, address, log2);
      },
      undefined,
      "unlikely",
    );
    f.if(eqz(call(own.walk, address, i32(ACCESS.read))), () => f.return(i64(0)));
    const physical = f.let(get64("walkAddress"));
    f.if(
      not(isRam(b, physical)),
      () => {
        loadDevice(f, b, own, { address, physical, log2 });
      },
      undefined,
      "unlikely",
    );
    const page = f.let(pageOf(physical));
    f.if(eqz(call(own.checkPage, page, i32(ACCESS.read), i32(0))), () => f.return(i64(0)));
    f.call(own.commitWalk);
    f.if(
      hasFlag(flagsOf(b, page), PAGE_FLAG.watched),
      () => f.call(b.host.watch, wrap(physical), sizeOf(log2), i32(0)),
      () => {
        protectTables(f, b, mmu, address);
        fillData(f, b, own, { address, page, writable: false });
      },
    );
    f.return(loadSized(linearOf(b, physical), log2));
  });
}

/** A load whose bytes lie in two pages: both are probed, then read byte by byte. */
function loadAcross(f: Fn, b: HartBuilder, own: Internal, address: I64, log2: I32): void {
  const halves = probeTwoPages(f, b, own, { address, log2, access: ACCESS.read });
  const value = f.let(i64(0));
  const index = f.let(sizeOf(log2));
  f.while(nez(index), () => {
    f.set(index, sub(index, i32(1)));
    const at = ifElse(
      ltU(index, halves.split),
      add(halves.first, index),
      add(halves.second, sub(index, halves.split)),
    );
    f.set(value, or(shl(value, i64(8)), load64From8U(at)));
  });
  f.return(value);
}

/** Linear addresses of the two parts of an access, and how many bytes the first has. */
interface TwoPages {
  readonly first: Local<"i32">;
  readonly second: Local<"i32">;
  readonly split: Local<"i32">;
}

/** Translates both pages and commits A and D bits of both; returns 0 from `f` where it cannot. */
function probeTwoPages(
  f: Fn,
  b: HartBuilder,
  own: Internal,
  at: { readonly address: I64; readonly log2: I32; readonly access: number },
): TwoPages {
  const access = i32(at.access);
  const fail = (): void => f.return(at.access === ACCESS.read ? i64(0) : undefined);
  const second = f.let(and(add(at.address, i64(7)), i64(PAGE_MASK)));
  const split = f.let(wrap(sub(second, at.address)));
  const commitFirst = (): void => {
    f.call(own.walk, at.address, access);
    f.call(own.commitWalk);
  };
  // Page faults of either page come before access faults of either. Where the second page
  // faults, the first one has been walked: its A and D bits are set.
  f.if(eqz(call(own.walk, at.address, access)), fail);
  const a = f.let(get64("walkAddress"));
  f.if(eqz(call(own.walk, second, access)), () => {
    f.if(eq(get32("exit"), i32(EXIT.trap)), () => {
      commitFirst();
      f.call(own.walk, second, access);
    });
    fail();
  });
  const z = f.let(get64("walkAddress"));
  for (const [address, here] of [
    [at.address, a],
    [second, z],
  ] as const) {
    // A misaligned access to a device is an access fault.
    f.if(not(isRam(b, here)), () => {
      commitFirst();
      f.call(own.walk, second, access);
      f.call(own.accessFault, address, access);
      fail();
    });
  }
  for (const here of [a, z]) {
    const flags = flagsOf(b, pageOf(here));
    const table = at.access === ACCESS.write ? hasFlag(flags, PAGE_FLAG.table) : i32(0);
    f.if(eqz(call(own.checkPage, pageOf(here), access, table)), fail);
  }
  commitFirst();
  f.call(own.walk, second, access);
  f.call(own.commitWalk);
  for (const [here, length] of [
    [a, split],
    [z, sub(sizeOf(at.log2), split)],
  ] as const) {
    f.if(hasFlag(flagsOf(b, pageOf(here)), PAGE_FLAG.watched), () =>
      f.call(b.host.watch, wrap(here), length, i32(at.access)),
    );
  }
  return { first: f.let(linearOf(b, a)), second: f.let(linearOf(b, z)), split };
}

interface DeviceAccess {
  readonly address: I64;
  readonly physical: I64;
  readonly log2: I32;
}

/** Common start of device accesses: alignment, reachability, running alone. */
function deviceAccess(
  f: Fn,
  own: Internal,
  at: DeviceAccess,
  access: number,
  fail: () => void,
): void {
  const fault = (): void => {
    f.call(own.accessFault, at.address, i32(access));
    fail();
  };
  f.if(either(misaligned(at.address, at.log2), nez(shrU(at.physical, i64(32)))), fault);
  f.if(eqz(get32("stepping")), () => {
    set32(f, "exit", i32(EXIT.step));
    fail();
  });
}

/** Turns what the host answered into an exit; falls through where the access was done. */
function deviceResult(
  f: Fn,
  own: Internal,
  at: DeviceAccess,
  status: I32,
  access: number,
  fail: () => void,
): void {
  const result = f.let(status);
  f.if(eq(result, i32(MMIO.accessFault)), () => {
    f.call(own.accessFault, at.address, i32(access));
    fail();
  });
  f.if(eq(result, i32(MMIO.missing)), () => {
    set32(f, "exit", i32(EXIT.missingDevice));
    fail();
  });
  f.call(own.commitWalk);
}

function loadDevice(f: Fn, b: HartBuilder, own: Internal, at: DeviceAccess): void {
  const fail = (): void => f.return(i64(0));
  deviceAccess(f, own, at, ACCESS.read, fail);
  const status = call(b.host.mmioRead as MmioRef, wrap(at.physical), sizeOf(at.log2));
  deviceResult(f, own, at, status, ACCESS.read, fail);
  f.return(get64("mmioValue"));
}

type MmioRef = FuncRef<readonly ["i32", "i32"], "i32">;

function defineStore(b: HartBuilder, mmu: MmuFunctions, own: Internal): void {
  b.m.define(mmu.storeSlow, (f, address, value, log2) => {
    f.call(own.makeRoom);
    f.if(
      crosses(address, log2),
      () => {
        storeAcross(f, b, own, address, value, log2);
      },
      undefined,
      "unlikely",
    );
    f.if(eqz(call(own.walk, address, i32(ACCESS.write))), () => f.return());
    const physical = f.let(get64("walkAddress"));
    f.if(
      not(isRam(b, physical)),
      () => {
        storeDevice(f, b, own, { address, physical, log2 }, value);
      },
      undefined,
      "unlikely",
    );
    const page = f.let(pageOf(physical));
    const linear = f.let(linearOf(b, physical));
    const table = f.let(i32(0));
    const changed = f.let(NO_PAGE);
    f.if(
      hasFlag(flagsOf(b, page), PAGE_FLAG.table),
      () => storeIntoTable(f, b, mmu, { page, linear, log2, table, changed }),
      undefined,
      "unlikely",
    );
    f.if(eqz(call(own.checkPage, page, i32(ACCESS.write), table)), () => f.return());
    f.if(ne(changed, NO_PAGE), () => f.call(own.dropPage, changed));
    f.call(own.commitWalk);
    f.call(own.touchWrite, page);
    // The walk may just have made this very page a page table.
    protectTables(f, b, mmu, address);
    f.if(
      eqz(flagsOf(b, page)),
      () => fillData(f, b, own, { address, page, writable: true }),
      () => afterStore(f, b, own, { page, physical, log2, table }),
    );
    storeSized(f, linear, value, log2);
  });
}

/** No page begins at an odd address. */
const NO_PAGE = i64(-1);

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
function storeIntoTable(f: Fn, b: HartBuilder, mmu: MmuFunctions, at: TableStore): void {
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

function storeAcross(
  f: Fn,
  b: HartBuilder,
  own: Internal,
  address: I64,
  value: I64,
  log2: I32,
): void {
  const halves = probeTwoPages(f, b, own, { address, log2, access: ACCESS.write });
  const index = f.let(i32(0));
  const rest = f.let(value);
  const pages: readonly [I32, I32][] = [
    [halves.first, i32(0)],
    [halves.second, i32(0)],
  ];
  for (const [linear] of pages) {
    const page = f.let(shrU(sub(linear, i32(b.map.ram)), i32(12)));
    f.call(own.touchWrite, page);
    const flags = f.let(flagsOf(b, page));
    f.if(hasFlag(flags, PAGE_FLAG.table), () => set32(f, "dropTlb", i32(1)));
    f.if(hasFlag(flags, PAGE_FLAG.code), () => f.call(own.staleCode, page));
  }
  f.while(ltU(index, sizeOf(log2)), () => {
    const at = ifElse(
      ltU(index, halves.split),
      add(halves.first, index),
      add(halves.second, sub(index, halves.split)),
    );
    f.store8(at, rest);
    f.set(rest, shrU(rest, i64(8)));
    f.set(index, add(index, i32(1)));
  });
  f.return();
}

function storeDevice(f: Fn, b: HartBuilder, own: Internal, at: DeviceAccess, value: I64): void {
  const fail = (): void => f.return();
  deviceAccess(f, own, at, ACCESS.write, fail);
  set64(f, "mmioValue", value);
  const status = call(b.host.mmioWrite as MmioRef, wrap(at.physical), sizeOf(at.log2));
  deviceResult(f, own, at, status, ACCESS.write, fail);
  f.return();
}

/** AMOs and SC: naturally aligned, in RAM, readable and writable; nothing is written yet. */
function defineUpdate(b: HartBuilder, mmu: MmuFunctions, own: Internal): void {
  b.m.define(mmu.loadForUpdateSlow, (f, address, log2) => {
    f.if(misaligned(address, log2), () => {
      set64(f, "trapCause", i64(CAUSE.storeMisaligned));
      set64(f, "trapValue", address);
      set32(f, "exit", i32(EXIT.trap));
      f.return(i64(0));
    });
    f.if(eqz(call(own.walk, address, i32(ACCESS.write))), () => f.return(i64(0)));
    const physical = f.let(get64("walkAddress"));
    f.if(not(isRam(b, physical)), () => {
      f.call(own.accessFault, address, i32(ACCESS.write));
      f.return(i64(0));
    });
    const page = f.let(pageOf(physical));
    const linear = f.let(linearOf(b, physical));
    const table = ifElse(
      hasFlag(flagsOf(b, page), PAGE_FLAG.table),
      touchesValidEntry(linear, log2),
      i32(0),
    );
    f.if(eqz(call(own.checkPage, page, i32(ACCESS.write), table)), () => f.return(i64(0)));
    f.if(hasFlag(flagsOf(b, page), PAGE_FLAG.watched), () =>
      f.call(b.host.watch, wrap(physical), sizeOf(log2), i32(0)),
    );
    f.return(loadSized(linear, log2));
  });
}

/** Zicboz: the 64-byte block that holds `address`, as eight stores of zero. */
function defineZeroBlock(b: HartBuilder, mmu: MmuFunctions, own: Internal): void {
  b.m.define(mmu.zeroBlock, (f, address) => {
    const denies = (name: "menvcfg" | "senvcfg"): I32 => eqz(and(get64(name), i64(ENVCFG.CBZE)));
    const denied = either(
      both(ltU(get32("mode"), i32(3)), denies("menvcfg")),
      both(eqz(get32("mode")), denies("senvcfg")),
    );
    f.if(denied, () => {
      set32(f, "exit", i32(EXIT.illegal));
      f.return();
    });
    const block = f.let(and(address, i64(-64)));
    const entry = f.let(
      add(get32("dataTlb"), tlbOffset(wrap(block), DTLB_ENTRIES, DTLB_ENTRY.shift)),
    );
    const hits = eq(load64(entry, DTLB_ENTRY.writeTag), and(block, i64(PAGE_MASK)));
    const zero = (): void => {
      const at = f.let(add(wrap(block), load32(entry, DTLB_ENTRY.addend)));
      f.memoryFill(at, i32(0), i32(64));
      f.return();
    };
    f.if(hits, zero, undefined, "likely");
    // A fault reports the address that the instruction names, not the block's.
    f.if(eqz(call(own.walk, address, i32(ACCESS.write))), () => f.return());
    f.if(not(isRam(b, get64("walkAddress"))), () => {
      f.call(own.accessFault, address, i32(ACCESS.write));
      f.return();
    });
    const offset = f.let(i64(0));
    f.while(leU(offset, i64(56)), () => {
      f.call(mmu.storeSlow, add(block, offset), i64(0), i32(3));
      f.if(nez(get32("exit")), () => f.return());
      f.if(hits, zero);
      f.set(offset, add(offset, i64(8)));
    });
  });
}

// ---- fetch ----------

type AllocateRef = FuncRef<readonly ["i32"], "i32">;

function defineFetch(b: HartBuilder, mmu: MmuFunctions, own: Internal): void {
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
    f.if(eqz(call(own.walk, pc, i32(ACCESS.fetch))), () => f.return(i32(0)));
    const physical = f.let(get64("walkAddress"));
    f.if(not(isRam(b, physical)), () => {
      f.call(own.accessFault, pc, i32(ACCESS.fetch));
      f.return(i32(0));
    });
    const page = f.let(pageOf(physical));
    f.if(hasFlag(flagsOf(b, page), PAGE_FLAG.absent), () => {
      missing(f, page);
      f.return(i32(0));
    });
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
