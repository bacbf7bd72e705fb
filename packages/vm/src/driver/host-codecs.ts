/** What the host's libraries do for snapshots and traces. */
import { hash } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { SnapshotCodecs } from "@dejavm/machine";

/** sha256, and zstd at its fastest. */
export const hostCodecs: SnapshotCodecs = {
  sha256: (bytes) => hash("sha256", bytes, "buffer"),
  compress: (bytes) =>
    zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
  decompress: (bytes, plainBytes) => zstdDecompressSync(bytes, { maxOutputLength: plainBytes }),
};
