/** What Node's libraries do for a trace. */
import type { TraceCodecs } from "@dejavm/trace";
import { compress, decompress, sha256 } from "./content-pack.ts";

/** sha256 and zstd of Node. */
export const HOST_CODECS: TraceCodecs = { sha256, compress, decompress };
