/** Writes one lineage with all that is its own as a portable file. */
import { PAGE_BYTES, type State } from "@dejavm/machine";
import { HASH_BYTES, hexHash, MAX_PACK_ITEMS, makePack } from "../content-pack.ts";
import type {
  CheckpointId,
  CheckpointReader,
  LineageInfo,
  LogStore,
  StoreProgress,
} from "../log-store.ts";
import { unknownLineageError } from "../store-errors.ts";
import { ExportWriter } from "./format.ts";

/** Pages whose hashes are looked at together. */
const PAGES_AT_ONCE = 4096;
/** Segments between two reports of progress. */
const SEGMENTS_AT_ONCE = 256;

/** What an export holds. */
export interface ExportReport {
  readonly lineage: LineageInfo;
  readonly checkpoints: number;
  readonly segments: number;
  /** Distinct pages. */
  readonly pages: number;
  /** Size of the file. */
  readonly bytes: number;
}

/**
 * Hands the file's bytes to `write`, in order. May be left off at any step; the file is whole only
 * after the last. Throws E_STORE_UNKNOWN, E_STORE_CORRUPT, and what `write` throws.
 */
export function* exportLineage(
  store: LogStore,
  reference: string,
  write: (bytes: Uint8Array) => void,
): Generator<StoreProgress, ExportReport> {
  const lineage = store.findLineage(reference);
  if (lineage === undefined) throw unknownLineageError(reference);
  let bytes = 0;
  const out = new ExportWriter((piece) => {
    bytes += piece.length;
    write(piece);
  });
  const { id, name, config, fingerprint, forkedFrom: from } = lineage;
  const origin: State = from === undefined ? {} : { ...from };
  out.record("lineage", { id, name, config, fingerprint, origin });
  for (const record of store.ownershipHistory(id)) out.record("ownership", { ...record });
  for (const report of store.reports(id)) out.record("report", { ...report });

  const written: Written = { pages: new Set(), chunks: new Map() };
  const checkpoints = store.checkpoints(id);
  let before: CheckpointId | undefined;
  for (const [done, info] of checkpoints.entries()) {
    yield { phase: "checkpoints", done, total: checkpoints.length };
    const reader = store.openCheckpoint(info.id);
    try {
      yield* exportCheckpoint(out, reader, before, written);
    } finally {
      reader.close();
    }
    before = info.id;
  }
  let segments = 0;
  for (const { bytes: segment } of store.readTrace(id, 0)) {
    out.record("segment", { bytes: segment });
    if (++segments % SEGMENTS_AT_ONCE === 0) {
      yield { phase: "trace", done: segments, total: segments };
    }
  }
  out.end();
  return { lineage, checkpoints: checkpoints.length, segments, pages: written.pages.size, bytes };
}

/** What the file has so far. */
interface Written {
  /** Hashes of pages. */
  readonly pages: Set<string>;
  /** Hash of the newest content by disk and chunk. */
  readonly chunks: Map<string, string>;
}

/** What differs from the checkpoint before, or all of the first. */
function* exportCheckpoint(
  out: ExportWriter,
  reader: CheckpointReader,
  before: CheckpointId | undefined,
  written: Written,
): Generator<StoreProgress> {
  const { position, ticks, trace, memoryPages } = reader.info;
  out.record("checkpoint", {
    position,
    ticks,
    trace: { ...trace },
    memoryPages,
    isIncrement: before !== undefined,
    state: reader.state,
  });
  const pages = before === undefined ? reader.pages : reader.pagesChangedSince(before);
  for (let from = 0; from < pages.length; from += PAGES_AT_ONCE) {
    exportPages(out, reader, pages.subarray(from, from + PAGES_AT_ONCE), written);
    yield { phase: "pages", done: from, total: pages.length };
  }
  for (const { disk, chunk } of reader.chunks) {
    const bytes = reader.readChunk(disk, chunk) ?? new Uint8Array(0);
    const { hashes, codec, data } = makePack(bytes.length, bytes);
    const hash = hexHash(hashes, 0);
    if (written.chunks.get(`${disk} ${chunk}`) === hash) continue;
    written.chunks.set(`${disk} ${chunk}`, hash);
    out.record("chunk", { disk, chunk, codec, data });
  }
}

function exportPages(
  out: ExportWriter,
  reader: CheckpointReader,
  pages: Uint32Array,
  written: Written,
): void {
  const hashes = reader.pageHashes(pages);
  const zeros: number[] = [];
  const known: number[] = [];
  const fresh: number[] = [];
  for (let i = 0; i < pages.length; i++) {
    const hash = hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES);
    if (hash.every((byte) => byte === 0)) zeros.push(i);
    else if (written.pages.has(hexHash(hashes, i))) known.push(i);
    else {
      fresh.push(i);
      written.pages.add(hexHash(hashes, i));
    }
  }
  const numbers = (indices: readonly number[]): Uint32Array =>
    Uint32Array.from(indices, (i) => pages[i] ?? 0);
  if (zeros.length > 0) out.record("zeros", { pages: bytesOf(numbers(zeros)) });
  for (let from = 0; from < fresh.length; from += MAX_PACK_ITEMS) {
    const some = numbers(fresh.slice(from, from + MAX_PACK_ITEMS));
    const { hashes: sums, codec, data } = makePack(PAGE_BYTES, reader.readPages(some));
    out.record("pages", { pages: bytesOf(some), hashes: sums, codec, data });
  }
  if (known.length > 0) {
    const sums = known.map((i) => hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
    const some = numbers(known);
    out.record("references", { pages: bytesOf(some), hashes: new Uint8Array(Buffer.concat(sums)) });
  }
}

/** Little-endian, as every number of the file. */
function bytesOf(numbers: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(numbers.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, number] of numbers.entries()) view.setUint32(i * 4, number, true);
  return bytes;
}
