/**
 * The page walk (privileged manual, "Sv39", "Sv48"): translation, permissions, A and D bits.
 */

import {
  add,
  and,
  both,
  either,
  eq,
  eqz,
  extendU,
  type I32,
  type I64,
  i32,
  i64,
  ifElse,
  load64,
  ne,
  nez,
  or,
  shl,
  shrS,
  shrU,
  sub,
  wrap,
} from "../../wasm/expr.ts";
import { type Fn, not } from "../../wasm/module.ts";
import { get32, get64, type HartBuilder, set32, set64 } from "../builder.ts";
import { ENVCFG, MSTATUS, SATP_SV48 } from "../csr.ts";
import { dataPrivilege, flagsOf, hasFlag, isRam, linearOf, pageOf } from "../guest-access.ts";
import { EXIT, PAGE_FLAG } from "../layout.ts";
import { stopIfAbsent } from "./fault.ts";
import { ACCESS, type MmuInternals, PAGE_MASK, PPN_MASK, PTE } from "./functions.ts";

/** The walk, and writing back the A and D bits that it asked for. */
export function defineWalk(b: HartBuilder, own: MmuInternals): void {
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
        stopIfAbsent(f, b, page);
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
