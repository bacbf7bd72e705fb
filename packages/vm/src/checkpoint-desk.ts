/**
 * Checkpoints of a machine that goes on: begins them, and copies out what readers ask for, one
 * bounded portion between two slices. Sans-IO.
 */
import { assert, CodedError } from "@dejavm/base";
import { CHUNK_BYTES, encodeState, PAGE_BYTES } from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";
import { type SourceAgentErrorCode, toReport } from "./host-errors.ts";
import type { VmReport } from "./reports.ts";
import {
  type CheckpointRequest,
  MAX_CHUNKS_PER_READ,
  MAX_PAGES_PER_READ,
  MAX_WAITING_READS,
} from "./requests.ts";
import type {
  BlockStore,
  CheckpointBase,
  HeldChunks,
  OpenCheckpoint,
  RunnableMachine,
} from "./runnable-machine.ts";

/** Open at once: a periodic one, and those of a migration or two. */
const MAX_OPEN_CHECKPOINTS = 4;
/** Checkpoints that can be named as `since`; the oldest are forgotten, and all of it is listed. */
const MAX_BASES = 64;
/** Everything that was ever written. */
const FIRST_EPOCH = 1;
const TICKS_PER_MS = 10_000;

type Request<Kind extends CheckpointRequest["kind"]> = Extract<CheckpointRequest, { kind: Kind }>;
type Read = Request<"read-pages" | "read-chunks">;

interface Open {
  readonly machine: OpenCheckpoint;
  readonly chunks: HeldChunks;
  readonly request: Request<"checkpoint">;
}

/** What a desk works with. */
export interface DeskOptions {
  readonly machine: RunnableMachine;
  readonly store: BlockStore;
  /** A checkpoint that the machine came from. */
  readonly base: CheckpointBase | undefined;
  readonly clock: () => number;
  readonly report: (report: VmReport) => void;
}

/** See the head of this file. */
export class CheckpointDesk {
  readonly #options: DeskOptions;
  readonly #open = new Map<number, Open>();
  readonly #bases = new Map<number, CheckpointBase>();
  readonly #reads: Read[] = [];
  /** The checkpoint since which first touches are recorded. */
  #touching: number | undefined;

  constructor(options: DeskOptions) {
    this.#options = options;
    if (options.base !== undefined) this.#bases.set(options.base.id, options.base);
  }

  /** `trace`: where the trace from this checkpoint on begins. Changed chunks have been taken. */
  begin(request: Request<"checkpoint">, trace: TracePoint | undefined): void {
    const { machine, store, clock, report } = this.#options;
    const { id, since } = request;
    const start = clock();
    if (this.#open.size >= MAX_OPEN_CHECKPOINTS || this.#open.has(id)) {
      this.#refuse(id, `begin checkpoint ${id}: ${this.#open.size} are open`);
      return;
    }
    const base = since === undefined ? undefined : this.#bases.get(since);
    const pages = machine.ram.dirtySince(base?.epoch ?? FIRST_EPOCH);
    const chunks = store.writtenSince(base?.generation ?? 0);
    // `wait` stops the guest softly, between slices.
    const maxSavedPages = request.whenFull === "wait" ? machine.pageCount : request.maxSavedPages;
    const open = machine.checkpoint({ maxSavedPages });
    this.#open.set(id, { machine: open, chunks: store.hold(), request });
    this.#remember(id, open.epoch);
    if (request.recordFirstTouch) {
      machine.ram.recordTouches();
      this.#touching = id;
    }
    report({
      kind: "checkpoint-begun",
      id,
      position: machine.position,
      ticks: machine.ticks,
      guestWallNs: machine.wallTimeNs,
      state: encodeState(open.state),
      trace,
      since: base === undefined ? undefined : since,
      pages,
      chunks,
      pauseMs: (clock() - start) / TICKS_PER_MS,
    });
  }

  /** A read waits for its turn. */
  read(request: Read): void {
    const limit = request.kind === "read-pages" ? MAX_PAGES_PER_READ : MAX_CHUNKS_PER_READ;
    const count = request.kind === "read-pages" ? request.pages.length : request.chunks.length;
    if (!this.#open.has(request.id)) {
      this.#refuse(request.id, `read from checkpoint ${request.id}: it is not open`);
    } else if (count > limit) {
      this.#refuse(request.id, `read ${count} at once: at most ${limit}`);
    } else if (this.#reads.length >= MAX_WAITING_READS) {
      this.#refuse(request.id, `read: ${MAX_WAITING_READS} reads wait already`);
    } else {
      this.#reads.push(request);
    }
  }

  close(id: number): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    this.#reportTouched();
    open.machine.close();
    open.chunks.close();
    this.#open.delete(id);
    if (this.#touching === id) {
      this.#touching = undefined;
      this.#options.machine.ram.stopRecordingTouches();
    }
  }

  /** Forgets everything: the machine is gone. */
  closeAll(): void {
    for (const id of this.#open.keys()) this.close(id);
    this.#reads.length = 0;
  }

  /** Old pages that wait for readers. */
  get savedPages(): number {
    let count = 0;
    for (const { machine } of this.#open.values()) count += machine.savedPages;
    return count;
  }

  /** Pages written since the checkpoint that began last: what the next one would have. */
  get changed(): { readonly since: number; readonly pages: number } | undefined {
    const base = [...this.#bases.values()].at(-1);
    if (base === undefined) return undefined;
    return { since: base.id, pages: this.#options.machine.ram.countDirtySince(base.epoch) };
  }

  /** Whether the guest must stand still until readers have caught up. */
  get isFull(): boolean {
    for (const { machine, request } of this.#open.values()) {
      if (request.whenFull === "wait" && machine.savedPages > request.maxSavedPages) return true;
    }
    return false;
  }

  /** Whether reads wait for `serve`. */
  get hasReads(): boolean {
    return this.#reads.length > 0;
  }

  /** Between two slices: answers one read at most, and tells what happened in the slice. */
  serve(): void {
    for (const [id, { machine }] of this.#open) if (machine.isAbandoned) this.#giveUp(id);
    this.#reportTouched();
    const request = this.#reads.shift();
    if (request === undefined) return;
    const open = this.#open.get(request.id);
    if (open === undefined) return;
    if (request.kind === "read-pages") this.#readPages(open.machine, request);
    else this.#readChunks(open.chunks, request);
  }

  #remember(id: number, epoch: number): void {
    this.#bases.set(id, { id, epoch, generation: this.#options.store.nextGeneration() });
    if (this.#bases.size <= MAX_BASES) return;
    for (const oldest of this.#bases.keys()) {
      this.#bases.delete(oldest);
      return;
    }
  }

  #giveUp(id: number): void {
    this.close(id);
    this.#bases.delete(id);
    this.#options.report({ kind: "checkpoint-abandoned", id });
  }

  #reportTouched(): void {
    if (this.#touching === undefined) return;
    const pages = this.#options.machine.ram.takeTouched();
    if (pages.length === 0) return;
    this.#options.report({ kind: "touched", id: this.#touching, pages: Uint32Array.from(pages) });
  }

  #readPages(checkpoint: OpenCheckpoint, { id, pages }: Request<"read-pages">): void {
    const contents: Uint8Array[] = [];
    const full: number[] = [];
    const zero: number[] = [];
    for (const page of pages) {
      const content = checkpoint.takePage(page);
      if (isZero(content)) {
        zero.push(page);
      } else {
        contents.push(content);
        full.push(page);
      }
    }
    const bytes = new Uint8Array(full.length * PAGE_BYTES);
    for (const [i, content] of contents.entries()) bytes.set(content, i * PAGE_BYTES);
    this.#options.report({
      kind: "pages",
      id,
      pages: Uint32Array.from(full),
      bytes,
      zeroPages: Uint32Array.from(zero),
    });
  }

  #readChunks(held: HeldChunks, { id, chunks }: Request<"read-chunks">): void {
    const contents = chunks.map((name) => ({ name, bytes: held.read(name) }));
    const full = contents.filter(({ bytes }) => bytes !== undefined);
    const bytes = new Uint8Array(full.length * CHUNK_BYTES);
    for (const [i, item] of full.entries()) {
      assert(item.bytes !== undefined, "filtered");
      bytes.set(item.bytes, i * CHUNK_BYTES);
    }
    this.#options.report({
      kind: "chunks",
      id,
      chunks: full.map(({ name }) => name),
      bytes,
      zeroChunks: contents.filter((item) => item.bytes === undefined).map(({ name }) => name),
    });
  }

  #refuse(id: number, action: string): void {
    const code: SourceAgentErrorCode = "E_VM_REQUEST";
    const error = new CodedError(code, `cannot ${action}`, { hint: "close a checkpoint first" });
    this.#options.report({ kind: "refused", id, error: toReport(error) });
  }
}

/** Words of the buffers that pages are views of: a view for each page would cost more. */
const WORDS = new WeakMap<ArrayBufferLike, Int32Array>();

/** Most pages that are not zero show it in their first words. */
function isZero({ buffer, byteOffset, length }: Uint8Array): boolean {
  let words = WORDS.get(buffer);
  if (words === undefined) {
    words = new Int32Array(buffer);
    WORDS.set(buffer, words);
  }
  const end = (byteOffset + length) / 4;
  for (let i = byteOffset / 4; i < end; i += 4) {
    if (((words[i] ?? 0) | (words[i + 1] ?? 0) | (words[i + 2] ?? 0) | (words[i + 3] ?? 0)) !== 0) {
      return false;
    }
  }
  return true;
}
