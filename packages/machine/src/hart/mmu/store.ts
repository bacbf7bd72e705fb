/**
 * Stores that miss the TLB, and cbo.zero.
 */

import {
  add,
  and,
  both,
  either,
  eq,
  eqz,
  type I32,
  type I64,
  i32,
  i64,
  ifElse,
  leU,
  load32,
  load64,
  ltU,
  ne,
  nez,
  shrU,
  sub,
  wrap,
} from "../../wasm/expr.ts";
import { call, type Fn, not } from "../../wasm/module.ts";
import { get32, get64, type HartBuilder, set32, tlbOffset } from "../builder.ts";
import { ENVCFG } from "../csr.ts";
import {
  crosses,
  flagsOf,
  hasFlag,
  isRam,
  linearOf,
  pageOf,
  sizeOf,
  storeSized,
} from "../guest-access.ts";
import { DTLB_ENTRIES, DTLB_ENTRY, EXIT, PAGE_FLAG } from "../layout.ts";
import { probeTwoPages } from "./access.ts";
import { storeDevice } from "./device-access.ts";
import { ACCESS, type MmuFunctions, type MmuInternals, PAGE_MASK } from "./functions.ts";
import { NO_PAGE, protectTables, storeIntoTable } from "./page-table.ts";
import { fillData } from "./tlb.ts";

/** What the present instruction, running alone, must do once it is complete. */
function afterStore(
  f: Fn,
  b: HartBuilder,
  own: MmuInternals,
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

/** A store to any kind of address, with all its consequences. */
export function defineStore(b: HartBuilder, mmu: MmuFunctions, own: MmuInternals): void {
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

function storeAcross(
  f: Fn,
  b: HartBuilder,
  own: MmuInternals,
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

/** Zicboz: the 64-byte block that holds `address`, as eight stores of zero. */
export function defineZeroBlock(b: HartBuilder, mmu: MmuFunctions, own: MmuInternals): void {
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
