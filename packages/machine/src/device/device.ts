/**
 * What every device of the machine has in common, and what a device may see of the machine:
 * guest memory (by DMA), an interrupt line, virtual time, a place to put outputs. Devices have no
 * clock, no randomness and no I/O of their own.
 */

/** A value that a snapshot can hold. Objects have named fields; field order carries no meaning. */
export type StateValue =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | readonly StateValue[]
  | { readonly [field: string]: StateValue };

/** Named fields of one stateful part. */
export type State = { readonly [field: string]: StateValue };

/** Width of an MMIO access in bytes. The bus splits 8-byte accesses into two of 4, low first. */
export type AccessWidth = 1 | 2 | 4;

/**
 * What must be supplied before a request can be done. A device that returns one has changed
 * nothing: the same access or input is made again once everything is there.
 */
export interface Missing {
  /** Guest physical page numbers (address / 4096) that are absent. */
  readonly pages: readonly number[];
  /** Disk chunks that are not cached in the machine. */
  readonly blocks: readonly MissingBlock[];
}

/** A disk chunk that the machine needs and does not have. */
export interface MissingBlock {
  /** Index of the disk in the machine's configuration. */
  readonly disk: number;
  /** Chunk number: byte offset / 65,536. */
  readonly chunk: number;
}

/** A memory-mapped device. Offsets count from the start of its region. */
export interface Device {
  /** Unique within a machine; the key of its state in a snapshot: `uart`, `virtio-blk.0`. */
  readonly name: string;
  /** Widths that `read` and `write` take; others are access faults to the guest. */
  readonly widths: readonly AccessWidth[];
  /** Reads a register; the result is unsigned. Registers that do not exist read 0. */
  read(offset: number, width: AccessWidth): number;
  /** Writes a register. What is returned says that nothing happened yet, and why. */
  write(offset: number, width: AccessWidth, value: number): Missing | undefined;
  /** Everything that distinguishes this device from a fresh one. */
  save(): State;
  /** Takes the state that `save` gave; works on a used device as on a fresh one. */
  restore(state: State): void;
}

/** One interrupt input of the interrupt controller; level-triggered. */
export interface IrqLine {
  set(asserted: boolean): void;
}

/**
 * Guest RAM as devices see it. Addresses are guest physical byte addresses. Every access goes
 * through the same door as the hart's: it marks pages dirty, saves old pages for checkpoints,
 * drops translated code. Collect with `probe` first; the others assert that the range is there.
 */
export interface GuestMemory {
  /**
   * Whether the whole range lies in RAM. Absent pages in it are added to `missing`.
   * `length` 0 is always inside.
   */
  probe(address: number, length: number, missing: Set<number>): boolean;
  /** A view, valid until the machine next runs or is written to. */
  view(address: number, length: number): Uint8Array;
  write(address: number, bytes: Uint8Array): void;
  readU16(address: number): number;
  readU32(address: number): number;
  readU64(address: number): bigint;
  writeU16(address: number, value: number): void;
  writeU32(address: number, value: number): void;
}

/** The machine's virtual time. */
export interface VirtualClock {
  /** Ticks of the timebase (10 MHz) since power-on. */
  readonly ticks: bigint;
}

/** Something that left the machine. */
export type Output =
  | { readonly kind: "console"; readonly port: ConsolePort; readonly bytes: Uint8Array }
  | { readonly kind: "frame"; readonly bytes: Uint8Array };

/** `uart` is the 16550 (or SBI debug console); `agent` the command agent's virtio-console port. */
export type ConsolePort = "uart" | "hvc" | "agent";

/** Takes outputs in the order in which they happen. */
export type OutputSink = (output: Output) => void;

/** Guest ticks per second (`timebase-frequency` of QEMU's `virt` board). */
export const TIMEBASE_HZ = 10_000_000;

/** Unit of guest memory: dirty tracking, checkpoints and `missing-page`. */
export const PAGE_BYTES = 4096;
/** Unit of disk overlays, caches and `missing-block`. */
export const CHUNK_BYTES = 65_536;
