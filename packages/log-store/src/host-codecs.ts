/** What Node's libraries do for a trace. */
import { crc32 } from "node:zlib";
import type { TraceCodecs } from "@dejavm/trace";
import { compress, decompress, sha256 } from "./content-pack.ts";

/** sha256, crc32 and zstd of Node. */
export const HOST_CODECS: TraceCodecs = {
  sha256,
  crc32: (bytes) => crc32(bytes),
  compress,
  decompress,
};
