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

const compress = promisify(zstdCompress);
/** Fast: the link is slower than level 1, and the guest needs the CPU. */
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
const PAGE_BYTES = 4096;
const CHUNK_BYTES = 65_536;

/** Tells which contents need no sending. */
export interface KnownContents {
  /** By sha256 of a page; undefined: not known to be at the target. */
  find(sha256: Uint8Array, page: Uint8Array): KnownPage | undefined;
  /** Whether the target has a chunk of these contents. */
  hasChunk(sha256: Uint8Array): boolean;
}

/** Where the target has a page. */
export type KnownPage =
  | { readonly kind: "stored" }
  | { readonly kind: "image"; readonly disk: number; readonly block: number };

type ReadAction = Extract<SourceAction, { kind: "read" }>;

/** See the head of this file. */
export class PageReader {
  readonly #request: (request: VmRequest) => void;
  readonly #known: KnownContents | undefined;
  readonly #done: (batch: PreparedBatch) => void;
  /** Reads are answered in the order in which they were asked, per checkpoint and kind. */
  readonly #waiting = new Map<string, ReadAction[]>();

  constructor(options: {
    readonly request: (request: VmRequest) => void;
    readonly known: KnownContents | undefined;
    readonly done: (batch: PreparedBatch) => void;
  }) {
    this.#request = options.request;
    this.#known = options.known;
    this.#done = options.done;
  }

  read(action: ReadAction): void {
    const { checkpoint, what, items } = action;
    const key = `${what} ${checkpoint}`;
    this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), action]);
    if (what === "pages") {
      this.#request({ kind: "read-pages", id: checkpoint, pages: Uint32Array.from(items) });
    } else {
      this.#request({ kind: "read-chunks", id: checkpoint, chunks: items.map(chunkOfKey) });
    }
  }

  /** Takes `pages` and `chunks`. */
  answer(report: Extract<VmReport, { kind: "pages" | "chunks" }>): void {
    const action = this.#waiting.get(`${report.kind} ${report.id}`)?.shift();
    if (action === undefined) return;
    const made = report.kind === "pages" ? this.#pages(report) : this.#chunks(report);
    void made.then((batch) => this.#done({ id: action.id, ...batch }));
  }

  async #pages(report: Extract<VmReport, { kind: "pages" }>): Promise<Omit<PreparedBatch, "id">> {
    const { id: checkpoint, pages, bytes, zeroPages } = report;
    const messages: BulkMessage[] = [];
    if (zeroPages.length > 0) {
      messages.push({ kind: "zero-pages", checkpoint, pages: [...zeroPages] });
    }
    const sorted = this.#sort(pages, bytes);
    if (sorted.stored.length > 0) {
      messages.push({ kind: "page-refs", checkpoint, refs: sorted.stored });
    }
    if (sorted.image.length > 0) {
      messages.push({ kind: "image-refs", checkpoint, refs: sorted.image });
    }
    if (sorted.whole.length > 0) {
      const raw = join(sorted.whole.map(({ content }) => content));
      const data = await compress(raw, LEVEL);
      messages.push({
        kind: "page-group",
        checkpoint,
        ...smaller(raw, data),
        pages: sorted.whole.map(({ page }) => page),
      });
    }
    const referenced = sorted.stored.length + sorted.image.length;
    return { messages, zeroPages: zeroPages.length, referenced };
  }

  #sort(pages: Uint32Array, bytes: Uint8Array) {
    const stored: { page: number; sha256: Uint8Array }[] = [];
    const image: { page: number; disk: number; block: number }[] = [];
    const whole: { page: number; content: Uint8Array }[] = [];
    for (const [i, page] of pages.entries()) {
      const content = bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      const sha256 = this.#known && hash("sha256", content, "buffer");
      const known = sha256 && this.#known?.find(sha256, content);
      if (known === undefined || sha256 === undefined) whole.push({ page, content });
      else if (known.kind === "stored") stored.push({ page, sha256 });
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
      const sha256 = this.#known && hash("sha256", content, "buffer");
      if (sha256 !== undefined && this.#known?.hasChunk(sha256)) refs.push({ ...name, sha256 });
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
