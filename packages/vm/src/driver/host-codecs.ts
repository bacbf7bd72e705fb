/** What the host's libraries do for snapshots and traces. */
import { hash } from "node:crypto";
import { constants, crc32, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { TraceCodecs } from "@dejavm/trace";

/** sha256, crc32, and zstd at its fastest. */
export const hostCodecs: TraceCodecs = {
  sha256: (bytes) => hash("sha256", bytes, "buffer"),
  crc32: (bytes) => crc32(bytes),
  compress: (bytes) =>
    zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
  decompress: (bytes, plainBytes) => zstdDecompressSync(bytes, { maxOutputLength: plainBytes }),
};
