/** What the execution loop needs of a machine; `Machine` of @dejavm/machine has it. */
import type {
  ChunkEntry,
  ConsolePort,
  DirtyBlock,
  InputEvent,
  InputResult,
  MissingBlock,
  Output,
  Position,
  State,
  StopReason,
  Ticks,
} from "@dejavm/machine";

/** See the head of this file, and `Machine` for what each member does. */
export interface RunnableMachine {
  readonly position: Position;
  readonly ticks: Ticks;
  /** Instructions retired since power-on. */
  readonly instructions: bigint;
  run(until: Position, skipIdleUntil: Ticks): StopReason;
  input(event: InputEvent, at?: Ticks): InputResult;
  takeOutputs(): readonly { readonly position: Position; readonly output: Output }[];
  consoleRoom(port: ConsolePort): number;
  readonly pageCount: number;
  readPage(page: number): Uint8Array;
  isZeroPage(page: number): boolean;
  supplyBlock(block: MissingBlock, bytes: Uint8Array): void;
  takeDirtyBlocks(): readonly DirtyBlock[];
  save(): State;
  digest(): string;
}

/** Keeps the disks' contents for a machine: immutable bases and the chunks that it changed. */
export interface BlockStore {
  /**
   * 65,536 bytes as the guest would read them, zero beyond the disk's end. They are the caller's:
   * the machine keeps them.
   */
  read(block: MissingBlock): Uint8Array;
  write(block: DirtyBlock): void;
  /** Every chunk ever written, ascending by disk and chunk; the bytes are the caller's. */
  overlay(): Iterable<ChunkEntry>;
}
