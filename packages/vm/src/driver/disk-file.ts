/**
 * Disks of a running machine: base files, opened for reading only, and one temporary file that
 * keeps the chunks that the guest changed. That file has no name once it is open, so nothing is
 * left behind however the process ends.
 */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, CodedError } from "@dejavm/base";
import { CHUNK_BYTES, type ChunkEntry, type DirtyBlock, type MissingBlock } from "@dejavm/machine";
import { ChunkOverlay, type SlotStorage } from "../chunk-overlay.ts";
import { fileError } from "../host-errors.ts";
import type { BlockStore, HeldChunks } from "../runnable-machine.ts";

/** Disks are whole sectors, as virtio-blk counts them. */
const SECTOR_BYTES = 512;
/** Largest disk: chunk numbers stay within 32 bits with room to spare. */
const MAX_DISK_BYTES = 2 ** 40;

/** A disk image file as the guest will see it. */
export interface DiskFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** First bytes of image formats that are not raw disks, and what they are called. */
const FOREIGN_FORMATS: readonly (readonly [string, string])[] = [
  ["QFI\xfb", "qcow2"],
  ["KDMV", "VMDK"],
  ["vhdxfile", "VHDX"],
  ["conectix", "VHD"],
];

/**
 * Looks at a disk image. Throws E_FILE_*, E_DISK_SIZE unless it is a multiple of 512 bytes and at
 * most MAX_DISK_BYTES, E_DISK_FORMAT for formats other than raw.
 */
export function inspectDiskFile(path: string): DiskFile {
  const action = `open the disk image ${path}`;
  const fd = openForReading(path, action);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      throw new CodedError("E_FILE_ACCESS", `cannot ${action}: it is not a regular file`, {
        hint: "name a raw disk image",
      });
    }
    const head = Buffer.alloc(8);
    readFully(fd, head, 0);
    const foreign = FOREIGN_FORMATS.find(
      ([magic]) => head.toString("latin1", 0, magic.length) === magic,
    );
    if (foreign !== undefined) {
      throw new CodedError("E_DISK_FORMAT", `cannot ${action}: it is a ${foreign[1]} image`, {
        hint: `convert it with 'qemu-img convert -O raw ${path} disk.raw'`,
      });
    }
    if (stat.size === 0 || stat.size % SECTOR_BYTES !== 0 || stat.size > MAX_DISK_BYTES) {
      throw new CodedError(
        "E_DISK_SIZE",
        `cannot ${action}: it has ${stat.size} bytes, want a multiple of 512 up to 1 TiB`,
        { hint: "round it up with 'truncate -s %512 FILE'" },
      );
    }
    return { path, sizeBytes: stat.size };
  } catch (error) {
    throw fileError(action, error);
  } finally {
    closeSync(fd);
  }
}

/** The block store of one machine. `close` it when the machine is gone. */
export class FileBlockStore implements BlockStore {
  readonly #disks: readonly { readonly file: DiskFile; readonly fd: number }[];
  readonly #slots = new SlotFile();
  readonly #overlay = new ChunkOverlay(this.#slots);

  /** Throws E_FILE_* where a base cannot be opened, E_DISK_CHANGED where its size is another. */
  constructor(disks: readonly DiskFile[]) {
    this.#disks = disks.map((file) => {
      const action = `open the disk image ${file.path}`;
      const fd = openForReading(file.path, action);
      const { size } = fstatSync(fd);
      if (size === file.sizeBytes) return { file, fd };
      closeSync(fd);
      throw changed(file, `has ${size} bytes, want ${file.sizeBytes}`);
    });
  }

  read(block: MissingBlock): Uint8Array | undefined {
    const found = this.#overlay.read(block);
    if (found === "expected") return undefined;
    return found === "base" ? this.#readBase(block) : found;
  }

  #readBase(block: MissingBlock): Uint8Array {
    const bytes = new Uint8Array(CHUNK_BYTES);
    const disk = this.#disks[block.disk];
    assert(disk !== undefined, `the machine asked for disk ${block.disk}`);
    const start = block.chunk * CHUNK_BYTES;
    const count = Math.min(CHUNK_BYTES, disk.file.sizeBytes - start);
    assert(count > 0, `the machine asked for chunk ${block.chunk} of disk ${block.disk}`);
    try {
      const got = readFully(disk.fd, bytes.subarray(0, count), start);
      if (got < count) throw changed(disk.file, `ends at byte ${start + got}`);
    } catch (error) {
      throw fileError(`read the disk image ${disk.file.path}`, error);
    }
    return bytes;
  }

  /** Throws E_DISK_FULL or E_FILE_IO where the temporary file cannot take it. */
  write(block: DirtyBlock): void {
    this.#overlay.write(block);
  }

  /** Whether `block` lies within its disk. */
  holds(block: MissingBlock): boolean {
    const disk = this.#disks[block.disk];
    return disk !== undefined && block.chunk * CHUNK_BYTES < disk.file.sizeBytes;
  }

  supply(chunk: DirtyBlock): void {
    this.#overlay.supply(chunk);
  }

  expect(blocks: readonly MissingBlock[]): void {
    this.#overlay.expect(blocks);
  }

  get expectedCount(): number {
    return this.#overlay.expectedCount;
  }

  overlay(): Iterable<ChunkEntry> {
    return this.#overlay.entries();
  }

  nextGeneration(): number {
    return this.#overlay.nextGeneration();
  }

  writtenSince(generation: number): readonly MissingBlock[] {
    return this.#overlay.writtenSince(generation);
  }

  hold(): HeldChunks {
    return this.#overlay.hold();
  }

  close(): void {
    this.#slots.close();
    for (const { fd } of this.#disks) closeSync(fd);
  }
}

/** Chunks in a temporary file. */
class SlotFile implements SlotStorage {
  #fd: number | undefined;

  read(slot: number, into: Uint8Array): void {
    assert(this.#fd !== undefined, "a slot without a file");
    const got = readFully(this.#fd, into, slot * CHUNK_BYTES);
    assert(got === CHUNK_BYTES, `the overlay file ends within slot ${slot}`);
  }

  write(slot: number, bytes: Uint8Array): void {
    try {
      this.#fd ??= openNameless();
      writeFully(this.#fd, bytes, slot * CHUNK_BYTES);
    } catch (error) {
      throw fileError(`keep a changed disk block in ${tmpdir()}`, error);
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

function openNameless(): number {
  const path = join(tmpdir(), `dejavm-overlay-${randomUUID()}`);
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  unlinkSync(path);
  return fd;
}

function openForReading(path: string, action: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw fileError(action, error);
  }
}

function changed(file: DiskFile, how: string): CodedError {
  return new CodedError("E_DISK_CHANGED", `the disk image ${file.path} has changed: it ${how}`, {
    hint: "a disk image must stay as it is while machines use it",
  });
}

/** Reads until `into` is full or the file ends; gives how much was read. */
function readFully(fd: number, into: Uint8Array, at: number): number {
  let got = 0;
  while (got < into.length) {
    const count = readSync(fd, into, got, into.length - got, at + got);
    if (count === 0) break;
    got += count;
  }
  return got;
}

function writeFully(fd: number, bytes: Uint8Array, at: number): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, at + done);
  }
}
