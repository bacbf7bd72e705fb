/**
 * The built-in firmware: answers the `ecall`s of a kernel in S-mode (RISC-V SBI 2.0). One hart,
 * number 0. Remote fences do nothing, because the machine's translations always equal what a walk
 * would give and its translated code what memory holds.
 */
import type { GuestMemory, Missing, OutputSink } from "../device/device.ts";
import {
  BASE,
  DBCN,
  EXTENSION,
  HSM,
  HSM_STARTED,
  IMPLEMENTATION_ID,
  IMPLEMENTATION_VERSION,
  LEGACY,
  REASON,
  RESET,
  RFENCE_FIRST_HYPERVISOR,
  SBI_ALREADY_AVAILABLE,
  SBI_FAILED,
  SBI_INVALID_PARAM,
  SBI_NOT_SUPPORTED,
  SBI_SUCCESS,
  SPEC_VERSION,
  SRST_RESET,
  SUSPEND_NON_RETENTIVE,
  SUSPEND_RETENTIVE,
} from "./sbi-wire.ts";

/** Bytes that one debug console call moves at most; it then returns a smaller count. */
export const SBI_CONSOLE_BYTES = 65_536;

/** An `ecall` from S-mode. */
export interface SbiCall {
  /** a7, its low 32 bits. */
  readonly extension: number;
  /** a6, its low 32 bits. */
  readonly function: number;
  /** a0 .. a5, unsigned. */
  readonly args: readonly bigint[];
}

/** What the firmware may do to the machine. */
export interface SbiHost {
  readonly memory: GuestMemory;
  readonly output: OutputSink;
  /** The CSRs of the same names. */
  readonly identity: {
    readonly mvendorid: bigint;
    readonly marchid: bigint;
    readonly mimpid: bigint;
  };
  /** Sets the supervisor timer to `ticks` (unsigned) and clears its pending interrupt. */
  setTimer(ticks: bigint): void;
  /** Sets or clears the supervisor software interrupt (`mip.SSIP`). */
  setSoftwareInterrupt(pending: boolean): void;
  /** Console input that waits; `take` removes up to `maxBytes` of it. */
  readonly console: { readonly queued: number; take(maxBytes: number): Uint8Array };
}

/** What becomes of a call. Except with `missing`, the `ecall` has been executed. */
export type SbiResult =
  /** a0 and a1; the error is sign-extended. */
  | { readonly kind: "return"; readonly error: number; readonly value: bigint }
  /** A legacy call: a0 only, a1 keeps its value. */
  | { readonly kind: "legacy"; readonly a0: bigint }
  /** Return success, but only once an interrupt is pending, as `wfi` does. */
  | { readonly kind: "wait" }
  /** Nothing has happened; make the same call again once this is there. */
  | { readonly kind: "missing"; readonly missing: Missing }
  | { readonly kind: "power-off"; readonly status: number }
  | { readonly kind: "reset" };

/** Carries out one call. */
export function handleSbi(call: SbiCall, host: SbiHost): SbiResult {
  switch (call.extension) {
    case EXTENSION.base:
      return base(call, host);
    case EXTENSION.time:
      if (call.function !== 0) return failure(SBI_NOT_SUPPORTED);
      host.setTimer(arg(call, 0));
      return success();
    case EXTENSION.ipi:
      return sendIpi(call, host);
    case EXTENSION.rfence:
      return remoteFence(call);
    case EXTENSION.hsm:
      return hartState(call);
    case EXTENSION.srst:
      return systemReset(call);
    case EXTENSION.dbcn:
      return debugConsole(call, host);
    default:
      return legacy(call, host);
  }
}

function base(call: SbiCall, host: SbiHost): SbiResult {
  switch (call.function) {
    case BASE.specVersion:
      return success(SPEC_VERSION);
    case BASE.implementationId:
      return success(IMPLEMENTATION_ID);
    case BASE.implementationVersion:
      return success(IMPLEMENTATION_VERSION);
    case BASE.probe:
      return success(PROBEABLE.has(arg(call, 0)) ? 1n : 0n);
    case BASE.vendorId:
      return success(host.identity.mvendorid);
    case BASE.architectureId:
      return success(host.identity.marchid);
    case BASE.machineImplementationId:
      return success(host.identity.mimpid);
    default:
      return failure(SBI_NOT_SUPPORTED);
  }
}

const PROBEABLE: ReadonlySet<bigint> = new Set(
  [...Object.values(EXTENSION), ...Object.values(LEGACY)].map(BigInt),
);

function sendIpi(call: SbiCall, host: SbiHost): SbiResult {
  if (call.function !== 0) return failure(SBI_NOT_SUPPORTED);
  const harts = selectHarts(arg(call, 0), arg(call, 1));
  if (harts === "invalid") return failure(SBI_INVALID_PARAM);
  if (harts === "hart 0") host.setSoftwareInterrupt(true);
  return success();
}

function remoteFence(call: SbiCall): SbiResult {
  if (call.function >= RFENCE_FIRST_HYPERVISOR) return failure(SBI_NOT_SUPPORTED);
  const harts = selectHarts(arg(call, 0), arg(call, 1));
  return harts === "invalid" ? failure(SBI_INVALID_PARAM) : success();
}

/** A mask of harts from number `base` on; a base of all ones means every hart (section 3.1). */
function selectHarts(mask: bigint, base: bigint): "hart 0" | "none" | "invalid" {
  if (base === ALL_ONES) return "hart 0";
  if (mask === 0n) return "none";
  return base === 0n && mask === 1n ? "hart 0" : "invalid";
}

const ALL_ONES = (1n << 64n) - 1n;

/** The only hart is always started; stopping it would be for ever, so that fails. */
function hartState(call: SbiCall): SbiResult {
  const hart = arg(call, 0);
  switch (call.function) {
    case HSM.start:
      return failure(hart === 0n ? SBI_ALREADY_AVAILABLE : SBI_INVALID_PARAM);
    case HSM.stop:
      return failure(SBI_FAILED);
    case HSM.status:
      return hart === 0n ? success(HSM_STARTED) : failure(SBI_INVALID_PARAM);
    case HSM.suspend: {
      const type = BigInt.asUintN(32, hart);
      if (type === SUSPEND_RETENTIVE) return { kind: "wait" };
      return failure(type === SUSPEND_NON_RETENTIVE ? SBI_NOT_SUPPORTED : SBI_INVALID_PARAM);
    }
    default:
      return failure(SBI_NOT_SUPPORTED);
  }
}

function systemReset(call: SbiCall): SbiResult {
  if (call.function !== SRST_RESET) return failure(SBI_NOT_SUPPORTED);
  const type = BigInt.asUintN(32, arg(call, 0));
  const reason = BigInt.asUintN(32, arg(call, 1));
  if (reason !== REASON.none && reason !== REASON.systemFailure) {
    return failure(SBI_INVALID_PARAM);
  }
  if (type === RESET.shutdown) {
    return { kind: "power-off", status: reason === REASON.systemFailure ? 1 : 0 };
  }
  if (type === RESET.coldReboot || type === RESET.warmReboot) return { kind: "reset" };
  return failure(SBI_INVALID_PARAM);
}

function debugConsole(call: SbiCall, host: SbiHost): SbiResult {
  if (call.function === DBCN.writeByte) {
    print(host, Uint8Array.of(Number(arg(call, 0) & 0xffn)));
    return success();
  }
  if (call.function !== DBCN.write && call.function !== DBCN.read) {
    return failure(SBI_NOT_SUPPORTED);
  }
  const reading = call.function === DBCN.read;
  const wanted = Math.min(Number(arg(call, 0)), SBI_CONSOLE_BYTES);
  const length = reading ? Math.min(wanted, host.console.queued) : wanted;
  const address = Number(arg(call, 1));
  const missing = new Set<number>();
  if (arg(call, 2) !== 0n || !host.memory.probe(address, length, missing)) {
    return failure(SBI_INVALID_PARAM);
  }
  if (missing.size > 0) return { kind: "missing", missing: { pages: [...missing], blocks: [] } };
  if (length > 0) {
    if (reading) host.memory.write(address, host.console.take(length));
    else print(host, host.memory.view(address, length).slice());
  }
  return success(BigInt(length));
}

function legacy(call: SbiCall, host: SbiHost): SbiResult {
  switch (call.extension) {
    case LEGACY.setTimer:
      host.setTimer(arg(call, 0));
      return LEGACY_DONE;
    case LEGACY.putCharacter:
      print(host, Uint8Array.of(Number(arg(call, 0) & 0xffn)));
      return LEGACY_DONE;
    case LEGACY.getCharacter:
      return { kind: "legacy", a0: BigInt(host.console.take(1)[0] ?? -1) };
    case LEGACY.clearIpi:
      host.setSoftwareInterrupt(false);
      return LEGACY_DONE;
    case LEGACY.sendIpi:
      // The mask is behind a virtual address; with one hart it can only mean this one.
      host.setSoftwareInterrupt(true);
      return LEGACY_DONE;
    case LEGACY.fenceI:
    case LEGACY.sfenceVma:
    case LEGACY.sfenceVmaAsid:
      return LEGACY_DONE;
    case LEGACY.shutdown:
      return { kind: "power-off", status: 0 };
    default:
      return failure(SBI_NOT_SUPPORTED);
  }
}

const LEGACY_DONE: SbiResult = { kind: "legacy", a0: 0n };

function success(value = 0n): SbiResult {
  return { kind: "return", error: SBI_SUCCESS, value };
}

function failure(error: number): SbiResult {
  return { kind: "return", error, value: 0n };
}

function print(host: SbiHost, bytes: Uint8Array): void {
  host.output({ kind: "console", port: "uart", bytes });
}

function arg(call: SbiCall, index: number): bigint {
  return call.args[index] ?? 0n;
}
