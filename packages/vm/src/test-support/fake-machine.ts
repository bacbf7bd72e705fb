/**
 * A machine of a few lines for tests of what runs machines. It counts, keeps inputs, and writes a
 * byte for each of them to a page, so that executions can be compared. Set `script` to what the
 * next calls of `run` answer; then it answers `budget`.
 */
import { assert } from "@dejavm/base";
import {
  CHUNK_BYTES,
  type ConsolePort,
  type DirtyBlock,
  type InputEvent,
  type InputResult,
  type MissingBlock,
  type Output,
  type OverlayChunkName,
  PAGE_BYTES,
  type Place,
  type Position,
  position,
  type State,
  type StopReason,
  type Ticks,
  ticks,
} from "@dejavm/machine";
import { ChunkOverlay } from "../chunk-overlay.ts";
import type {
  BlockStore,
  HeldChunks,
  OpenCheckpoint,
  RestorableMachine,
} from "../runnable-machine.ts";

/** See the head of this file. */
export class FakeMachine implements RestorableMachine {
  position: Position = position(0n);
  ticks: Ticks = ticks(10n);
  readonly instructions = 0n;
  readonly restarts = 0;
  readonly script: StopReason[] = [];
  readonly inputs: { event: InputEvent; at: Ticks | undefined }[] = [];
  readonly inputAnswers: InputResult[] = [];
  readonly supplied: MissingBlock[] = [];
  readonly runs: { until: bigint; skipIdleUntil: bigint; pauseAtFrame: boolean }[] = [];
  readonly prepared: number[] = [];
  outputs: Output[] = [];
  dirty: DirtyBlock[] = [];
  overlay: OverlayChunkName[] = [];
  room = 1000;
  isOff = false;
  readonly canBoot = true;
  readonly pages: Uint8Array;
  readonly absent = new Set<number>();
  readonly #epochs: number[];
  readonly #hooks = new Set<(page: number) => void>();
  #epoch = 1;
  #touched: number[] | undefined;

  constructor(pageCount = 4) {
    this.pages = new Uint8Array(pageCount * PAGE_BYTES);
    this.#epochs = Array.from({ length: pageCount }, () => 0);
  }

  get place(): Place {
    return { position: this.position, idleTicks: undefined };
  }

  get wallTimeNs(): bigint {
    return this.ticks * 100n;
  }

  switchOn(): void {
    this.isOff = false;
  }

  run(until: Position, skipIdleUntil: Ticks, pauseAtFrame = false): StopReason {
    this.runs.push({ until, skipIdleUntil, pauseAtFrame });
    const answer = this.script.shift() ?? { kind: "budget" };
    if (answer.kind === "budget") this.position = until;
    return answer;
  }

  passIdle(until: Ticks): void {
    this.ticks = until;
  }

  input(event: InputEvent, at?: Ticks): InputResult {
    const answer = this.inputAnswers.shift() ?? { kind: "accepted" };
    if (answer.kind !== "accepted") return answer;
    this.inputs.push({ event, at });
    if (event.kind === "console") this.poke(event.bytes[0] ?? 0, 1 + this.inputs.length);
    return answer;
  }

  takeOutputs(): { position: Position; output: Output }[] {
    const taken = this.outputs.map((output) => ({ position: this.position, output }));
    this.outputs = [];
    return taken;
  }

  consoleRoom(_port: ConsolePort): number {
    return this.room;
  }

  get pageCount(): number {
    return this.#epochs.length;
  }

  /** Writes a byte to a page, as a guest would. */
  poke(page: number, value: number): void {
    const index = page % this.pageCount;
    if (this.#epochs[index] !== this.#epoch) for (const hook of this.#hooks) hook(index);
    this.#epochs[index] = this.#epoch;
    this.#touched?.push(index);
    this.pages[index * PAGE_BYTES] = value;
  }

  readonly ram = {
    beginEpoch: () => ++this.#epoch,
    dirtySince: (epoch: number) =>
      Uint32Array.from(this.#epochs.flatMap((at, page) => (at >= epoch ? [page] : []))),
    countDirtySince: (epoch: number) => this.#epochs.filter((at) => at >= epoch).length,
    recordTouches: () => {
      this.#touched = [];
    },
    takeTouched: () => this.#touched?.splice(0) ?? [],
    stopRecordingTouches: () => {
      this.#touched = undefined;
    },
  };

  readPage(page: number): Uint8Array {
    return this.pages.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }

  isZeroPage(page: number): boolean {
    return this.readPage(page).every((byte) => byte === 0);
  }

  get absentPages(): number {
    return this.absent.size;
  }

  isAbsentPage(page: number): boolean {
    return this.absent.has(page);
  }

  supplyPage(page: number, bytes: Uint8Array | undefined): void {
    assert(this.absent.delete(page), "it was absent");
    if (bytes !== undefined) this.readPage(page).set(bytes);
  }

  zeroAbsentPages(): void {
    this.absent.clear();
  }

  leap(state: State, pages: Iterable<readonly [number, Uint8Array | undefined]>): void {
    for (const [page, bytes] of pages) {
      this.absent.delete(page);
      this.readPage(page).fill(0);
      if (bytes !== undefined) this.readPage(page).set(bytes);
    }
    this.position = position(typeof state["position"] === "bigint" ? state["position"] : 0n);
  }

  overlayChunks(): readonly OverlayChunkName[] {
    return this.overlay;
  }

  supplyBlock(block: MissingBlock, _bytes: Uint8Array): void {
    this.supplied.push(block);
  }

  takeDirtyBlocks(): readonly DirtyBlock[] {
    const taken = this.dirty;
    this.dirty = [];
    return taken;
  }

  checkpoint({ maxSavedPages }: { readonly maxSavedPages: number }): OpenCheckpoint {
    const saved = new Map<number, Uint8Array>();
    const taken = new Set<number>();
    const state = { abandoned: false };
    const hook = (page: number): void => {
      if (taken.has(page) || saved.has(page)) return;
      if (saved.size >= maxSavedPages) state.abandoned = true;
      else saved.set(page, this.readPage(page).slice());
    };
    this.#hooks.add(hook);
    const epoch = this.ram.beginEpoch();
    const savedPages = (): number => saved.size;
    return {
      state: this.save(),
      epoch,
      get isAbandoned() {
        return state.abandoned;
      },
      get savedPages() {
        return savedPages();
      },
      takePage: (page) => {
        const old = saved.get(page) ?? this.readPage(page);
        saved.delete(page);
        taken.add(page);
        return old;
      },
      close: () => void this.#hooks.delete(hook),
    };
  }

  save(): State {
    return { position: this.position };
  }

  /** Tells machines apart by position and RAM. */
  digest(): string {
    let sum: bigint = this.position;
    for (const byte of this.pages) sum = BigInt.asUintN(128, sum * 31n + BigInt(byte));
    return sum.toString(16).padStart(32, "0");
  }

  prepareDigest(maxPages: number): boolean {
    this.prepared.push(maxPages);
    return this.prepared.length % 2 === 0;
  }
}

/** Remembers what was asked and written; chunks never written are zero. */
export class FakeStore implements BlockStore {
  readonly written: DirtyBlock[] = [];
  readonly slots: Uint8Array[] = [];
  readonly overlayOf = new ChunkOverlay({
    read: (slot, into) => into.set(this.slots[slot] ?? []),
    write: (slot, bytes) => {
      this.slots[slot] = bytes.slice();
    },
  });

  read(block: MissingBlock): Uint8Array | undefined {
    const found = this.overlayOf.read(block);
    if (found === "expected") return undefined;
    return found === "base" ? new Uint8Array(CHUNK_BYTES) : found;
  }

  write(block: DirtyBlock): void {
    this.written.push(block);
    this.overlayOf.write(block);
  }

  supply(block: DirtyBlock): void {
    this.overlayOf.supply(block);
  }

  holds(): boolean {
    return true;
  }

  expect(blocks: readonly MissingBlock[]): void {
    this.overlayOf.expect(blocks);
  }

  get expectedCount(): number {
    return this.overlayOf.expectedCount;
  }

  overlay() {
    return this.overlayOf.entries();
  }

  nextGeneration(): number {
    return this.overlayOf.nextGeneration();
  }

  writtenSince(generation: number): readonly MissingBlock[] {
    return this.overlayOf.writtenSince(generation);
  }

  hold(): HeldChunks {
    return this.overlayOf.hold();
  }
}
