/**
 * Snapshots as files: written beside their name and renamed when complete, so a snapshot file is
 * either whole or not there; readable by their owner alone, because RAM holds secrets.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { CodedError } from "@dejavm/base";
import { type ByteSource, type PageEntry, SnapshotReader, writeSnapshot } from "@dejavm/machine";
import { type Description, decodeDescription, encodeDescription } from "../description.ts";
import { fileError } from "../host-errors.ts";
import type { BlockStore, RunnableMachine } from "../runnable-machine.ts";
import { hostCodecs } from "./host-codecs.ts";

/** What a snapshot is written from. */
export interface SaveParts {
  readonly machine: RunnableMachine;
  readonly store: BlockStore;
  readonly description: Description;
  /** The machine's semantics number. */
  readonly semantics: number;
}

/**
 * Writes a snapshot and gives its length in bytes. Nothing is left behind when it fails: E_FILE_*
 * or E_DISK_FULL.
 */
export function saveSnapshot(path: string, parts: SaveParts): number {
  const { machine, store, description, semantics } = parts;
  const blocks = writeSnapshot(
    {
      header: { semantics, memoryBytes: description.memoryBytes },
      description: encodeDescription(description),
      state: machine.save(),
      pages: pagesOf(machine),
      chunks: store.overlay(),
    },
    hostCodecs,
  );
  const partial = `${path}.partial-${process.pid}`;
  try {
    const fd = openSync(partial, "wx", 0o600);
    let fileBytes = 0;
    try {
      for (const block of blocks) {
        writeFully(fd, block);
        fileBytes += block.length;
      }
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(partial, path);
    return fileBytes;
  } catch (error) {
    rmSync(partial, { force: true });
    throw fileError(`save the snapshot ${path}`, error);
  }
}

/** Reads header and description only. Throws E_FILE_* and E_SNAPSHOT_*. */
export function inspectSnapshot(path: string): Description {
  return withSource(path, (source) => {
    return decodeDescription(SnapshotReader.open(source, hostCodecs).description);
  });
}

/** A machine that is being put together. */
export interface Restoring<Result> {
  supplyPage(page: number, bytes: Uint8Array): void;
  /** Every page not supplied is zero; the snapshot is whole. */
  finish(): Result;
}

/** What `loadSnapshot` puts its finds into. */
export interface LoadParts<Result> {
  readonly restore: (reader: SnapshotReader, description: Description) => Restoring<Result>;
  readonly store: BlockStore;
}

/**
 * Puts a machine together from a snapshot. Throws E_FILE_* and E_SNAPSHOT_*; then machine and store
 * are to be thrown away.
 */
export function loadSnapshot<Result>(path: string, parts: LoadParts<Result>): Result {
  return withSource(path, (source) => {
    const reader = SnapshotReader.open(source, hostCodecs);
    const description = decodeDescription(reader.description);
    if (description.memoryBytes !== reader.header.memoryBytes) {
      throw damaged("header and description give different memory sizes");
    }
    const making = parts.restore(reader, description);
    for (const item of reader.contents()) {
      if (item.kind === "page") {
        making.supplyPage(item.page, item.bytes);
      } else {
        if (!parts.store.holds(item)) {
          throw damaged(`chunk ${item.chunk} lies outside disk ${item.disk}`);
        }
        parts.store.write(item);
      }
    }
    return making.finish();
  });
}

function damaged(detail: string): CodedError {
  return new CodedError("E_SNAPSHOT_CORRUPT", `the snapshot is damaged: ${detail}`, {
    hint: "copy the file again, or save the machine again",
  });
}

function* pagesOf(machine: RunnableMachine): Generator<PageEntry, void, undefined> {
  for (let page = 0; page < machine.pageCount; page++) {
    if (!machine.isZeroPage(page)) yield { page, bytes: machine.readPage(page) };
  }
}

function withSource<T>(path: string, action: (source: ByteSource) => T): T {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    return action(new FileSource(fd));
  } catch (error) {
    throw fileError(`read the snapshot ${path}`, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Reads a file from its start; never allocates more than the file still has. */
class FileSource implements ByteSource {
  readonly #fd: number;
  #remaining: number;
  #buffer = Buffer.alloc(64 * 1024);

  constructor(fd: number) {
    this.#fd = fd;
    this.#remaining = fstatSync(fd).size;
  }

  read(count: number): Uint8Array {
    const wanted = Math.min(count, this.#remaining);
    if (wanted > this.#buffer.length) this.#buffer = Buffer.alloc(wanted);
    let got = 0;
    while (got < wanted) {
      const chunk = readSync(this.#fd, this.#buffer, got, wanted - got, null);
      if (chunk === 0) break;
      got += chunk;
    }
    this.#remaining -= got;
    return this.#buffer.subarray(0, got);
  }
}

function writeFully(fd: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done);
}
