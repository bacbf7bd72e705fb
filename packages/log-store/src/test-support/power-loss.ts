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

/** A file as the disk has it: what is certain, and what came after. */
interface DiskFile {
  content: Buffer;
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
  for (const [path, file] of disk) {
    if (!file.nameIsSafe && (random === undefined || random.oneIn(2))) continue;
    let { content } = file;
    // A writer that has given up a run of writes loses them all; else each may be lost by itself.
    const mood = random?.below(4) ?? 0;
    for (const write of file.pending) {
      if (random === undefined || mood === 0 || (mood < 3 && random.oneIn(2))) continue;
      content = apply(content, random.oneIn(8) ? torn(write, random) : write);
    }
    files.set(path, content);
  }
  return files;
}

function take(disk: Map<string, DiskFile>, operation: FileOperation): void {
  const { kind, path } = operation;
  const file = disk.get(path) ?? { content: Buffer.alloc(0), pending: [], nameIsSafe: false };
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
      for (const write of file.pending) file.content = apply(file.content, write);
      file.pending = [];
      break;
    case "unlink":
      disk.delete(path);
      break;
  }
}

function apply(content: Buffer, { kind, offset, data }: FileOperation): Buffer {
  const size = kind === "truncate" ? offset : Math.max(content.length, offset + data.length);
  const changed = Buffer.alloc(size);
  content.copy(changed);
  if (kind === "write") changed.set(data, offset);
  return changed;
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
