/**
 * The newest segments of a lineage, in a file in front of the database: a commit of a segment is
 * one write to its end, a twentieth of what a transaction costs. The lineage's writer *absorbs* it
 * into the database now and then, and before it writes anything else there, so the database never
 * has what comes after a trace that only the tail has. docs/LOG_STORE.md draws the file.
 *
 * A tail is one or more files, `tails/ID.NUMBER.tail`; one that was absorbed is removed once the
 * database is durable. What an interrupted write has left at the end is no part of it.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import { CodedError } from "@dejavm/base";
import { readSegmentHeader, type Segment } from "@dejavm/trace";
import type { LineageId } from "../log-store.ts";
import { storeError } from "../store-errors.ts";
import { failPoint } from "./fail-point.ts";
import { translating } from "./host-errors.ts";

/** Above this a tail is absorbed: bounds what is kept in memory until then. */
export const MAX_TAIL_BYTES = 16 << 20;

/** More at once goes into the database right away. */
export const MAX_TAIL_APPEND_BYTES = 256 << 10;

/** What is absorbed at once where others wait for this thread: some 3 ms. */
const PART_BYTES = 512 << 10;

/** Folder of the tails within the store's directory. */
export const TAILS_FOLDER = "tails";
/** In front of each segment: its size, and the checksum of that. */
const HEAD_BYTES = 8;
const PRIVATE_FILE = 0o600;

const fdatasyncLater = promisify(fdatasync);

/** A file that was absorbed and can go once the database is durable. */
export interface AbsorbedTail {
  /** Does nothing when repeated. */
  remove(): void;
  /** Leaves it to whoever opens the lineage next. */
  keep(): void;
}

interface TailFile {
  readonly path: string;
  readonly fd: number;
  bytes: number;
}

/** The tail of the one who writes to the lineage. */
export class TraceTail {
  readonly #folder: string;
  readonly #lineage: LineageId;
  #number: number;
  #file: TailFile | undefined;
  #segments: Segment[] = [];
  /** Something was written since the last sync; the file's name is not durable yet. */
  #isUnsynced = false;
  #isNameUnsynced = false;

  /** There are no files of the lineage with `number` or above. */
  constructor(options: { directory: string; lineage: LineageId; number: number }) {
    this.#folder = join(options.directory, TAILS_FOLDER);
    this.#lineage = options.lineage;
    this.#number = options.number;
  }

  /** What is not absorbed yet. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** Some of them, the oldest: as many as are absorbed at once where others wait. */
  get oldest(): readonly Segment[] {
    let bytes = 0;
    const end = this.#segments.findIndex((segment) => {
      bytes += segment.bytes.length;
      return bytes > PART_BYTES;
    });
    return end < 0 ? this.#segments : this.#segments.slice(0, Math.max(1, end));
  }

  get bytes(): number {
    return this.#file?.bytes ?? 0;
  }

  /** In one write, or none of it. Throws E_DISK_FULL, E_STORE_IO, E_STORE_UNWRITABLE. */
  append(segments: readonly Segment[]): void {
    translating("cannot append to the trace", () => {
      const file = (this.#file ??= this.#create());
      const records = encodeRecords(segments);
      this.#isUnsynced = true;
      failPoint("append.before-commit");
      write(file, records);
      file.bytes += records.length;
    });
    this.#segments.push(...segments);
    failPoint("append.done");
  }

  /** The oldest `count` segments have been committed to the database; the file stays. */
  partAbsorbed(count: number): void {
    this.#segments.splice(0, count);
  }

  /** All segments have been committed to the database: the next ones begin another file. */
  absorbed(): AbsorbedTail | undefined {
    const file = this.#file;
    this.#file = undefined;
    this.#segments = [];
    this.#isUnsynced = false;
    if (file === undefined) return undefined;
    let isOpen = true;
    const close = (): boolean => {
      const wasOpen = isOpen;
      if (isOpen) closeSync(file.fd);
      isOpen = false;
      return wasOpen;
    };
    return {
      keep: close,
      remove: () => {
        if (!close()) return;
        rmSync(file.path, { force: true });
        failPoint("tail.removed");
      },
    };
  }

  /** What was written before the call is durable, unless it was absorbed meanwhile. */
  async sync(): Promise<void> {
    const file = this.#file;
    if (file === undefined || !this.#isUnsynced) return;
    this.#isUnsynced = false;
    await fdatasyncLater(file.fd);
    this.#syncName();
  }

  /** The same, blocking. */
  syncNow(): void {
    const file = this.#file;
    if (file === undefined || !this.#isUnsynced) return;
    this.#isUnsynced = false;
    fdatasyncSync(file.fd);
    this.#syncName();
  }

  /** The files stay as they are. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  #create(): TailFile {
    const path = join(this.#folder, `${this.#lineage}.${this.#number++}.tail`);
    this.#isNameUnsynced = true;
    return { path, fd: openSync(path, "ax", PRIVATE_FILE), bytes: 0 };
  }

  #syncName(): void {
    if (!this.#isNameUnsynced) return;
    this.#isNameUnsynced = false;
    const folder = openSync(this.#folder, "r");
    fsyncSync(folder);
    closeSync(folder);
  }
}

/** What is left of a lineage's tail. */
export interface StoredTail {
  /**
   * Whole ones from the begin of each file on. Some may be in the database, too, and what was not
   * durable may be missing in between: `following` says what counts.
   */
  readonly segments: readonly Segment[];
  /** Bytes behind the last whole one of each file. */
  readonly tornBytes: number;
  readonly paths: readonly string[];
  /** The number that comes after those of all files. */
  readonly nextNumber: number;
}

/** Reads what a lineage's writer has left, or, while there is one, what it has written so far. */
export function readTail(directory: string, lineage: LineageId): StoredTail {
  const files = tailFiles(directory, lineage);
  const segments: Segment[] = [];
  let tornBytes = 0;
  for (const { path } of files) {
    const bytes = translating(`cannot read ${path}`, () => readIfThere(path));
    tornBytes += bytes.length - decodeRecords(bytes, segments);
  }
  return {
    segments,
    tornBytes,
    paths: files.map(({ path }) => path),
    nextNumber: (files.at(-1)?.number ?? 0) + 1,
  };
}

/** Segments of a tail that follow unit `sequence` - 1 without a gap; undefined: any begin. */
export function following(segments: readonly Segment[], sequence: number | undefined): Segment[] {
  const rest: Segment[] = [];
  let next = sequence;
  for (const segment of segments) {
    const { sequence: first, unitCount } = segment.header;
    if (next !== undefined && first + unitCount <= next) continue;
    if (next !== undefined && first !== next) break;
    rest.push(segment);
    next = first + unitCount;
  }
  return rest;
}

/** Removes the tail of a lineage that is gone. */
export function removeTail(directory: string, lineage: LineageId): void {
  for (const { path } of tailFiles(directory, lineage)) {
    translating(`cannot remove ${path}`, () => rmSync(path, { force: true }));
  }
}

/** In order of their numbers. */
function tailFiles(directory: string, lineage: LineageId): { path: string; number: number }[] {
  const folder = join(directory, TAILS_FOLDER);
  return translating(`cannot list ${folder}`, () => namesIn(folder))
    .flatMap((name) => {
      const [id, number, kind] = name.split(".");
      if (id !== lineage || kind !== "tail") return [];
      return [{ path: join(folder, name), number: Number(number) }];
    })
    .toSorted((a, b) => a.number - b.number);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    // It was absorbed and removed since it was listed.
    if (isMissing(error)) return Buffer.alloc(0);
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function encodeRecords(segments: readonly Segment[]): Buffer {
  const size = segments.reduce((sum, { bytes }) => sum + HEAD_BYTES + bytes.length, 0);
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { bytes } of segments) {
    out.writeUInt32LE(bytes.length, at);
    out.writeUInt32LE(crc32(out.subarray(at, at + 4)), at + 4);
    out.set(bytes, at + HEAD_BYTES);
    at += HEAD_BYTES + bytes.length;
  }
  return out;
}

/** Adds the whole segments to `segments`; answers their bytes. */
function decodeRecords(bytes: Buffer, segments: Segment[]): number {
  let at = 0;
  while (at + HEAD_BYTES <= bytes.length) {
    const size = bytes.readUInt32LE(at);
    const end = at + HEAD_BYTES + size;
    if (crc32(bytes.subarray(at, at + 4)) !== bytes.readUInt32LE(at + 4)) break;
    if (end > bytes.length) break;
    const segment = wholeSegment(new Uint8Array(bytes.subarray(at + HEAD_BYTES, end)));
    if (segment === undefined) break;
    segments.push(segment);
    at = end;
  }
  return at;
}

function wholeSegment(bytes: Uint8Array): Segment | undefined {
  try {
    return { header: readSegmentHeader(bytes), bytes };
  } catch (error) {
    if (error instanceof CodedError) return undefined;
    throw error;
  }
}

/** All of it or nothing: a part that fitted is taken back. */
function write(file: TailFile, bytes: Buffer): void {
  try {
    for (let at = 0; at < bytes.length; ) {
      const count = writeSync(file.fd, bytes, at, bytes.length - at);
      if (count === 0) throw storeError("E_DISK_FULL", `cannot write to ${file.path}`);
      at += count;
    }
  } catch (error) {
    ftruncateSync(file.fd, file.bytes);
    throw error;
  }
}
