/**
 * Copies one checkpoint of a running machine into the store, a few pages at a time, so that
 * nothing else in the process waits long. The store's packer hashes and compresses them on a
 * thread of its own.
 */
import { assert } from "@dejavm/base";
import {
  type CheckpointId,
  type CheckpointWriter,
  type LineageWriter,
  type LogStore,
  MAX_PACK_ITEMS,
  PackedPuts,
  PUTS_UNDER_WAY,
} from "@dejavm/log-store";
import { PAGE_BYTES, position, ticks } from "@dejavm/machine";
import type { CheckpointReport, VmRequest } from "@dejavm/vm";

/** Contents of one read: one pack of the store. */
const PAGES_PER_READ = MAX_PACK_ITEMS;
const CHUNKS_PER_READ = 4;

type Begun = Extract<CheckpointReport, { kind: "checkpoint-begun" }>;
type Read = Extract<CheckpointReport, { kind: "pages" | "chunks" }>;

/** What it works with. */
export interface CopierOptions {
  readonly begun: Begun;
  readonly store: Pick<LogStore, "packer" | "hasContents">;
  readonly writer: LineageWriter;
  /** In the store, of the checkpoint that this one is relative to. */
  readonly parent: CheckpointId | undefined;
  readonly memoryBytes: number;
  readonly request: (request: VmRequest) => void;
  /** All of it has been put: `commit` it. Neither this nor `onFailed` after `abandon`. */
  readonly onCopied: () => void;
  /** With what the store throws. */
  readonly onFailed: (error: unknown) => void;
}

/** See the head of this file. Constructor and commands throw what the store throws. */
export class CheckpointCopier {
  readonly #options: CopierOptions;
  readonly #checkpoint: CheckpointWriter;
  readonly #puts: PackedPuts;
  #page = 0;
  #chunk = 0;
  #underWay = 0;
  #isAbandoned = false;
  #isPaused = false;

  constructor(options: CopierOptions) {
    this.#options = options;
    const { begun, store, writer, parent, memoryBytes } = options;
    assert(begun.trace !== undefined, "a checkpoint for the store is one of a recorded machine");
    this.#checkpoint = writer.beginCheckpoint({
      position: position(begun.position),
      ticks: ticks(begun.ticks),
      trace: begun.trace,
      memoryPages: memoryBytes / PAGE_BYTES,
      state: begun.state,
      ...(parent === undefined ? {} : { parent }),
    });
    this.#puts = new PackedPuts({ checkpoint: this.#checkpoint, store });
  }

  /** Begins to read; the machine answers with what `put` takes. */
  start(): void {
    this.#goOn();
  }

  /** Asks for nothing more until it is to go on: others need the time. */
  set isPaused(isPaused: boolean) {
    this.#isPaused = isPaused;
    if (!isPaused && !this.#isAbandoned) this.#goOn();
  }

  put(read: Read): void {
    void this.#take(read);
  }

  commit(): CheckpointId {
    return this.#checkpoint.commit().id;
  }

  abandon(): void {
    this.#isAbandoned = true;
    this.#checkpoint.abandon();
  }

  async #take(read: Read): Promise<void> {
    try {
      await this.#store(read);
    } catch (error) {
      if (!this.#isAbandoned) this.#options.onFailed(error);
      return;
    }
    this.#underWay--;
    if (!this.#isAbandoned) this.#goOn();
  }

  #goOn(): void {
    if (this.#isPaused) return;
    while (this.#underWay < PUTS_UNDER_WAY && this.#askNext()) this.#underWay++;
    if (this.#underWay === 0) this.#options.onCopied();
  }

  /** False: everything has been asked for. */
  #askNext(): boolean {
    const { begun, request } = this.#options;
    const { id } = begun;
    if (this.#page < begun.pages.length) {
      const pages = begun.pages.slice(this.#page, this.#page + PAGES_PER_READ);
      this.#page += pages.length;
      request({ kind: "read-pages", id, pages });
      return true;
    }
    if (this.#chunk < begun.chunks.length) {
      const chunks = begun.chunks.slice(this.#chunk, this.#chunk + CHUNKS_PER_READ);
      this.#chunk += chunks.length;
      request({ kind: "read-chunks", id, chunks });
      return true;
    }
    return false;
  }

  async #store(read: Read): Promise<void> {
    if (read.kind === "pages") {
      if (read.zeroPages.length > 0) this.#checkpoint.putZeroPages(read.zeroPages);
      await this.#puts.putPages(read.pages, read.bytes);
      return;
    }
    if (read.zeroChunks.length > 0) {
      this.#checkpoint.putChunks(read.zeroChunks.map((name) => ({ ...name, bytes: undefined })));
    }
    await this.#puts.putChunks(read.chunks, read.bytes);
  }
}
