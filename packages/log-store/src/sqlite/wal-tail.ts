/**
 * What an interrupted write left at the end of SQLite's write-ahead log. SQLite itself goes back to
 * the last whole commit silently; this finds out, so that it can be said. The format: the WAL
 * chapter of https://www.sqlite.org/fileformat2.html.
 */
import { readFileSync } from "node:fs";
import type Database from "better-sqlite3";

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const MAGIC_LITTLE = 0x377f0682;
const MAGIC_BIG = 0x377f0683;

/** Bytes of the WAL that belong to no whole commit. */
export interface TornTail {
  /** Where the last whole commit ends. */
  readonly keptBytes: number;
  /** What comes after it, written since the WAL was last begun anew. */
  readonly cutBytes: number;
}

/** Looks at the WAL while nobody writes to it. */
export function findTornTail(sqlite: Database.Database, walPath: string): TornTail | undefined {
  return sqlite.transaction(() => tornTailOf(readIfThere(walPath))).immediate();
}

function readIfThere(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch {
    return new Uint8Array(0);
  }
}

/** The torn tail of a WAL file's bytes. */
export function tornTailOf(wal: Uint8Array): TornTail | undefined {
  if (wal.length < HEADER_BYTES) return undefined;
  const view = new DataView(wal.buffer, wal.byteOffset, wal.byteLength);
  const magic = view.getUint32(0);
  if (magic !== MAGIC_LITTLE && magic !== MAGIC_BIG) return undefined;
  const littleEndian = magic === MAGIC_LITTLE;
  const sum = new WalChecksum(view, littleEndian);
  sum.add(0, 24);
  if (!sum.equals(24)) return undefined;
  const frameBytes = FRAME_HEADER_BYTES + view.getUint32(8);
  const ofThisRun = (at: number): boolean =>
    at + 16 <= wal.length &&
    view.getUint32(at + 8) === view.getUint32(16) &&
    view.getUint32(at + 12) === view.getUint32(20);

  let kept = HEADER_BYTES;
  let at = HEADER_BYTES;
  for (; at + frameBytes <= wal.length && ofThisRun(at); at += frameBytes) {
    sum.add(at, 8);
    sum.add(at + FRAME_HEADER_BYTES, frameBytes - FRAME_HEADER_BYTES);
    if (!sum.equals(at + 16)) break;
    const commits = view.getUint32(at + 4) !== 0;
    if (commits) kept = at + frameBytes;
  }
  let end = kept;
  for (let frame = kept; ofThisRun(frame); frame += frameBytes) end = frame + frameBytes;
  // A frame that ends with the file before its marks can be compared: torn, if it is one of ours.
  if (end < wal.length && wal.length - end < frameBytes) end = wal.length;
  const cutBytes = Math.min(end, wal.length) - kept;
  return cutBytes === 0 ? undefined : { keptBytes: kept, cutBytes };
}

/** The WAL's running checksum: Fibonacci-weighted sums of 32-bit words. */
class WalChecksum {
  readonly #view: DataView;
  readonly #littleEndian: boolean;
  #s0 = 0;
  #s1 = 0;

  constructor(view: DataView, littleEndian: boolean) {
    this.#view = view;
    this.#littleEndian = littleEndian;
  }

  add(offset: number, count: number): void {
    for (let at = offset; at < offset + count; at += 8) {
      this.#s0 = (this.#s0 + this.#view.getUint32(at, this.#littleEndian) + this.#s1) >>> 0;
      this.#s1 = (this.#s1 + this.#view.getUint32(at + 4, this.#littleEndian) + this.#s0) >>> 0;
    }
  }

  /** Whether the two big-endian words at `offset` are this sum. */
  equals(offset: number): boolean {
    return (
      this.#view.getUint32(offset) === this.#s0 && this.#view.getUint32(offset + 4) === this.#s1
    );
  }
}
