/**
 * Loads and stores outside RAM.
 */

import { either, eq, eqz, type I32, type I64, i32, i64, nez, shrU, wrap } from "../../wasm/expr.ts";
import { call, type Fn, type FuncRef } from "../../wasm/module.ts";
import { get32, get64, type HartBuilder, MMIO, set32, set64 } from "../builder.ts";
import { misaligned, sizeOf } from "../guest-access.ts";
import { EXIT } from "../layout.ts";
import { ACCESS, type MmuInternals } from "./functions.ts";

interface DeviceAccess {
  readonly address: I64;
  readonly physical: I64;
  readonly log2: I32;
}

/** Common start of device accesses: alignment, reachability, running alone. */
function deviceAccess(
  f: Fn,
  own: MmuInternals,
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
  own: MmuInternals,
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

/** A load from a device register; returns from `f`. */
export function loadDevice(f: Fn, b: HartBuilder, own: MmuInternals, at: DeviceAccess): void {
  const fail = (): void => f.return(i64(0));
  deviceAccess(f, own, at, ACCESS.read, fail);
  const status = call(b.host.mmioRead as MmioRef, wrap(at.physical), sizeOf(at.log2));
  deviceResult(f, own, at, status, ACCESS.read, fail);
  f.return(get64("mmioValue"));
}

type MmioRef = FuncRef<readonly ["i32", "i32"], "i32">;

/** A store into a device register; returns from `f`. */
export function storeDevice(
  f: Fn,
  b: HartBuilder,
  own: MmuInternals,
  at: DeviceAccess,
  value: I64,
): void {
  const fail = (): void => f.return();
  deviceAccess(f, own, at, ACCESS.write, fail);
  set64(f, "mmioValue", value);
  const status = call(b.host.mmioWrite as MmioRef, wrap(at.physical), sizeOf(at.log2));
  deviceResult(f, own, at, status, ACCESS.write, fail);
  f.return();
}
