/**
 * Copies one checkpoint of a running machine into the store, a few pages at a time, so that
 * nothing else in the process waits long.
 */
import { assert } from "@dejavm/base";
import type { CheckpointId, CheckpointWriter, LineageWriter } from "@dejavm/log-store";
import { position, ticks } from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";
import {
  type CheckpointReport,
  MAX_CHUNKS_PER_READ,
  MAX_PAGES_PER_READ,
  type VmRequest,
} from "@dejavm/vm";

/** Pages of one read: one pack of the store, which takes it about a millisecond. */
const PAGES_PER_READ = MAX_PAGES_PER_READ;
const CHUNKS_PER_READ = 4;

type Begun = Extract<CheckpointReport, { kind: "checkpoint-begun" }>;
type Read = Extract<CheckpointReport, { kind: "pages" | "chunks" }>;

/** What it works with. */
export interface CopierOptions {
  readonly begun: Begun;
  readonly writer: LineageWriter;
  /** In the store, of the checkpoint that this one is relative to. */
  readonly parent: CheckpointId | undefined;
  readonly memoryBytes: number;
  readonly request: (request: VmRequest) => void;
}

/** See the head of this file. Every method throws what the store throws. */
export class CheckpointCopier {
  readonly trace: TracePoint;
  readonly #options: CopierOptions;
  readonly #checkpoint: CheckpointWriter;
  #page = 0;
  #chunk = 0;

  constructor(options: CopierOptions) {
    this.#options = options;
    const { begun, writer, parent, memoryBytes } = options;
    assert(begun.trace !== undefined, "a checkpoint for the store is one of a recorded machine");
    this.trace = begun.trace;
    this.#checkpoint = writer.beginCheckpoint({
      position: position(begun.position),
      ticks: ticks(begun.ticks),
      trace: begun.trace,
      memoryPages: memoryBytes / 4096,
      state: begun.state,
      ...(parent === undefined ? {} : { parent }),
    });
  }

  /** Asks for what comes next; false: all of it has been put. */
  next(): boolean {
    const { begun, request } = this.#options;
    const { id } = begun;
    if (this.#page < begun.pages.length) {
      const pages = begun.pages.slice(this.#page, this.#page + PAGES_PER_READ);
      this.#page += pages.length;
      request({ kind: "read-pages", id, pages });
      return true;
    }
    if (this.#chunk < begun.chunks.length) {
      const count = Math.min(CHUNKS_PER_READ, MAX_CHUNKS_PER_READ);
      const chunks = begun.chunks.slice(this.#chunk, this.#chunk + count);
      this.#chunk += chunks.length;
      request({ kind: "read-chunks", id, chunks });
      return true;
    }
    return false;
  }

  put(read: Read): void {
    if (read.kind === "pages") {
      this.#checkpoint.putPages(read.pages, read.bytes);
      this.#checkpoint.putZeroPages(read.zeroPages);
      return;
    }
    const size = read.chunks.length === 0 ? 0 : read.bytes.length / read.chunks.length;
    this.#checkpoint.putChunks([
      ...read.chunks.map((name, i) => ({
        ...name,
        bytes: read.bytes.subarray(i * size, (i + 1) * size),
      })),
      ...read.zeroChunks.map((name) => ({ ...name, bytes: undefined })),
    ]);
  }

  commit(): CheckpointId {
    return this.#checkpoint.commit().id;
  }

  abandon(): void {
    this.#checkpoint.abandon();
  }
}
