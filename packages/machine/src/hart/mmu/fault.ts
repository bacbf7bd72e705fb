/**
 * Accesses that cannot happen: page faults, access faults, absent pages.
 */

import { CAUSE } from "../../isa/instruction.ts";
import { eq, eqz, type I32, i32, i64, ifElse } from "../../wasm/expr.ts";
import type { Fn } from "../../wasm/module.ts";
import { type HartBuilder, set32, set64 } from "../builder.ts";
import { flagsOf, hasFlag } from "../guest-access.ts";
import { EXIT, PAGE_FLAG } from "../layout.ts";
import { ACCESS, type MmuInternals } from "./functions.ts";

/** Page faults and access faults, by kind of access. */
export function defineFaults(b: HartBuilder, own: MmuInternals): void {
  const fault = (
    ref: MmuInternals["pageFault"],
    read: number,
    write: number,
    fetch: number,
  ): void => {
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

/**
 * A page is about to be used: where it is absent the machine stops, and `f` returns 0; its first
 * use is told to who wants to know.
 */
export function stopIfAbsent(f: Fn, b: HartBuilder, page: I32): void {
  const flags = flagsOf(b, page);
  f.if(
    hasFlag(flags, PAGE_FLAG.absent | PAGE_FLAG.untouched),
    () => {
      f.if(hasFlag(flags, PAGE_FLAG.absent), () => {
        set32(f, "missing0", page);
        set32(f, "missingCount", i32(1));
        set32(f, "exit", i32(EXIT.missingPage));
        f.return(i32(0));
      });
      f.call(b.host.firstTouch, page);
    },
    undefined,
    "unlikely",
  );
}
