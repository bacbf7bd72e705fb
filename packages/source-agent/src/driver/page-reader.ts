/**
 * Reads pages and chunks of open checkpoints from the machine's thread and has bulk messages made
 * of them by another (`packer/`). Reads of one checkpoint and kind are answered in order.
 */
import type { BulkMessage } from "@dejavm/protocol";
import type { VmReport, VmRequest } from "@dejavm/vm";
import { chunkOfKey } from "../chunk-key.ts";
import type { PreparedBatch, SourceAction } from "../source-types.ts";
import type { MovePacker } from "./packer/move-packer.ts";

type ReadAction = Extract<SourceAction, { kind: "read" }>;
type ReadReport = Extract<VmReport, { kind: "pages" | "chunks" }>;

/** See the head of this file. */
export class PageReader {
  readonly #request: (request: VmRequest) => void;
  readonly #packer: () => MovePacker;
  readonly #done: (batch: PreparedBatch) => void;
  readonly #failed: (error: unknown) => void;
  readonly #waiting = new Map<string, ReadAction[]>();
  /** Pages that were only referred to, until the target has the checkpoint. */
  readonly #referred = new Map<number, Set<number>>();
  /** Messages that go with the answer to a read. */
  readonly #extra = new Map<number, readonly BulkMessage[]>();

  constructor(options: {
    readonly request: (request: VmRequest) => void;
    readonly packer: () => MovePacker;
    readonly done: (batch: PreparedBatch) => void;
    readonly failed: (error: unknown) => void;
  }) {
    this.#request = options.request;
    this.#packer = options.packer;
    this.#done = options.done;
    this.#failed = options.failed;
  }

  read(action: ReadAction): void {
    const { checkpoint, what, items } = action;
    const referred = what === "pages" ? this.#referred.get(checkpoint) : undefined;
    if (referred !== undefined && items.some((item) => referred.has(item))) {
      this.#sendAgain(action, referred).catch(this.#failed);
      return;
    }
    const key = `${what} ${checkpoint}`;
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, [action]);
    else waiting.push(action);
    if (what === "pages") {
      this.#request({ kind: "read-pages", id: checkpoint, pages: Uint32Array.from(items) });
    } else {
      this.#request({ kind: "read-chunks", id: checkpoint, chunks: items.map(chunkOfKey) });
    }
  }

  /** The checkpoint is done with. */
  forget(checkpoint: number): void {
    this.#referred.delete(checkpoint);
    this.#packer().forget(checkpoint);
  }

  /** Takes `pages` and `chunks`. */
  answer(report: ReadReport): void {
    const action = this.#waiting.get(`${report.kind} ${report.id}`)?.shift();
    if (action !== undefined) this.#finish(action, report).catch(this.#failed);
  }

  /**
   * The target does not have what it was referred to. The machine gives each page once, so these
   * come from the packer; others of the same read are read as usual, on their own.
   */
  async #sendAgain(action: ReadAction, referred: Set<number>): Promise<void> {
    const { checkpoint, items, id } = action;
    const pages = items.filter((item) => referred.has(item));
    const rest = items.filter((item) => !referred.has(item));
    for (const page of pages) referred.delete(page);
    const { groupPages, isFast } = action;
    const wanted = { checkpoint, pages: Uint32Array.from(pages), groupPages, isFast };
    const { messages } = await this.#packer().again(wanted);
    if (rest.length === 0) {
      this.#done({ id, messages, zeroPages: 0, referenced: 0 });
      return;
    }
    this.#extra.set(id, messages);
    this.read({ ...action, items: rest });
  }

  async #finish(action: ReadAction, report: ReadReport): Promise<void> {
    const { id: checkpoint, bytes } = report;
    const messages: BulkMessage[] = [...(this.#extra.get(action.id) ?? [])];
    this.#extra.delete(action.id);
    let zeroPages = 0;
    let referenced = 0;
    if (report.kind === "pages") {
      const { pages, zeroPages: zero } = report;
      zeroPages = zero.length;
      if (zeroPages > 0) messages.push({ kind: "zero-pages", checkpoint, pages: [...zero] });
      if (pages.length > 0) {
        const { groupPages, isFast } = action;
        const wanted = { checkpoint, pages, bytes, groupPages, isFast };
        const packed = await this.#packer().pages(wanted);
        this.#noteReferred(checkpoint, packed.messages);
        messages.push(...packed.messages);
        referenced = packed.referenced;
      }
    } else {
      const { chunks, zeroChunks } = report;
      if (zeroChunks.length > 0) {
        messages.push({ kind: "zero-chunks", checkpoint, chunks: zeroChunks });
      }
      if (chunks.length > 0) {
        const packed = await this.#packer().chunks({ checkpoint, chunks, bytes });
        messages.push(...packed.messages);
        referenced = packed.referenced;
      }
    }
    this.#done({ id: action.id, messages, zeroPages, referenced });
  }

  #noteReferred(checkpoint: number, messages: readonly BulkMessage[]): void {
    const referred = this.#referred.get(checkpoint) ?? new Set();
    this.#referred.set(checkpoint, referred);
    for (const message of messages) {
      if (message.kind !== "page-refs" && message.kind !== "image-refs") continue;
      for (const { page } of message.refs) referred.add(page);
    }
  }
}
