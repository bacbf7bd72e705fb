/** What the host's libraries do for a trace; it has none of its own. */
import type { SnapshotCodecs } from "@dejavm/machine";

/** sha256, and a compressor for blocks that are kept. The same that snapshots use. */
export interface TraceCodecs extends SnapshotCodecs {
  /** CRC-32 (IEEE), where the host has one that is faster than ours: every input passes it. */
  readonly crc32?: (bytes: Uint8Array) => number;
}
/** Segments that are written, or read uncompressed, need no more. */
export type TraceHasher = Pick<TraceCodecs, "sha256" | "crc32">;
