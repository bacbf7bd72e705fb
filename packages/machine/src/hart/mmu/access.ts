/**
 * Checks in front of data accesses: what stops the machine or must run alone, and accesses whose
 * bytes lie in two pages.
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
  sub,
  wrap,
} from "../../wasm/expr.ts";
import { call, type Fn, type Local, not } from "../../wasm/module.ts";
import { get32, get64, type HartBuilder, set32 } from "../builder.ts";
import { flagsOf, hasFlag, isRam, linearOf, pageOf, sizeOf } from "../guest-access.ts";
import { EXIT, PAGE_FLAG } from "../layout.ts";
import { stopIfAbsent } from "./fault.ts";
import { ACCESS, type MmuInternals, PAGE_MASK } from "./functions.ts";

/**
 * (page, access, valid entries touched): whether the access may happen now. Absent pages stop
 * the machine; pages whose change has consequences want the instruction to run alone.
 */
export function defineCheckPage(b: HartBuilder, own: MmuInternals): void {
  b.m.define(own.checkPage, (f, page, access, changesTable) => {
    const flags = f.let(flagsOf(b, page));
    f.if(eqz(flags), () => f.return(i32(1)));
    stopIfAbsent(f, b, page);
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

/** Linear addresses of the two parts of an access, and how many bytes the first has. */
interface TwoPages {
  readonly first: Local<"i32">;
  readonly second: Local<"i32">;
  readonly split: Local<"i32">;
}

/** Translates both pages and commits A and D bits of both; returns 0 from `f` where it cannot. */
export function probeTwoPages(
  f: Fn,
  b: HartBuilder,
  own: MmuInternals,
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
