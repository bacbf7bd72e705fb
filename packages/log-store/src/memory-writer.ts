/** Writer and readers of the store in memory. */
import { assert } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import type { Segment, TracePoint } from "@dejavm/trace";
import { type ContentPack, HASH_BYTES, hexHash, sha256, unpack } from "./content-pack.ts";
import { MAX_CONFIG_BYTES } from "./limits.ts";
import type {
  CheckpointId,
  CheckpointInfo,
  CheckpointReader,
  CheckpointWriter,
  ChunkChange,
  ChunkName,
  LineageId,
  LineageWriter,
  NewCheckpoint,
  NewOwnershipRecord,
  RetentionLimits,
  RetentionReport,
  StoredReport,
} from "./log-store.ts";
import {
  findCheckpoint,
  type MemoryCheckpoint,
  type MemoryLineage,
  type MemoryStorage,
  memoryLineageBytes,
  memoryTraceEnd,
} from "./memory-storage.ts";
import { chunkPlace, isChunkPlace, pagePlace, placeParts } from "./places.ts";
import { nextVictim } from "./retention.ts";
import {
  checkAppend,
  checkChunk,
  checkName,
  checkNewCheckpoint,
  checkOwnership,
  checkPages,
  checkReport,
  checkSize,
} from "./rules.ts";
import { nameTakenError, storeError } from "./store-errors.ts";

const ZERO_PAGE = Buffer.alloc(PAGE_BYTES);
const ZERO_CHUNK = Buffer.alloc(CHUNK_BYTES);

/** What a writer works on. */
interface WriterParts {
  readonly storage: MemoryStorage;
  readonly lineage: MemoryLineage;
  readonly now: () => number;
  readonly release: () => void;
}

/** The one writer of a lineage in memory. */
export class MemoryLineageWriter implements LineageWriter {
  readonly #parts: WriterParts;
  readonly tornBytes = 0;
  readonly #open = new Map<CheckpointId, MemoryCheckpointWriter>();
  #released = false;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  get lineage(): LineageId {
    return this.#parts.lineage.info.id;
  }

  get traceEnd(): TracePoint | undefined {
    return memoryTraceEnd(this.#parts.lineage);
  }

  append(segments: readonly Segment[], options: { readonly afterGap?: boolean } = {}): void {
    this.#checkHeld();
    checkAppend(this.traceEnd, segments, options.afterGap === true);
    this.#parts.lineage.segments.push(...structuredClone(segments));
  }

  async prepareOwnership(): Promise<void> {
    this.#checkHeld();
  }

  recordOwnership(record: NewOwnershipRecord): void {
    this.#checkHeld();
    const { lineage, now } = this.#parts;
    checkOwnership(lineage.ownership.at(-1), record);
    const { epoch, state, peer, detail } = record;
    const recorded = { epoch, state, peer, detail, atMs: now() };
    lineage.ownership.push(recorded);
    lineage.info = { ...lineage.info, ownership: recorded };
  }

  addReport(report: Omit<StoredReport, "atMs">): void {
    this.#checkHeld();
    checkReport(report);
    this.#parts.lineage.reports.push({ ...report, atMs: this.#parts.now() });
  }

  setConfig(config: Uint8Array): void {
    this.#checkHeld();
    checkSize("configuration", config.length, MAX_CONFIG_BYTES);
    const { lineage } = this.#parts;
    lineage.info = { ...lineage.info, config: new Uint8Array(config) };
  }

  setName(name: string): void {
    this.#checkHeld();
    checkName(name);
    const { storage, lineage } = this.#parts;
    const taken = [...storage.lineages.values()].some(
      (other) => other !== lineage && other.info.name === name,
    );
    if (taken) throw nameTakenError(name);
    lineage.info = { ...lineage.info, name };
  }

  beginCheckpoint(checkpoint: NewCheckpoint): CheckpointWriter {
    this.#checkHeld();
    checkNewCheckpoint(checkpoint);
    const { storage, lineage, now } = this.#parts;
    const { parent } = checkpoint;
    const openParent = parent === undefined ? undefined : this.#open.get(parent);
    if (parent !== undefined && openParent === undefined) findCheckpoint(storage, parent);
    const id = storage.nextCheckpoint++ as CheckpointId;
    const writer = new MemoryCheckpointWriter({
      storage,
      lineage,
      id,
      created: { ...checkpoint, state: new Uint8Array(checkpoint.state) },
      createdAtMs: now(),
      openParent,
      checkHeld: () => this.#checkHeld(),
      done: () => this.#open.delete(id),
    });
    this.#open.set(id, writer);
    return writer;
  }

  compact(): void {
    this.#checkHeld();
  }

  retain({ maxBytes }: RetentionLimits): RetentionReport {
    this.#checkHeld();
    const { lineage } = this.#parts;
    const { checkpoints, segments } = lineage;
    const before = { checkpoints: checkpoints.length, segments: segments.length };
    for (;;) {
      const oldest = checkpoints[0]?.info.trace.sequence ?? 0;
      const kept = segments.findIndex(({ header }) => header.sequence + header.unitCount > oldest);
      segments.splice(0, kept === -1 ? segments.length : kept);
      const bytes = memoryLineageBytes(lineage);
      const ring = checkpoints.map(({ info }) => info);
      const victim = nextVictim(ring, bytes, maxBytes);
      if (victim === undefined) {
        return {
          checkpointsRemoved: before.checkpoints - checkpoints.length,
          segmentsRemoved: before.segments - segments.length,
          bytes,
        };
      }
      checkpoints.splice(victim, 1);
    }
  }

  release(): void {
    if (this.#released) return;
    for (const writer of this.#open.values()) writer.abandon();
    this.#released = true;
    this.#parts.release();
  }

  #checkHeld(): void {
    const { storage, lineage } = this.#parts;
    if (!this.#released && storage.leases.has(lineage.info.id)) return;
    throw storeError("E_STORE_CLOSED", `cannot write to ${lineage.info.name}: it was released`);
  }
}

interface CheckpointParts {
  readonly storage: MemoryStorage;
  readonly lineage: MemoryLineage;
  readonly id: CheckpointId;
  readonly created: NewCheckpoint;
  readonly createdAtMs: number;
  readonly openParent: MemoryCheckpointWriter | undefined;
  readonly checkHeld: () => void;
  readonly done: () => void;
}

class MemoryCheckpointWriter implements CheckpointWriter {
  readonly #parts: CheckpointParts;
  readonly #places = new Map<number, string>();
  #state: "open" | "committed" | "abandoned" = "open";

  constructor(parts: CheckpointParts) {
    this.#parts = parts;
  }

  get id(): CheckpointId {
    return this.#parts.id;
  }

  putPages(pages: Uint32Array, bytes: Uint8Array): void {
    this.#check();
    checkPages(pages, this.#parts.created.memoryPages, bytes);
    for (const [i, page] of pages.entries()) {
      this.#put(pagePlace(page), bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES));
    }
  }

  putZeroPages(pages: Uint32Array): void {
    this.#check();
    checkPages(pages, this.#parts.created.memoryPages);
    for (const page of pages) this.#places.set(pagePlace(page), "");
  }

  putPackedPages(pages: Uint32Array, pack: ContentPack): void {
    this.putPages(pages, unpack(pack));
  }

  putPackedChunks(chunks: readonly ChunkName[], pack: ContentPack): void {
    const bytes = unpack(pack);
    this.putChunks(
      chunks.map((name, i) => ({
        ...name,
        bytes: bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
      })),
    );
  }

  together(puts: () => void): void {
    this.#check();
    const before = new Map(this.#places);
    try {
      puts();
    } catch (error) {
      this.#places.clear();
      for (const [place, key] of before) this.#places.set(place, key);
      throw error;
    }
  }

  putChunks(chunks: readonly ChunkChange[]): void {
    this.#check();
    for (const change of chunks) {
      checkChunk(change);
      this.#put(chunkPlace(change.disk, change.chunk), change.bytes ?? ZERO_CHUNK);
    }
  }

  referPages(pages: Uint32Array, hashes: Uint8Array): Uint32Array {
    this.#check();
    checkPages(pages, this.#parts.created.memoryPages);
    assert(hashes.length === pages.length * HASH_BYTES, "a hash for each page");
    return pages.filter((page, i) => !this.#refer(pagePlace(page), hashes, i, PAGE_BYTES));
  }

  referChunks(chunks: readonly ChunkName[], hashes: Uint8Array): ChunkName[] {
    this.#check();
    assert(hashes.length === chunks.length * HASH_BYTES, "a hash for each chunk");
    return chunks.filter(({ disk, chunk }, i) => {
      return !this.#refer(chunkPlace(disk, chunk), hashes, i, CHUNK_BYTES);
    });
  }

  commit(): CheckpointInfo {
    this.#check();
    const { storage, lineage, id, created, createdAtMs, openParent, done } = this.#parts;
    const own = this.#fold();
    let base: ReadonlyMap<number, string> = new Map();
    const parent = this.#committedParent();
    if (parent !== undefined) base = findCheckpoint(storage, parent).places;
    const { state, parent: _, ...place } = created;
    const info = { ...place, id, lineage: lineage.info.id, parent, createdAtMs, changes: own.size };
    openParent?.abandon();
    lineage.checkpoints.push({ info, state, places: new Map([...base, ...own]) });
    this.#state = "committed";
    done();
    return info;
  }

  abandon(): void {
    if (this.#state !== "open") return;
    this.#state = "abandoned";
    this.#parts.done();
  }

  /** Own places over those of open ancestors. */
  #fold(): Map<number, string> {
    const { openParent } = this.#parts;
    if (openParent === undefined || openParent.#state === "committed") return this.#places;
    return new Map([...openParent.#fold(), ...this.#places]);
  }

  #committedParent(): CheckpointId | undefined {
    const { openParent, created } = this.#parts;
    if (openParent === undefined || openParent.#state === "committed") return created.parent;
    return openParent.#committedParent();
  }

  /** Whether there is such a content. */
  #refer(place: number, hashes: Uint8Array, index: number, itemBytes: number): boolean {
    const hex = hexHash(hashes, index);
    const isKnown = this.#parts.storage.contents.get(hex)?.length === itemBytes;
    if (isKnown) this.#places.set(place, hex);
    return isKnown;
  }

  #put(place: number, bytes: Uint8Array): void {
    const zeros = bytes.length === PAGE_BYTES ? ZERO_PAGE : ZERO_CHUNK;
    if (zeros.equals(bytes)) {
      this.#places.set(place, "");
      return;
    }
    const hex = hexHash(sha256(bytes), 0);
    const { contents } = this.#parts.storage;
    if (!contents.has(hex)) contents.set(hex, new Uint8Array(bytes));
    this.#places.set(place, hex);
  }

  #check(): void {
    this.#parts.checkHeld();
    if (this.#state === "open") return;
    const message = `cannot write to checkpoint ${this.id}: it is ${this.#state}`;
    throw storeError("E_STORE_CHECKPOINT", message);
  }
}

/** Reads a checkpoint in memory. */
export class MemoryCheckpointReader implements CheckpointReader {
  readonly #storage: MemoryStorage;
  readonly #checkpoint: MemoryCheckpoint;
  #isClosed = false;

  /** Throws E_STORE_UNKNOWN. */
  constructor(storage: MemoryStorage, id: CheckpointId) {
    this.#storage = storage;
    this.#checkpoint = findCheckpoint(storage, id);
  }

  get info(): CheckpointInfo {
    return this.#checkpoint.info;
  }

  /** Hashes of all that can be read. */
  contents(): Iterable<string> {
    return this.#isClosed ? [] : this.#checkpoint.places.values();
  }

  close(): void {
    this.#isClosed = true;
  }

  get state(): Uint8Array {
    return this.#checkpoint.state;
  }

  get pages(): Uint32Array {
    const pages = [...this.#checkpoint.places]
      .filter(([place, hex]) => !isChunkPlace(place) && hex !== "")
      .map(([place]) => place);
    return Uint32Array.from(pages).sort();
  }

  readPages(pages: Uint32Array): Uint8Array {
    const bytes = new Uint8Array(pages.length * PAGE_BYTES);
    for (const [i, page] of pages.entries()) {
      const content = this.#content(pagePlace(page));
      if (content !== undefined) bytes.set(content, i * PAGE_BYTES);
    }
    return bytes;
  }

  pageHashes(pages: Uint32Array): Uint8Array {
    const hashes = new Uint8Array(pages.length * HASH_BYTES);
    for (const [i, page] of pages.entries()) {
      const hex = this.#checkpoint.places.get(pagePlace(page)) ?? "";
      hashes.set(Buffer.from(hex, "hex"), i * HASH_BYTES);
    }
    return hashes;
  }

  pagesChangedSince(checkpoint: CheckpointId): Uint32Array {
    const other = findCheckpoint(this.#storage, checkpoint).places;
    const mine = this.#checkpoint.places;
    const changed = [...new Set([...other.keys(), ...mine.keys()])].filter(
      (place) => !isChunkPlace(place) && (other.get(place) ?? "") !== (mine.get(place) ?? ""),
    );
    return Uint32Array.from(changed).sort();
  }

  get chunks(): readonly ChunkName[] {
    return [...this.#checkpoint.places.keys()]
      .filter(isChunkPlace)
      .toSorted((a, b) => a - b)
      .map((place) => {
        const { disk = 0, index } = placeParts(place);
        return { disk, chunk: index };
      });
  }

  readChunk(disk: number, chunk: number): Uint8Array | undefined {
    const place = chunkPlace(disk, chunk);
    if (!this.#checkpoint.places.has(place)) return undefined;
    return this.#content(place) ?? new Uint8Array(CHUNK_BYTES);
  }

  /** Undefined: zeros. */
  #content(place: number): Uint8Array | undefined {
    const hex = this.#checkpoint.places.get(place) ?? "";
    if (hex === "") return undefined;
    const content = this.#storage.contents.get(hex);
    if (content === undefined) throw storeError("E_STORE_CORRUPT", `content ${hex} is missing`);
    return content.slice();
  }
}
