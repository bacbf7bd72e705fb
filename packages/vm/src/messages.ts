/**
 * What the thread that owns the terminal, the sockets and the files says to the thread that owns
 * the machine, and what it hears. Plain data: it crosses by structured clone.
 */
import type { ConsolePort, StopReason } from "@dejavm/machine";

/** To the machine's thread. */
export type LoopRequest =
  /** Console input; taken as the guest has room, each part answered by `console-taken`. */
  | { readonly kind: "console"; readonly port: ConsolePort; readonly bytes: Uint8Array }
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  | { readonly kind: "link"; readonly up: boolean }
  | { readonly kind: "power-button" }
  /** So many bytes of outputs have reached their reader. */
  | { readonly kind: "written"; readonly bytes: number }
  /** `thenStop`: end the execution where the snapshot was made, if it could be made. */
  | {
      readonly kind: "save";
      readonly id: number;
      readonly target: SaveTarget;
      readonly thenStop: boolean;
    }
  | { readonly kind: "digest"; readonly id: number }
  | { readonly kind: "stop" };

/** The consoles on which a person can log in. */
export type Keyboard = Exclude<ConsolePort, "agent">;

/** Where a snapshot goes, and what only the asking side knows about the machine. */
export interface SaveTarget {
  readonly path: string;
  /** Names the image in messages; may be empty. */
  readonly image: string;
  /** Console that a keyboard belongs to. */
  readonly keyboard: Keyboard;
  /** sha256 of each disk's base, in order of the disks. */
  readonly diskSha256: readonly Uint8Array[];
}

/** Where the machine is. */
export interface Whereabouts {
  /** Instructions retired plus traps taken since power-on. */
  readonly position: bigint;
  /** Virtual time in ticks of 100 ns. */
  readonly ticks: bigint;
}

/** Why the execution loop came to its end. */
export type EndReason =
  | Extract<StopReason, { kind: "power-off" | "reset" }>
  /** `stop` was asked for at the position given as limit. */
  | { readonly kind: "limit" }
  /** `stop` was asked for elsewhere. */
  | { readonly kind: "stopped" };

/** How an execution ended. */
export interface EndReport extends Whereabouts {
  readonly reason: EndReason;
  /** Instructions retired since the machine was switched on. */
  readonly instructions: bigint;
  /** How often the guest asked for a restart and got it; the rest tells of the last machine. */
  readonly restarts: number;
  /** Positions of the machines before the last restart. */
  readonly positionsBefore: bigint;
  /** Present where the loop was told to give it. */
  readonly digest: string | undefined;
}

/** An error as data. */
export interface ErrorReport {
  /** Undefined: a defect of ours, and `message` is its stack. */
  readonly code: string | undefined;
  readonly message: string;
  readonly hint: string | undefined;
}

/** From the machine's thread. */
export type LoopReport =
  /** Bytes that left a console, in order. */
  | { readonly kind: "console"; readonly port: ConsolePort; readonly bytes: Uint8Array }
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  | { readonly kind: "console-taken"; readonly port: ConsolePort; readonly bytes: number }
  | ({
      readonly kind: "saved";
      readonly id: number;
      readonly fileBytes: number;
      readonly digest: string;
    } & Whereabouts)
  | ({ readonly kind: "digest"; readonly id: number; readonly digest: string } & Whereabouts)
  /** The request `id` failed; the machine goes on. */
  | { readonly kind: "refused"; readonly id: number; readonly error: ErrorReport }
  /** `digest`: of a machine that came from a snapshot. */
  | ({ readonly kind: "started"; readonly digest: string | undefined } & Whereabouts)
  /** The position given as limit is reached: the machine waits for `save`, `digest`, `stop`. */
  | ({ readonly kind: "at-limit" } & Whereabouts)
  | ({ readonly kind: "ended" } & EndReport)
  /** Nothing more comes. */
  | { readonly kind: "failed"; readonly error: ErrorReport };
