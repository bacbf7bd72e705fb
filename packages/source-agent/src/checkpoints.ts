/**
 * The checkpoints of one migration: which are begun, what of them the target has, and what is
 * still to be read and sent. Reads are answered in any order; each is accounted for by its kind.
 */
import { assert } from "@dejavm/base";
import { bulkBytes, type ControlMessageOf, encodePageSet, type Message } from "@dejavm/protocol";
import { type CheckpointReport, MAX_CHUNKS_PER_READ, MAX_PAGES_PER_READ } from "@dejavm/vm";
import { chunkKey } from "./chunk-key.ts";
import type { MigrationLog } from "./migration-log.ts";
import type { LinkView, PreparedBatch, SourceAction } from "./source-types.ts";
import { type Batch, TransferPlan } from "./transfer-plan.ts";

/** Reads under way at once: enough to keep compression busy, few enough to stay in order. */
const MAX_READS = 8;
/** Pages of one message at least and at most: few are compressed badly, the target stores 64. */
const MIN_GROUP_PAGES = 4;
const MAX_GROUP_PAGES = 64;
/** Reads under way are to pass the link within so many milliseconds: order counts. */
const READ_MS = 100;
/** A page on the wire before any was measured: zstd on RAM-like data. */
const USUAL_PAGE_BYTES = 1300;
/** An increment of nothing takes some time, too. */
const MIN_INCREMENT_PAGES = 64;
/** Weight of the newest group in the mean size of a page. */
const SIZE_WEIGHT = 0.1;
/** A page that is only named still takes both hosts as long as so many bytes. */
const LEAST_READ_BYTES = 200;
/**
 * Above this, 64 Mbit/s, compressing harder takes longer than it saves on the path; and wherever
 * the path waits for what is compressed.
 */
const FAST_BYTES_PER_MS = 8000;
/** Fewer pages say nothing about a pace: the way there and back takes longer. */
const MIN_MEASURED_PAGES = 1024;
/** Chunks named in one message. */
const CHUNKS_PER_MESSAGE = 4096;

/** The report that a checkpoint has begun. */
export type BegunReport = Extract<CheckpointReport, { kind: "checkpoint-begun" }>;

interface Read {
  readonly checkpoint: number;
  readonly what: "pages" | "chunks";
  readonly urgent: boolean;
  readonly count: number;
}

/** See the head of this file. */
export class Checkpoints {
  readonly #pages = new TransferPlan();
  readonly #chunks = new TransferPlan();
  readonly #reads = new Map<number, Read>();
  readonly #open = new Set<number>();
  readonly #log: MigrationLog;
  #nextRead = 0;
  #newest:
    | {
        readonly id: number;
        readonly at: number;
        readonly position: bigint;
        readonly pages: number;
      }
    | undefined;
  /** Pages per millisecond that both hosts took of the last checkpoint; undefined: not known. */
  #measuredPagesPerMs: number | undefined;
  #isComplete = false;
  /** Pages written since the newest began, as last heard. */
  #changedPages = 0;
  /** Mean size on the wire of a page that is sent, and of one that is read, whatever it becomes. */
  #pageBytes = USUAL_PAGE_BYTES;
  #readBytes = USUAL_PAGE_BYTES;
  #askedFor: number | undefined;

  constructor(log: MigrationLog) {
    this.#log = log;
  }

  /** Undefined: none has begun. */
  get newest(): number | undefined {
    return this.#newest?.id;
  }

  /** Where the machine was when the newest began; undefined: none has begun. */
  get newestPosition(): bigint | undefined {
    return this.#newest?.position;
  }

  /** Whether one was asked for that has not begun yet. */
  get isAsked(): boolean {
    return this.#askedFor !== undefined;
  }

  get pendingPages(): number {
    return this.#pages.pending;
  }

  /** Whether everything has been read and handed to the link. */
  get isSent(): boolean {
    return this.#pages.pending + this.#chunks.pending + this.#reads.size === 0;
  }

  get pendingBytes(): number {
    return this.#pages.pending * this.#pageBytes + this.#chunks.pending * this.#pageBytes * 16;
  }

  /** What an increment begun now would take on the wire. */
  get incrementBytes(): number {
    return this.#incrementPages * this.#pageBytes;
  }

  /** The machine's thread tells what has changed since a checkpoint. */
  changed(since: number, pages: number): void {
    if (since === this.#newest?.id) this.#changedPages = pages;
  }

  /**
   * How long both hosts would be busy with it, at the pace of what they have done so far: where
   * they are slower than the path, that decides. 0: not known.
   */
  incrementHostMs(now: number): number {
    const pace = this.#measuredPagesPerMs ?? this.#pagesPerMs(now, this.pendingPages);
    return pace === undefined ? 0 : this.#incrementPages / pace;
  }

  get #incrementPages(): number {
    return Math.max(this.#changedPages, MIN_INCREMENT_PAGES);
  }

  /** How long the rest of the newest will take, at its pace so far. Undefined: not known yet. */
  pendingMs(now: number): number | undefined {
    const pace = this.#pagesPerMs(now, this.pendingPages);
    return pace === undefined ? undefined : this.pendingPages / pace;
  }

  /** The pace of the newest checkpoint, of which so many pages are left. */
  #pagesPerMs(now: number, left: number): number | undefined {
    const { at, pages } = this.#newest ?? { at: now, pages: 0 };
    const done = pages - left;
    return done < MIN_MEASURED_PAGES || now <= at ? undefined : done / (now - at);
  }

  /** The target has everything of the newest checkpoint. */
  completed(now: number): void {
    if (this.#isComplete) return;
    this.#isComplete = true;
    this.#measuredPagesPerMs = this.#pagesPerMs(now, 0) ?? this.#measuredPagesPerMs;
  }

  /** The machine's thread is to begin the next one. */
  ask(options: { readonly maxSavedPages: number; readonly firstTouch: boolean }): SourceAction {
    const id = (this.#newest?.id ?? -1) + 1;
    this.#askedFor = id;
    return {
      kind: "vm",
      request: {
        kind: "checkpoint",
        id,
        since: this.#newest?.id,
        maxSavedPages: options.maxSavedPages,
        whenFull: "wait",
        recordFirstTouch: options.firstTouch,
      },
    };
  }

  /** It has begun: the messages that announce it. */
  begun(report: BegunReport, now: number): readonly Message[] {
    this.#askedFor = undefined;
    this.#changedPages = 0;
    const { id, position, pages } = report;
    this.#newest = { id, at: now, position, pages: pages.length };
    this.#isComplete = false;
    this.#open.add(report.id);
    this.#pages.begin(report.id, report.pages);
    this.#chunks.begin(report.id, report.chunks.map(chunkKey));
    this.#log.checkpoints++;
    return announce(report);
  }

  touched(id: number, pages: Uint32Array): void {
    this.#pages.touched(id, pages);
  }

  /** Replay waits; answers pages that are zero and chunks that are as in the base. */
  want(message: ControlMessageOf<"want">): {
    readonly pages: readonly number[];
    readonly chunks: readonly number[];
  } {
    const keys = message.chunks.map(([disk, chunk]) => chunkKey({ disk, chunk }));
    return {
      pages: this.#pages.want(message.checkpoint, message.pages),
      chunks: this.#chunks.want(message.checkpoint, keys),
    };
  }

  again(message: ControlMessageOf<"unknown-reference">): void {
    this.#pages.again(message.checkpoint, message.pages);
    const keys = message.chunks.map(([disk, chunk]) => chunkKey({ disk, chunk }));
    this.#chunks.again(message.checkpoint, keys);
  }

  /** Reads to begin now, as the link has room. */
  *reads(link: LinkView): Generator<SourceAction, void, undefined> {
    while (this.#reads.size < MAX_READS) {
      const urgent = this.#pages.isUrgent || this.#chunks.isUrgent;
      if (!urgent && link.bulkRoom === 0) return;
      const read = this.#nextBatch(link);
      if (read === undefined) return;
      const id = this.#nextRead++;
      const { batch, what, groupPages } = read;
      const { checkpoint, items, urgent: now } = batch;
      this.#reads.set(id, { checkpoint, what, urgent: now, count: items.length });
      const isFast = link.isStarved || link.bytesPerMs >= FAST_BYTES_PER_MS;
      yield { kind: "read", id, checkpoint, what, items, urgent: now, groupPages, isFast };
    }
  }

  /** A read is answered: what to send. Undefined: nobody waits for it any more. */
  prepared(batch: PreparedBatch): readonly SourceAction[] {
    const read = this.#reads.get(batch.id);
    if (read === undefined) return [];
    this.#reads.delete(batch.id);
    this.#account(read, batch);
    return batch.messages.map((message) =>
      read.urgent ? { kind: "send", message } : { kind: "send-bulk", message },
    );
  }

  /** The target has everything up to `complete`, and replay is at `base` or later. */
  settle(complete: number, base: number): readonly SourceAction[] {
    const closed: SourceAction[] = [];
    for (const id of this.#open) {
      const isOver = id < base || (id <= complete && id === base);
      if (!isOver || this.#pages.pendingOf(id) > 0 || this.#chunks.pendingOf(id) > 0) continue;
      if ([...this.#reads.values()].some((read) => read.checkpoint === id)) continue;
      this.#open.delete(id);
      this.#pages.close(id);
      this.#chunks.close(id);
      closed.push({ kind: "vm", request: { kind: "close-checkpoint", id } });
    }
    this.#pages.forgetBefore(base);
    this.#chunks.forgetBefore(base);
    return closed;
  }

  /** Nothing more will be read. */
  closeAll(): readonly SourceAction[] {
    const ids = [...this.#open, ...(this.#askedFor === undefined ? [] : [this.#askedFor])];
    this.#open.clear();
    this.#askedFor = undefined;
    this.#reads.clear();
    return ids.map((id) => ({ kind: "vm", request: { kind: "close-checkpoint", id } }));
  }

  #nextBatch(
    link: LinkView,
  ): { batch: Batch; what: "pages" | "chunks"; groupPages: number } | undefined {
    const wanted = Math.floor(link.bulkMessageBytes / this.#pageBytes);
    const groupPages = Math.min(Math.max(wanted, MIN_GROUP_PAGES), MAX_GROUP_PAGES);
    const inTime = Math.floor((link.bytesPerMs * READ_MS) / MAX_READS / this.#readBytes);
    const pages = Math.min(Math.max(inTime, groupPages), MAX_PAGES_PER_READ);
    const chunks = Math.min(Math.max(wanted >> 4, 1), MAX_CHUNKS_PER_READ);
    const chunksFirst = this.#chunks.isUrgent && !this.#pages.isUrgent;
    const next = (what: "pages" | "chunks") => {
      const batch = what === "pages" ? this.#pages.next(pages) : this.#chunks.next(chunks);
      return batch && { batch, what, groupPages };
    };
    return chunksFirst ? next("chunks") : (next("pages") ?? next("chunks"));
  }

  #account(read: Read, batch: PreparedBatch): void {
    const { bytes, pages } = this.#log;
    for (const message of batch.messages) {
      const size = bulkBytes(message);
      if (message.kind.endsWith("-refs")) bytes.references += size;
      else if (read.what === "chunks") bytes.chunks += size;
      else if (read.urgent) bytes.onDemand += size;
      else if (read.checkpoint === 0) bytes.checkpoint += size;
      else bytes.increments += size;
      if (message.kind !== "page-group") continue;
      const each = message.data.length / message.pages.length;
      this.#pageBytes += (each - this.#pageBytes) * SIZE_WEIGHT;
      pages.sent += message.pages.length;
      if (read.urgent) pages.onDemand += message.pages.length;
    }
    if (read.what === "pages") {
      const each = batch.messages.reduce((sum, m) => sum + bulkBytes(m), 0) / read.count;
      this.#readBytes += (Math.max(each, LEAST_READ_BYTES) - this.#readBytes) * SIZE_WEIGHT;
    }
    pages.zero += batch.zeroPages;
    pages.referenced += batch.referenced;
  }
}

function announce(report: BegunReport): readonly Message[] {
  const { id, position, ticks, state, pages, trace } = report;
  assert(trace !== undefined, "a machine that moves is recorded");
  const chunks = report.chunks.map(({ disk, chunk }): [number, number] => [disk, chunk]);
  const first = chunks.slice(0, CHUNKS_PER_MESSAGE);
  const messages: Message[] = [
    {
      kind: "checkpoint",
      checkpoint: id,
      position,
      ticks,
      trace,
      state,
      pages: encodePageSet(pages),
      chunks: first,
      more: chunks.length > first.length,
    },
  ];
  for (let at = first.length; at < chunks.length; at += CHUNKS_PER_MESSAGE) {
    messages.push({
      kind: "checkpoint-chunks",
      checkpoint: id,
      chunks: chunks.slice(at, at + CHUNKS_PER_MESSAGE),
      more: at + CHUNKS_PER_MESSAGE < chunks.length,
    });
  }
  return messages;
}
