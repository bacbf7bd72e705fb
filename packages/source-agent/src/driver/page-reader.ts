/**
 * Reads pages and chunks of open checkpoints from the machine's thread and makes bulk messages of
 * them: zero pages by number, known contents by reference, the rest compressed. Compression runs
 * in the process's thread pool.
 */
import { hash } from "node:crypto";
import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";
import type { BulkMessage } from "@dejavm/protocol";
import type { ChunkName, VmReport, VmRequest } from "@dejavm/vm";
import { chunkOfKey } from "../chunk-key.ts";
import type { PreparedBatch, SourceAction } from "../source-types.ts";
import type { KnownContents } from "./known-contents.ts";

const compress = promisify(zstdCompress);
/** Fast: the link is slower than level 1, and the guest needs the CPU. */
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
const PAGE_BYTES = 4096;
const CHUNK_BYTES = 65_536;

type ReadAction = Extract<SourceAction, { kind: "read" }>;

/** See the head of this file. */
export class PageReader {
  readonly #request: (request: VmRequest) => void;
  readonly #known: KnownContents;
  readonly #done: (batch: PreparedBatch) => void;
  /** Reads are answered in the order in which they were asked, per checkpoint and kind. */
  readonly #waiting = new Map<string, ReadAction[]>();

  /** Contents that were only referred to, until the target has the checkpoint. */
  readonly #kept = new Map<number, Map<number, Uint8Array>>();
  /** Messages that go with the answer to a read. */
  readonly #extra = new Map<number, BulkMessage>();

  constructor(options: {
    readonly request: (request: VmRequest) => void;
    readonly known: KnownContents;
    readonly done: (batch: PreparedBatch) => void;
  }) {
    this.#request = options.request;
    this.#known = options.known;
    this.#done = options.done;
  }

  read(action: ReadAction): void {
    const { checkpoint, what, items } = action;
    const kept = what === "pages" ? this.#kept.get(checkpoint) : undefined;
    if (kept !== undefined && items.some((item) => kept.has(item))) {
      void this.#sendKept(action, kept);
      return;
    }
    const key = `${what} ${checkpoint}`;
    this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), action]);
    if (what === "pages") {
      this.#request({ kind: "read-pages", id: checkpoint, pages: Uint32Array.from(items) });
    } else {
      this.#request({ kind: "read-chunks", id: checkpoint, chunks: items.map(chunkOfKey) });
    }
  }

  /** The checkpoint is done with. */
  forget(checkpoint: number): void {
    this.#kept.delete(checkpoint);
  }

  /**
   * The target does not have what it was referred to. The machine gives each page once, so these
   * come from here; others of the same read are read as usual, on their own.
   */
  async #sendKept(action: ReadAction, kept: Map<number, Uint8Array>): Promise<void> {
    const { checkpoint, items, id } = action;
    const pages = items.filter((item) => kept.has(item));
    const rest = items.filter((item) => !kept.has(item));
    const contents = pages.map((page) => ({ page, content: kept.get(page) ?? new Uint8Array(0) }));
    for (const page of pages) kept.delete(page);
    const message = await this.#group(checkpoint, contents);
    if (rest.length === 0) {
      this.#done({ id, messages: [message], zeroPages: 0, referenced: 0 });
      return;
    }
    this.#extra.set(id, message);
    this.read({ ...action, items: rest });
  }

  async #group(
    checkpoint: number,
    whole: readonly { readonly page: number; readonly content: Uint8Array }[],
  ): Promise<BulkMessage> {
    const raw = join(whole.map(({ content }) => content));
    const packed = smaller(raw, await compress(raw, LEVEL));
    return { kind: "page-group", checkpoint, ...packed, pages: whole.map(({ page }) => page) };
  }

  #keep(checkpoint: number, page: number, content: Uint8Array): void {
    let kept = this.#kept.get(checkpoint);
    if (kept === undefined) {
      kept = new Map();
      this.#kept.set(checkpoint, kept);
    }
    kept.set(page, content);
  }

  /** Takes `pages` and `chunks`. */
  answer(report: Extract<VmReport, { kind: "pages" | "chunks" }>): void {
    const action = this.#waiting.get(`${report.kind} ${report.id}`)?.shift();
    if (action === undefined) return;
    void this.#finish(action, report);
  }

  async #finish(
    action: ReadAction,
    report: Extract<VmReport, { kind: "pages" | "chunks" }>,
  ): Promise<void> {
    const extra = this.#extra.get(action.id);
    this.#extra.delete(action.id);
    const made = report.kind === "pages" ? this.#pages(report) : this.#chunks(report);
    const batch = await made;
    const messages = extra === undefined ? batch.messages : [extra, ...batch.messages];
    this.#done({ id: action.id, ...batch, messages });
  }

  async #pages(report: Extract<VmReport, { kind: "pages" }>): Promise<Omit<PreparedBatch, "id">> {
    const { id: checkpoint, pages, bytes, zeroPages } = report;
    const messages: BulkMessage[] = [];
    if (zeroPages.length > 0) {
      messages.push({ kind: "zero-pages", checkpoint, pages: [...zeroPages] });
    }
    const sorted = this.#sort(checkpoint, pages, bytes);
    if (sorted.stored.length > 0) {
      messages.push({ kind: "page-refs", checkpoint, refs: sorted.stored });
    }
    if (sorted.image.length > 0) {
      messages.push({ kind: "image-refs", checkpoint, refs: sorted.image });
    }
    if (sorted.whole.length > 0) {
      messages.push(await this.#group(checkpoint, sorted.whole));
    }
    const referenced = sorted.stored.length + sorted.image.length;
    return { messages, zeroPages: zeroPages.length, referenced };
  }

  #sort(checkpoint: number, pages: Uint32Array, bytes: Uint8Array) {
    const stored: { page: number; sha256: Uint8Array }[] = [];
    const image: { page: number; disk: number; block: number }[] = [];
    const whole: { page: number; content: Uint8Array }[] = [];
    for (const [i, page] of pages.entries()) {
      const content = bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      const sha256 = this.#known.isEmpty ? undefined : hash("sha256", content, "buffer");
      const known = sha256 && this.#known.find(sha256);
      if (known === undefined || sha256 === undefined) {
        whole.push({ page, content });
        continue;
      }
      this.#keep(checkpoint, page, content);
      if (known.kind === "stored") stored.push({ page, sha256 });
      else image.push({ page, disk: known.disk, block: known.block });
    }
    return { stored, image, whole };
  }

  async #chunks(report: Extract<VmReport, { kind: "chunks" }>): Promise<Omit<PreparedBatch, "id">> {
    const { id: checkpoint, chunks, bytes, zeroChunks } = report;
    const refs: (ChunkName & { sha256: Uint8Array })[] = [];
    const whole: { name: ChunkName; content: Uint8Array }[] = [];
    for (const [i, name] of chunks.entries()) {
      const content = bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
      const sha256 = this.#known.isEmpty ? undefined : hash("sha256", content, "buffer");
      if (sha256 && this.#known.find(sha256)?.kind === "stored") refs.push({ ...name, sha256 });
      else whole.push({ name, content });
    }
    const messages: BulkMessage[] = [];
    if (zeroChunks.length > 0) {
      messages.push({ kind: "zero-chunks", checkpoint, chunks: zeroChunks });
    }
    if (refs.length > 0) messages.push({ kind: "chunk-refs", checkpoint, refs });
    if (whole.length > 0) {
      const raw = join(whole.map(({ content }) => content));
      const packed = smaller(raw, await compress(raw, LEVEL));
      const names = whole.map(({ name }) => name);
      const layer = "overlay" as const;
      messages.push({ kind: "chunk-group", checkpoint, layer, ...packed, chunks: names });
    }
    return { messages, zeroPages: 0, referenced: refs.length };
  }
}

function smaller(raw: Uint8Array, packed: Uint8Array) {
  if (packed.length < raw.length) return { codec: "zstd" as const, data: packed };
  return { codec: "raw" as const, data: raw };
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
