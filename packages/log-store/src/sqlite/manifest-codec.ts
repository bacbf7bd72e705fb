/**
 * Parts of a checkpoint's manifest: which content lies at which place. A part is a table by
 * columns, of differences to the row before, as 64-bit floats, compressed: neighbouring pages with
 * neighbouring contents shrink to next to nothing.
 */
import { ByteReader, ByteWriter } from "@dejavm/base";
import { compress, decompress } from "../content-pack.ts";
import { storeError } from "../store-errors.ts";

/** The content of a place that is all zeros. */
export const ZERO_CONTENT = 0;

const ENTRY_BYTES = 16;

/** One place and its content's number, or ZERO_CONTENT. */
export type ManifestEntry = readonly [place: number, content: number];

/** A part's bytes. */
export function encodeEntries(entries: readonly ManifestEntry[]): Uint8Array {
  const out = new ByteWriter(entries.length * ENTRY_BYTES + 1);
  for (const column of [0, 1] as const) {
    let before = 0;
    for (const entry of entries) {
      out.f64(entry[column] - before);
      before = entry[column];
    }
  }
  return compress(out.finish());
}

/** Undoes `encodeEntries`. Throws E_STORE_CORRUPT. */
export function decodeEntries(bytes: Uint8Array, count: number): ManifestEntry[] {
  const corrupt = (detail: string): Error =>
    storeError("E_STORE_CORRUPT", `a manifest is damaged: ${detail}`);
  if (!Number.isSafeInteger(count) || count < 0) throw corrupt(`${count} entries`);
  const plain = decompress(bytes, count * ENTRY_BYTES);
  if (plain.length !== count * ENTRY_BYTES) throw corrupt(`${plain.length} bytes`);
  const reader = new ByteReader(plain, corrupt);
  const places = readColumn(reader, count);
  const contents = readColumn(reader, count);
  return Array.from(places, (place, i) => [place, contents[i] ?? ZERO_CONTENT]);
}

function readColumn(reader: ByteReader, count: number): Float64Array {
  const values = new Float64Array(count);
  let value = 0;
  for (let i = 0; i < count; i++) {
    value += reader.f64();
    values[i] = value;
  }
  return values;
}
