/**
 * Loads that miss the TLB, and the loads of AMOs and SC.
 */

import { CAUSE } from "../../isa/instruction.ts";
import {
  add,
  eqz,
  type I32,
  type I64,
  i32,
  i64,
  ifElse,
  load64From8U,
  ltU,
  nez,
  or,
  shl,
  sub,
  wrap,
} from "../../wasm/expr.ts";
import { call, type Fn, not } from "../../wasm/module.ts";
import { get64, type HartBuilder, set32, set64 } from "../builder.ts";
import {
  crosses,
  flagsOf,
  hasFlag,
  isRam,
  linearOf,
  loadSized,
  misaligned,
  pageOf,
  sizeOf,
} from "../guest-access.ts";
import { EXIT, PAGE_FLAG } from "../layout.ts";
import { probeTwoPages } from "./access.ts";
import { loadDevice } from "./device-access.ts";
import { ACCESS, type MmuFunctions, type MmuInternals } from "./functions.ts";
import { protectTables, touchesValidEntry } from "./page-table.ts";
import { fillData } from "./tlb.ts";

/** A load of any kind of address. */
export function defineLoad(b: HartBuilder, mmu: MmuFunctions, own: MmuInternals): void {
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
function loadAcross(f: Fn, b: HartBuilder, own: MmuInternals, address: I64, log2: I32): void {
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

/** AMOs and SC: naturally aligned, in RAM, readable and writable; nothing is written yet. */
export function defineUpdate(b: HartBuilder, mmu: MmuFunctions, own: MmuInternals): void {
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
