/**
 * The vocabulary of a trace: what is written down of a live execution, so that another machine
 * does the same again. Records stand in the order in which they happened.
 */
import type { InputEvent, Place } from "@dejavm/machine";

/** Something entered the machine. Inputs at one place are ordered as their records are. */
export interface InputRecord extends Place {
  readonly kind: "input";
  readonly event: InputEvent;
}

/**
 * The live machine was here, and every input before it is in the trace. A replaying machine may
 * come as far as this, and a recovered one goes live from the last of them on.
 */
export interface FrontierRecord extends Place {
  readonly kind: "frontier";
}

/** `Machine.digest()` of the live machine: RAM, hart, devices, disks, and all outputs so far. */
export interface DigestRecord extends Place {
  readonly kind: "digest";
  /** 32 hex digits, lower case. */
  readonly digest: string;
}

/** Why a stretch of execution ended. */
export type TraceEnd =
  | { readonly kind: "power-off"; readonly status: number }
  /** What follows is another power-on: positions begin again, from a full checkpoint. */
  | { readonly kind: "reset" }
  /** The machine was at rest: its owner stopped. */
  | { readonly kind: "stopped" }
  /** The machine went on elsewhere, in a later epoch. */
  | { readonly kind: "moved" };

/** The stretch of execution ends here; nothing follows within it. */
export interface EndRecord extends Place {
  readonly kind: "end";
  readonly end: TraceEnd;
}

/** One entry of a trace. */
export type TraceRecord = InputRecord | FrontierRecord | DigestRecord | EndRecord;
