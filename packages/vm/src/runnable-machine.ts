/** What the loops need of a machine, which `Machine` of @dejavm/machine has, and of its disks. */
import type {
  Checkpoint,
  ChunkEntry,
  ConsolePort,
  DirtyBlock,
  InputEvent,
  InputResult,
  MissingBlock,
  Output,
  OverlayChunkName,
  Place,
  Position,
  Ram,
  State,
  StopReason,
  Ticks,
} from "@dejavm/machine";

/** What a checkpoint under way is to its reader; see `Checkpoint`. */
export type OpenCheckpoint = Pick<
  Checkpoint,
  "state" | "epoch" | "isAbandoned" | "savedPages" | "takePage" | "close"
>;

/** Dirty tracking and first touches; see `Ram`. */
export type TrackedRam = Pick<
  Ram,
  | "beginEpoch"
  | "dirtySince"
  | "countDirtySince"
  | "recordTouches"
  | "takeTouched"
  | "stopRecordingTouches"
>;

/** See the head of this file, and `Machine` for what each member does. */
export interface RunnableMachine {
  readonly position: Position;
  readonly ticks: Ticks;
  readonly place: Place;
  /** Instructions retired since the first power-on. */
  readonly instructions: bigint;
  readonly restarts: number;
  readonly wallTimeNs: bigint;
  run(until: Position, skipIdleUntil: Ticks, pauseAtFrame?: boolean): StopReason;
  passIdle(until: Ticks): void;
  input(event: InputEvent, at?: Ticks): InputResult;
  takeOutputs(): readonly { readonly position: Position; readonly output: Output }[];
  consoleRoom(port: ConsolePort): number;
  readonly pageCount: number;
  readonly ram: TrackedRam;
  readPage(page: number): Uint8Array;
  isZeroPage(page: number): boolean;
  supplyBlock(block: MissingBlock, bytes: Uint8Array): void;
  takeDirtyBlocks(): readonly DirtyBlock[];
  checkpoint(options: { readonly maxSavedPages: number }): OpenCheckpoint;
  save(): State;
  digest(): string;
  prepareDigest(maxPages: number): boolean;
}

/** A machine whose RAM comes bit by bit; see `Machine`. */
export interface RestorableMachine extends RunnableMachine {
  readonly isOff: boolean;
  readonly canBoot: boolean;
  switchOn(): void;
  readonly absentPages: number;
  isAbsentPage(page: number): boolean;
  supplyPage(page: number, bytes: Uint8Array | undefined): void;
  zeroAbsentPages(): void;
  leap(state: State, pages: Iterable<readonly [number, Uint8Array | undefined]>): void;
  overlayChunks(): readonly OverlayChunkName[];
}

/** A checkpoint that later ones can be relative to: what was written from there on. */
export interface CheckpointBase {
  readonly id: number;
  readonly epoch: number;
  readonly generation: number;
}

/** Keeps the disks' contents for a machine: immutable bases and the chunks that it changed. */
export interface BlockStore {
  /**
   * 65,536 bytes as the guest would read them, zero beyond the disk's end; undefined for a chunk
   * that `expect` named and nobody has written yet. They are the caller's: the machine keeps them.
   */
  read(block: MissingBlock): Uint8Array | undefined;
  write(block: DirtyBlock): void;
  /** The content of an expected chunk, as it was all the time; others are left alone. */
  supply(chunk: DirtyBlock): void;
  /** Whether the block lies within its disk. */
  holds(block: MissingBlock): boolean;
  /** These chunks differ from the base and come later, by `write`; others may be forgotten. */
  expect(blocks: readonly MissingBlock[]): void;
  /** How many chunks are expected. */
  readonly expectedCount: number;
  /** Every chunk ever written, ascending by disk and chunk; the bytes are the caller's. */
  overlay(): Iterable<ChunkEntry>;
  /** Ends a generation of writes; gives the number of the next. */
  nextGeneration(): number;
  /** Chunks written in that generation or later, ascending by disk and chunk. */
  writtenSince(generation: number): readonly MissingBlock[];
  /** The contents of this moment stay readable, whatever is written, until it is closed. */
  hold(): HeldChunks;
}

/** The disks' overlays as they were at one moment. */
export interface HeldChunks {
  /** Undefined: the chunk was all zero. Must have been in the overlay then. */
  read(block: MissingBlock): Uint8Array | undefined;
  close(): void;
}
