/** The store in memory: for tests and simulations, and what the other one is compared with. */
import type { Segment, TracePoint } from "@dejavm/trace";
import { HASH_BYTES, hexHash, sha256 } from "./content-pack.ts";
import type {
  CheckpointId,
  CheckpointInfo,
  CheckpointReader,
  GcReport,
  LineageId,
  LineageInfo,
  LineageWriter,
  LogStore,
  NewLineage,
  OwnershipRecord,
  StoredReport,
  StoreProgress,
  VerifyReport,
} from "./log-store.ts";
import {
  type MemoryLineage,
  MemoryStorage,
  memoryLineageBytes,
  memoryTraceEnd,
} from "./memory-storage.ts";
import { MemoryCheckpointReader, MemoryLineageWriter } from "./memory-writer.ts";
import { Packer } from "./packer/packer.ts";
import { checkNewLineage, newLineageId } from "./rules.ts";
import {
  busyError,
  existsError,
  nameTakenError,
  storeError,
  unknownLineageError,
} from "./store-errors.ts";

/** Options of a store in memory. */
export interface MemoryLogStoreOptions {
  readonly storage?: MemoryStorage;
  /** Wall time, milliseconds since 1970. */
  readonly now?: () => number;
}

/** A `LogStore` in memory; durable as long as its storage. */
export class MemoryLogStore implements LogStore {
  readonly packer = new Packer();
  readonly #storage: MemoryStorage;
  readonly #now: () => number;
  readonly #held = new Set<LineageId>();
  #closed = false;

  constructor({ storage = new MemoryStorage(), now = Date.now }: MemoryLogStoreOptions = {}) {
    this.#storage = storage;
    this.#now = now;
  }

  prepare(): void {
    this.packer.prepare();
  }

  lineages(): readonly LineageInfo[] {
    this.#checkOpen();
    const all = [...this.#storage.lineages.values()].map(({ info }) => info);
    return all.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  findLineage(reference: string): LineageInfo | undefined {
    const all = this.lineages();
    return all.find(({ name }) => name === reference) ?? all.find(({ id }) => id === reference);
  }

  createLineage(lineage: NewLineage): LineageInfo {
    this.#checkOpen();
    checkNewLineage(lineage);
    const { name, config, fingerprint, forkedFrom } = lineage;
    const id = lineage.id ?? newLineageId();
    if (this.#storage.lineages.has(id)) throw existsError(id);
    if (this.lineages().some((other) => other.name === name)) throw nameTakenError(name);
    const info: LineageInfo = {
      id,
      name,
      config: new Uint8Array(config),
      fingerprint: new Uint8Array(fingerprint),
      forkedFrom,
      createdAtMs: this.#now(),
      ownership: undefined,
    };
    const nothing = { segments: [], ownership: [], reports: [], checkpoints: [] };
    this.#storage.lineages.set(id, { info, ...nothing });
    return info;
  }

  removeLineage(lineage: LineageId): void {
    this.#lineage(lineage);
    if (this.#storage.leases.has(lineage)) throw busyError(lineage);
    this.#storage.lineages.delete(lineage);
  }

  isInUse(lineage: LineageId): boolean {
    return this.#storage.leases.has(lineage);
  }

  openLineage(id: LineageId): LineageWriter {
    const lineage = this.#lineage(id);
    if (this.#storage.leases.has(id)) throw busyError(id);
    this.#storage.leases.add(id);
    this.#held.add(id);
    return new MemoryLineageWriter({
      storage: this.#storage,
      lineage,
      now: this.#now,
      release: () => {
        if (this.#held.delete(id)) this.#storage.leases.delete(id);
      },
    });
  }

  ownershipHistory(lineage: LineageId): readonly OwnershipRecord[] {
    return [...this.#lineage(lineage).ownership];
  }

  reports(lineage: LineageId): readonly StoredReport[] {
    return [...this.#lineage(lineage).reports];
  }

  traceEnd(lineage: LineageId): TracePoint | undefined {
    return memoryTraceEnd(this.#lineage(lineage));
  }

  *readTrace(lineage: LineageId, fromSequence: number): Iterable<Segment> {
    let next = fromSequence;
    for (;;) {
      const { segments } = this.#lineage(lineage);
      const found = segments.find(({ header }) => header.sequence + header.unitCount > next);
      if (found === undefined) return;
      yield found;
      next = found.header.sequence + found.header.unitCount;
    }
  }

  checkpoints(lineage: LineageId): readonly CheckpointInfo[] {
    return this.#lineage(lineage).checkpoints.map(({ info }) => info);
  }

  openCheckpoint(id: CheckpointId): CheckpointReader {
    this.#checkOpen();
    const reader = new MemoryCheckpointReader(this.#storage, id);
    this.#storage.readers.add(new WeakRef(reader));
    return reader;
  }

  hasContents(hashes: Uint8Array): boolean[] {
    this.#checkOpen();
    const { contents } = this.#storage;
    return Array.from({ length: hashes.length / HASH_BYTES }, (_, i) =>
      contents.has(hexHash(hashes, i)),
    );
  }

  readContent(hash: Uint8Array): Uint8Array | undefined {
    this.#checkOpen();
    return this.#storage.contents.get(hexHash(hash, 0))?.slice();
  }

  lineageBytes(lineage: LineageId): number {
    return memoryLineageBytes(this.#lineage(lineage));
  }

  async sync(): Promise<void> {
    this.#checkOpen();
    await Promise.resolve();
  }

  syncNow(): void {
    this.#checkOpen();
  }

  *verify(): Generator<StoreProgress, VerifyReport> {
    this.#checkOpen();
    const { lineages, contents } = this.#storage;
    const all = [...lineages.values()];
    const problems = [];
    let bytes = 0;
    for (const [hex, content] of contents) {
      bytes += content.length;
      if (Buffer.from(sha256(content)).toString("hex") === hex) continue;
      problems.push({ lineage: undefined, part: "contents", message: `content ${hex} differs` });
    }
    yield { phase: "contents", done: contents.size, total: contents.size };
    return {
      problems,
      lineages: all.length,
      segments: all.reduce((sum, { segments }) => sum + segments.length, 0),
      checkpoints: all.reduce((sum, { checkpoints }) => sum + checkpoints.length, 0),
      contents: contents.size,
      bytes,
    };
  }

  *gc(): Generator<StoreProgress, GcReport> {
    this.#checkOpen();
    const { lineages, contents } = this.#storage;
    const needed = new Set<string>(this.#storage.pinned());
    for (const { checkpoints } of lineages.values()) {
      for (const { places } of checkpoints) for (const hex of places.values()) needed.add(hex);
    }
    const report = { contentsRemoved: 0, bytesFreed: 0 };
    for (const [hex, content] of contents) {
      if (needed.has(hex)) continue;
      contents.delete(hex);
      report.contentsRemoved++;
      report.bytesFreed += content.length;
    }
    yield { phase: "contents", done: contents.size, total: contents.size };
    return report;
  }

  close(): void {
    this.#closed = true;
    this.packer.close();
    for (const id of this.#held) this.#storage.leases.delete(id);
    this.#held.clear();
  }

  #lineage(id: LineageId): MemoryLineage {
    this.#checkOpen();
    const lineage = this.#storage.lineages.get(id);
    if (lineage === undefined) throw unknownLineageError(id);
    return lineage;
  }

  #checkOpen(): void {
    if (this.#closed) throw storeError("E_STORE_CLOSED", "cannot use the store: it is closed");
  }
}
