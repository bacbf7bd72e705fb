/**
 * The vocabulary of `Machine`: what it is made of, what goes in, why it stops.
 */
import type { Brand } from "@dejavm/base";
import type { ConsolePort, MissingBlock } from "./device/device.ts";

/** A place in an execution: instructions retired plus traps taken since power-on. */
export type Position = Brand<bigint, "Position">;
/** Virtual time in ticks of 100 ns since power-on. */
export type Ticks = Brand<bigint, "Ticks">;

/**
 * A place in an execution. The position says it all, except where the hart waits: then virtual
 * time passes and the position stands still.
 */
export interface Place {
  readonly position: Position;
  /** Virtual time, where the hart waits or has waited at this position; else undefined. */
  readonly idleTicks: Ticks | undefined;
}

/** A position; `value` is 0 .. 2^64-1. */
export function position(value: bigint): Position {
  return value as Position;
}

/** A virtual time; `value` is 0 .. 2^64-1. */
export function ticks(value: bigint): Ticks {
  return value as Ticks;
}

/** What the hart executes first. */
export type BootConfig =
  | {
      /** A Linux `Image` started in S-mode by the built-in SBI. */
      readonly kind: "linux";
      readonly kernel: Uint8Array;
      readonly initrd?: Uint8Array;
      readonly commandLine: string;
    }
  | {
      /** An M-mode program (ELF or flat binary at the start of RAM) instead of the built-in SBI. */
      readonly kind: "firmware";
      readonly image: Uint8Array;
      /** A kernel for the firmware to start, placed as QEMU's `virt` board does. */
      readonly kernel?: Uint8Array;
      readonly initrd?: Uint8Array;
      readonly commandLine: string;
    };

/** A virtio disk as the guest sees it. */
export interface DiskConfig {
  /** A multiple of 512. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** What the guest reads as the disk's serial number, at most 20 ASCII characters. */
  readonly serial: string;
}

/** A virtio network card as the guest sees it. */
export interface NetConfig {
  /** Six bytes. */
  readonly mac: Uint8Array;
}

/** Everything that a machine is made from; two machines with equal configurations are equal. */
export interface MachineConfig {
  /** RAM in bytes: a multiple of 2 MiB within MIN_MEMORY_BYTES .. MAX_MEMORY_BYTES. */
  readonly memoryBytes: number;
  readonly boot: BootConfig;
  readonly disks: readonly DiskConfig[];
  readonly net: NetConfig | undefined;
  /** 32 bytes from the host's generator: seeds the guest's entropy device and the device tree. */
  readonly entropySeed: Uint8Array;
  /** Wall time at power-on, nanoseconds since 1970-01-01 UTC. */
  readonly wallTimeNs: bigint;
}

/**
 * Something that enters from outside. It happens at the machine's present position; `ticks`, for
 * an idle machine, is the virtual time at which it happens (now <= ticks <= idle deadline).
 */
export type InputEvent =
  | { readonly kind: "console"; readonly port: ConsolePort; readonly bytes: Uint8Array }
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  | {
      readonly kind: "clock";
      /** Ticks per 2^32 positions from now on. */
      readonly rate: bigint;
      /** Ticks to step forward at once, 0 or more. */
      readonly step: bigint;
    }
  | { readonly kind: "entropy"; readonly seed: Uint8Array }
  | { readonly kind: "power-button" }
  | { readonly kind: "link"; readonly up: boolean };

/** Why `run` came back. */
export type StopReason =
  /** The position asked for is reached. */
  | { readonly kind: "budget" }
  /**
   * The hart waits for an interrupt. `deadline` is when its timer fires; undefined: never. It
   * lies after the virtual time up to which `run` was allowed to skip.
   */
  | { readonly kind: "idle"; readonly deadline: Ticks | undefined }
  | { readonly kind: "missing-page"; readonly pages: readonly number[] }
  | { readonly kind: "missing-block"; readonly blocks: readonly MissingBlock[] }
  /** The instruction at `pc` has not been executed; running again executes it. */
  | { readonly kind: "breakpoint"; readonly pc: bigint }
  /** The access has happened; `address` is guest physical. */
  | { readonly kind: "watchpoint"; readonly address: number; readonly write: boolean }
  /** The guest switched itself off; `status` is what it reported, 0 for success. */
  | { readonly kind: "power-off"; readonly status: number }
  /** The guest asked for a reset; the machine does not reset itself. */
  | { readonly kind: "reset" };

/** What `input` answers: taken, or what must be supplied first (then nothing has happened). */
export type InputResult =
  | { readonly kind: "accepted" }
  | { readonly kind: "missing-page"; readonly pages: readonly number[] }
  | { readonly kind: "missing-block"; readonly blocks: readonly MissingBlock[] };
