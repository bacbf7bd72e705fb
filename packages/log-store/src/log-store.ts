/**
 * What a log store is: lineages with their traces, checkpoints, ownership records and reports. It
 * knows nothing of what a machine does; configurations, states and segments are bytes to it.
 *
 * Everything is synchronous but `sync`. A method that writes has committed when it returns: that
 * survives any death of the process. After `sync` (or `syncNow`) it survives a loss of power, too;
 * ownership records always do. Every implementation runs `registerLogStoreContract`.
 */
import type { Brand } from "@dejavm/base";
import type { Position, Ticks } from "@dejavm/machine";
import type { Segment, TracePoint } from "@dejavm/trace";
import type { ContentPack } from "./content-pack.ts";
import type { Packer } from "./packer/packer.ts";

/** One virtual machine's life, the same on every host that it lives on: 8 to 64 of A-Za-z0-9_-. */
export type LineageId = Brand<string, "LineageId">;
/** A checkpoint within one store; grows with each checkpoint that is begun. */
export type CheckpointId = Brand<number, "CheckpointId">;

/** What is known about a lineage from its beginning. */
export interface NewLineage {
  /** Where the lineage began elsewhere, its id there; absent: a new one is made up. */
  readonly id?: LineageId;
  /** Unique within the store: 1 to 64 letters, digits and `. _ -`; a letter or digit first. */
  readonly name: string;
  /** How to put the machine together again; opaque, at most MAX_CONFIG_BYTES. */
  readonly config: Uint8Array;
  /** What a replay is checked against; opaque, at most MAX_CONFIG_BYTES. */
  readonly fingerprint: Uint8Array;
  /** Where a fork comes from. */
  readonly forkedFrom?: { readonly lineage: LineageId; readonly position: Position };
}

/** A lineage as lists show it. */
export interface LineageInfo extends Required<Omit<NewLineage, "forkedFrom">> {
  readonly forkedFrom: NewLineage["forkedFrom"] | undefined;
  /** Wall time, milliseconds since 1970. */
  readonly createdAtMs: number;
  /** The newest ownership record. */
  readonly ownership: OwnershipRecord | undefined;
}

/**
 * What the store's owner may do with the lineage's machine. `live`: run it. `receiving`: a
 * migration comes in, it is not ours yet. `offering`: we have offered it with the epoch of the
 * record; after a crash ask the peer. `moved`: it lives at the peer. `ended`: it was switched off
 * for good. `copy`: imported; replay and fork it, never run it.
 */
export type OwnershipState = "live" | "receiving" | "offering" | "moved" | "ended" | "copy";

/** One transition of ownership. */
export interface NewOwnershipRecord {
  /** The fencing number; never falls. */
  readonly epoch: number;
  readonly state: OwnershipState;
  /** How to reach the other side, empty if there is none; at most 4 KiB. */
  readonly peer: string;
  /** For the sessions, who know what it means; at most 64 KiB. */
  readonly detail: string;
}

/** A recorded transition. */
export interface OwnershipRecord extends NewOwnershipRecord {
  /** Wall time, milliseconds since 1970. */
  readonly atMs: number;
}

/** A report of a migration, or of anything else worth keeping. */
export interface StoredReport {
  /** `migration` or another word. */
  readonly kind: string;
  /** JSON, at most 4 MiB. */
  readonly json: string;
  /** Wall time, milliseconds since 1970. */
  readonly atMs: number;
}

/** A checkpoint's place and extent, known when it begins. */
export interface NewCheckpoint {
  readonly position: Position;
  readonly ticks: Ticks;
  /** Where the trace goes on after the checkpoint: what a replay from it begins with. */
  readonly trace: TracePoint;
  /**
   * What it is incremental on: a committed checkpoint of any lineage, or an open one of this
   * writer. Absent: it is complete by itself.
   */
  readonly parent?: CheckpointId;
  /** RAM in pages of 4 KiB. */
  readonly memoryPages: number;
  /** Encoded state of hart and devices, opaque, at most MAX_STATE_BYTES. */
  readonly state: Uint8Array;
}

/** A committed checkpoint as lists show it. */
export interface CheckpointInfo extends Omit<NewCheckpoint, "state" | "parent"> {
  readonly id: CheckpointId;
  readonly lineage: LineageId;
  readonly parent: CheckpointId | undefined;
  /** Wall time of its begin, milliseconds since 1970. */
  readonly createdAtMs: number;
  /** Pages and chunks in this increment, zero ones too. */
  readonly changes: number;
}

/** Where a chunk of a disk's overlay lies. */
export interface ChunkName {
  /** Index of the disk in the machine's configuration. */
  readonly disk: number;
  /** Byte offset / 65,536. */
  readonly chunk: number;
}

/** A chunk of a disk's overlay; `bytes` undefined: discarded, it reads as zeros. */
export interface ChunkChange extends ChunkName {
  readonly bytes: Uint8Array | undefined;
}

/**
 * A checkpoint that is being written. What is put is committed at once but belongs to nothing
 * before `commit`; the last put of a page counts. What is put never: zero pages and the base
 * disks, or as in the parent.
 */
export interface CheckpointWriter {
  readonly id: CheckpointId;
  /** `bytes`: the pages one after the other. Zero pages are found and cost nothing. */
  putPages(pages: Uint32Array, bytes: Uint8Array): void;
  putZeroPages(pages: Uint32Array): void;
  putChunks(chunks: readonly ChunkChange[]): void;
  /** Pages that another thread has hashed and compressed: `pack` item i is page `pages[i]`. */
  putPackedPages(pages: Uint32Array, pack: ContentPack): void;
  putPackedChunks(chunks: readonly ChunkName[], pack: ContentPack): void;
  /** What `puts` puts here is one commit, and all or nothing: many small ones take longer. */
  together(puts: () => void): void;
  /**
   * Pages whose contents the store has, by sha256 (32 bytes each, one after the other). Answers
   * those that it has not and that therefore are not put.
   */
  referPages(pages: Uint32Array, hashes: Uint8Array): Uint32Array;
  referChunks(chunks: readonly ChunkName[], hashes: Uint8Array): ChunkName[];
  /**
   * From now on it is a checkpoint of the lineage. An open parent's puts, where this one has none,
   * become part of it, and the parent is abandoned.
   */
  commit(): CheckpointInfo;
  /** Forgets it. Does nothing after `commit`. */
  abandon(): void;
}

/**
 * Reads one committed checkpoint, pages and chunks in any order. What it reads stays until `close`
 * or until nobody has the reader; if another process removes the checkpoint, reads throw
 * E_STORE_UNKNOWN.
 */
export interface CheckpointReader {
  readonly info: CheckpointInfo;
  readonly state: Uint8Array;
  /** Pages that are not zero, ascending. */
  readonly pages: Uint32Array;
  /** The pages one after the other; zero pages are zeros. */
  readPages(pages: Uint32Array): Uint8Array;
  /** sha256 of each page, 32 bytes each; zeros for a zero page. */
  pageHashes(pages: Uint32Array): Uint8Array;
  /** Pages that differ from those of another committed checkpoint, ascending; zero ones too. */
  pagesChangedSince(checkpoint: CheckpointId): Uint32Array;
  /** Chunks that differ from the base, ascending by disk and chunk. */
  readonly chunks: readonly ChunkName[];
  /** Undefined: as in the base. A discarded chunk is zeros. */
  readChunk(disk: number, chunk: number): Uint8Array | undefined;
  /** What it reads may go from now on. */
  close(): void;
}

/** How much of a lineage is kept. */
export interface RetentionLimits {
  /** Stored bytes of trace and checkpoints of the lineage together. */
  readonly maxBytes: number;
}

/** What a retention step removed. */
export interface RetentionReport {
  readonly checkpointsRemoved: number;
  /** Trace segments as they were stored. */
  readonly segmentsRemoved: number;
  /** Stored bytes of the lineage afterwards, before `gc` frees what nobody needs. */
  readonly bytes: number;
}

/**
 * The one who may write to a lineage: holds its lease until `release` or the process's death.
 */
export interface LineageWriter {
  readonly lineage: LineageId;
  /** Undefined: the trace is empty. */
  readonly traceEnd: TracePoint | undefined;
  /** Bytes of an interrupted write that were cut off the trace's end when this was opened. */
  readonly tornBytes: number;
  /**
   * Appends in one commit; a loss of power before `sync` can leave the first of them. Throws
   * E_STORE_SEQUENCE unless the first segment follows the trace's end; with `afterGap` it may lie
   * anywhere behind it (recording begins anew at a checkpoint).
   */
  append(segments: readonly Segment[], options?: { readonly afterGap?: boolean }): void;
  /**
   * Does now, and mostly beside the caller, what the next `recordOwnership` would have to do before
   * it returns. For a machine that runs meanwhile. Rejects as `sync` does.
   */
  prepareOwnership(): Promise<void>;
  /** Durable on return. Throws E_STORE_EPOCH if the epoch falls. */
  recordOwnership(record: NewOwnershipRecord): void;
  addReport(report: Omit<StoredReport, "atMs">): void;
  /** Throws E_STORE_NAME, E_STORE_NAME_TAKEN. */
  setName(name: string): void;
  /** Replaces the description, such as when ports or disks were added. */
  setConfig(config: Uint8Array): void;
  beginCheckpoint(checkpoint: NewCheckpoint): CheckpointWriter;
  /** Merges segments at the tail into bigger, compressed ones; cheap when there is little to do. */
  compact(): void;
  /**
   * Thins out checkpoints, then drops the oldest with their trace, until `limits` hold. What nobody
   * needs then is freed little by little, in the turns of the event loop.
   */
  retain(limits: RetentionLimits): RetentionReport;
  release(): void;
}

/** How far a long step has come. */
export interface StoreProgress {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
}

/** Something that `verify` found wrong. */
export interface StoreProblem {
  /** Undefined: it concerns the whole store. */
  readonly lineage: LineageId | undefined;
  /** `trace`, `checkpoint`, `contents`, `ownership`, `database`. */
  readonly part: string;
  readonly message: string;
}

/** What `verify` looked at. */
export interface VerifyReport {
  readonly problems: readonly StoreProblem[];
  readonly lineages: number;
  /** Trace segments as they are stored. */
  readonly segments: number;
  readonly checkpoints: number;
  /** Distinct pages and chunks whose sha256 was compared. */
  readonly contents: number;
  /** Bytes read and decompressed. */
  readonly bytes: number;
}

/** What `gc` removed. */
export interface GcReport {
  readonly contentsRemoved: number;
  /** Stored bytes freed. */
  readonly bytesFreed: number;
}

/** A store of lineages; see the file's header. */
export interface LogStore {
  /** The thread that hashes and compresses for whoever puts much; it ends with the store. */
  readonly packer: Packer;
  /** Starts the threads that much writing needs, before it comes. */
  prepare(): void;
  /** In order of their names. */
  lineages(): readonly LineageInfo[];
  /** By id or by name. */
  findLineage(reference: string): LineageInfo | undefined;
  /** Throws E_STORE_NAME_TAKEN, E_STORE_EXISTS (the id), E_STORE_NAME. */
  createLineage(lineage: NewLineage): LineageInfo;
  /** Throws E_STORE_BUSY if somebody writes to it, E_STORE_UNKNOWN. */
  removeLineage(lineage: LineageId): void;
  /** Whether somebody writes to it now, as far as the host says; for people to read. */
  isInUse(lineage: LineageId): boolean;
  /** Throws E_STORE_BUSY while another writer, of this process or another, has it. */
  openLineage(lineage: LineageId): LineageWriter;

  /** All transitions, oldest first. */
  ownershipHistory(lineage: LineageId): readonly OwnershipRecord[];
  reports(lineage: LineageId): readonly StoredReport[];
  /** Undefined: the trace is empty. */
  traceEnd(lineage: LineageId): TracePoint | undefined;
  /**
   * Segments in order from the one with unit `fromSequence` on (it may begin earlier), also those
   * that are appended meanwhile.
   */
  readTrace(lineage: LineageId, fromSequence: number): Iterable<Segment>;
  /** Committed checkpoints, oldest first. */
  checkpoints(lineage: LineageId): readonly CheckpointInfo[];
  /** Throws E_STORE_UNKNOWN. */
  openCheckpoint(checkpoint: CheckpointId): CheckpointReader;
  /** For each sha256 (32 bytes each): is there such a page or chunk? */
  hasContents(hashes: Uint8Array): boolean[];
  /** A page or chunk by its sha256. */
  readContent(hash: Uint8Array): Uint8Array | undefined;
  /** Stored bytes of a lineage's trace and checkpoints; what others share counts, too. */
  lineageBytes(lineage: LineageId): number;

  /** All that was written before the call is durable when it resolves; calls are grouped. */
  sync(): Promise<void>;
  /** The same, blocking. */
  syncNow(): void;
  /** Looks at everything. May be left off at any step. */
  verify(): Generator<StoreProgress, VerifyReport>;
  /** Frees what no checkpoint needs. May be left off at any step. */
  gc(): Generator<StoreProgress, GcReport>;
  close(): void;
}

/** Runs a long step to its end without showing progress. */
export function finish<Result>(steps: Generator<StoreProgress, Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
