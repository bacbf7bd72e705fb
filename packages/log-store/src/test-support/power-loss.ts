/**
 * A loss of power: the files as a disk may have them when only what was synced is certain. From a
 * record of writes and syncs (write-recorder.c) it rebuilds a directory as of some moment, with
 * a seeded choice of the writes since the last sync: kept, dropped, or torn at a sector.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Prng } from "@dejavm/base";

const SECTOR_BYTES = 512;
const HEAD_BYTES = 24;
const KINDS = ["write", "truncate", "sync", "create", "unlink"] as const;

/** Something that the process asked of its files. */
export interface FileOperation {
  readonly kind: (typeof KINDS)[number];
  readonly path: string;
  readonly offset: number;
  readonly data: Uint8Array;
}

/** The record's operations, in order. */
export function readRecord(bytes: Buffer): FileOperation[] {
  const operations: FileOperation[] = [];
  for (let at = 0; at < bytes.length; ) {
    const kind = KINDS[bytes.readUInt32LE(at) - 1];
    const pathBytes = bytes.readUInt32LE(at + 4);
    const offset = Number(bytes.readBigUInt64LE(at + 8));
    const dataBytes = Number(bytes.readBigUInt64LE(at + 16));
    if (kind === undefined) throw new Error(`record is damaged at ${at}`);
    at += HEAD_BYTES;
    const path = bytes.toString("utf8", at, (at += pathBytes));
    operations.push({ kind, path, offset, data: bytes.subarray(at, (at += dataBytes)) });
  }
  return operations;
}

/** A file's bytes, which grow and shrink in place. */
class Content {
  #bytes: Buffer;
  #length: number;

  constructor(from: Buffer = Buffer.alloc(0)) {
    this.#bytes = Buffer.from(from);
    this.#length = from.length;
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  apply({ kind, offset, data }: FileOperation): void {
    const end = offset + data.length;
    if (end > this.#bytes.length) {
      const grown = Buffer.alloc(end * 2);
      this.bytes.copy(grown);
      this.#bytes = grown;
    }
    if (kind === "write") this.#bytes.set(data, offset);
    else this.#bytes.fill(0, offset);
    this.#length = kind === "write" ? Math.max(this.#length, end) : offset;
  }
}

/** A file as the disk has it: what is certain, and what came after. */
interface DiskFile {
  readonly content: Content;
  pending: FileOperation[];
  /** Its name is on the disk; otherwise it may be gone as a whole. */
  nameIsSafe: boolean;
}

/**
 * The files after a loss of power behind the first `count` operations, by their paths. `random`
 * decides about everything that was not synced; undefined: all of that is lost.
 */
export function filesAfterLoss(
  operations: readonly FileOperation[],
  count: number,
  random: Prng | undefined,
): Map<string, Buffer> {
  const disk = new Map<string, DiskFile>();
  for (const operation of operations.slice(0, count)) take(disk, operation);
  const files = new Map<string, Buffer>();
  for (const [path, { content, pending, nameIsSafe }] of disk) {
    if (!nameIsSafe && (random === undefined || random.oneIn(2))) continue;
    // In one mood all that is pending is lost, in others each write by itself, or nothing.
    const mood = random?.below(4) ?? 0;
    for (const write of pending) {
      if (random === undefined || mood === 0 || (mood < 3 && random.oneIn(2))) continue;
      content.apply(random.oneIn(8) ? torn(write, random) : write);
    }
    files.set(path, content.bytes);
  }
  return files;
}

function take(disk: Map<string, DiskFile>, operation: FileOperation): void {
  const { kind, path } = operation;
  const known = disk.get(path);
  const file = known ?? { content: new Content(), pending: [], nameIsSafe: false };
  switch (kind) {
    case "create":
      disk.set(path, file);
      break;
    case "write":
    case "truncate":
      file.pending.push(operation);
      disk.set(path, file);
      break;
    case "sync":
      for (const [name, each] of disk) if (dirname(name) === path) each.nameIsSafe = true;
      for (const write of file.pending) file.content.apply(write);
      file.pending = [];
      break;
    case "unlink":
      disk.delete(path);
      break;
  }
}

/** Only some sectors of a write reach the disk. */
function torn(write: FileOperation, random: Prng): FileOperation {
  if (write.kind !== "write" || write.data.length <= SECTOR_BYTES) return write;
  const sectors = Math.floor(write.data.length / SECTOR_BYTES);
  return { ...write, data: write.data.subarray(0, random.below(sectors + 1) * SECTOR_BYTES) };
}

/** Writes files into a directory that is made anew, at their places below `root`. */
export function layOut(files: Map<string, Buffer>, root: string, directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const [path, content] of files) {
    const place = join(directory, path.slice(root.length));
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, content);
  }
}
