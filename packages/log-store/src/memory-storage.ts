/** What a store in memory keeps. */
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import type { Segment, TracePoint } from "@dejavm/trace";
import type {
  CheckpointId,
  CheckpointInfo,
  LineageId,
  LineageInfo,
  OwnershipRecord,
  StoredReport,
} from "./log-store.ts";
import { isChunkPlace } from "./places.ts";
import { unknownCheckpointError } from "./store-errors.ts";

/** A checkpoint in memory. */
export interface MemoryCheckpoint {
  readonly info: CheckpointInfo;
  readonly state: Uint8Array;
  /** Content by place, as hexadecimal sha256; empty: zeros. Everything, not only the increment. */
  readonly places: ReadonlyMap<number, string>;
}

/** A lineage in memory. */
export interface MemoryLineage {
  info: LineageInfo;
  readonly segments: Segment[];
  readonly ownership: OwnershipRecord[];
  readonly reports: StoredReport[];
  readonly checkpoints: MemoryCheckpoint[];
}

/** What survives a process: several `MemoryLogStore`s may be opened on one, as on a directory. */
export class MemoryStorage {
  readonly lineages = new Map<LineageId, MemoryLineage>();
  /** By hexadecimal sha256. */
  readonly contents = new Map<string, Uint8Array>();
  readonly leases = new Set<LineageId>();
  /** What readers read that somebody may still use. */
  readonly readers = new Set<WeakRef<{ contents(): Iterable<string> }>>();
  nextCheckpoint = 1;

  /** Contents that stay although no checkpoint may need them. */
  *pinned(): Generator<string> {
    for (const reference of this.readers) yield* reference.deref()?.contents() ?? [];
  }

  /** What the death of every process that has it open leaves: committed things, no leases. */
  crash(): void {
    this.leases.clear();
  }
}

/** Where a lineage's trace ends. */
export function memoryTraceEnd({ segments }: MemoryLineage): TracePoint | undefined {
  const last = segments.at(-1);
  if (last === undefined) return undefined;
  const { sequence, unitCount, to, chain } = last.header;
  return { sequence: sequence + unitCount, ...to, chain };
}

/** Bytes of a lineage's trace and of what its checkpoints need. */
export function memoryLineageBytes(lineage: MemoryLineage): number {
  const needed = new Map<string, number>();
  for (const { places } of lineage.checkpoints) {
    for (const [place, hex] of places) {
      if (hex !== "") needed.set(hex, isChunkPlace(place) ? CHUNK_BYTES : PAGE_BYTES);
    }
  }
  const contents = [...needed.values()].reduce((sum, bytes) => sum + bytes, 0);
  return lineage.segments.reduce((sum, { bytes }) => sum + bytes.length, contents);
}

/** Throws E_STORE_UNKNOWN. */
export function findCheckpoint(storage: MemoryStorage, id: CheckpointId): MemoryCheckpoint {
  for (const { checkpoints } of storage.lineages.values()) {
    const found = checkpoints.find(({ info }) => info.id === id);
    if (found !== undefined) return found;
  }
  throw unknownCheckpointError(id);
}
