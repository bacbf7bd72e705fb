/** Reads one committed checkpoint of the database. */
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import { HASH_BYTES } from "../content-pack.ts";
import type { CheckpointId, CheckpointInfo, CheckpointReader, ChunkChange } from "../log-store.ts";
import { chunkPlace, isChunkPlace, pagePlace, placeParts } from "../places.ts";
import { unknownCheckpointError } from "../store-errors.ts";
import {
  type CheckpointRow,
  checkpointInfo,
  checkpointRow,
  readState,
  resolvePlaces,
} from "./checkpoint-table.ts";
import type { ContentTable } from "./content-table.ts";
import type { StoreDatabase } from "./database.ts";
import { ZERO_CONTENT } from "./manifest-codec.ts";

/** A `CheckpointReader` on SQLite. */
export class SqliteCheckpointReader implements CheckpointReader {
  readonly info: CheckpointInfo;
  readonly #database: StoreDatabase;
  readonly #contents: ContentTable;
  readonly #row: CheckpointRow;
  readonly #places: ReadonlyMap<number, number>;
  #isClosed = false;

  /** Throws E_STORE_UNKNOWN, E_STORE_CORRUPT. */
  constructor(database: StoreDatabase, contents: ContentTable, id: CheckpointId) {
    this.#database = database;
    this.#contents = contents;
    this.#row = committedRow(database, id);
    this.#places = resolvePlaces(database, id);
    this.info = checkpointInfo(this.#row);
  }

  /** Numbers of all that can be read. */
  contents(): Iterable<number> {
    return this.#isClosed ? [] : this.#places.values();
  }

  get state(): Uint8Array {
    return readState(this.#database, this.#row).state;
  }

  get pages(): Uint32Array {
    const pages: number[] = [];
    for (const [place, content] of this.#places) {
      if (content !== ZERO_CONTENT && !isChunkPlace(place)) pages.push(place);
    }
    return Uint32Array.from(pages).sort();
  }

  readPages(pages: Uint32Array): Uint8Array {
    const bytes = new Uint8Array(pages.length * PAGE_BYTES);
    this.#reading(() => {
      for (const [i, page] of pages.entries()) {
        const content = this.#places.get(pagePlace(page)) ?? ZERO_CONTENT;
        if (content !== ZERO_CONTENT) bytes.set(this.#contents.read(content), i * PAGE_BYTES);
      }
    });
    return bytes;
  }

  pageHashes(pages: Uint32Array): Uint8Array {
    const hashes = new Uint8Array(pages.length * HASH_BYTES);
    this.#reading(() => {
      for (const [i, page] of pages.entries()) {
        const content = this.#places.get(pagePlace(page)) ?? ZERO_CONTENT;
        if (content !== ZERO_CONTENT) hashes.set(this.#contents.hashOf(content), i * HASH_BYTES);
      }
    });
    return hashes;
  }

  pagesChangedSince(checkpoint: CheckpointId): Uint32Array {
    committedRow(this.#database, checkpoint);
    const others = resolvePlaces(this.#database, checkpoint);
    const changed: number[] = [];
    for (const place of new Set([...this.#places.keys(), ...others.keys()])) {
      if (isChunkPlace(place)) continue;
      const mine = this.#places.get(place) ?? ZERO_CONTENT;
      if (mine !== (others.get(place) ?? ZERO_CONTENT)) changed.push(place);
    }
    return Uint32Array.from(changed).sort();
  }

  get chunks(): readonly Omit<ChunkChange, "bytes">[] {
    const places = [...this.#places.keys()].filter(isChunkPlace).toSorted((a, b) => a - b);
    return places.map((place) => {
      const { disk = 0, index } = placeParts(place);
      return { disk, chunk: index };
    });
  }

  readChunk(disk: number, chunk: number): Uint8Array | undefined {
    const content = this.#places.get(chunkPlace(disk, chunk));
    if (content === undefined) return undefined;
    if (content === ZERO_CONTENT) return new Uint8Array(CHUNK_BYTES);
    return this.#reading(() => new Uint8Array(this.#contents.read(content)));
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Another process may have removed the checkpoint since it was opened: E_STORE_UNKNOWN. */
  #reading<Result>(body: () => Result): Result {
    try {
      return this.#database.reading("cannot read a checkpoint", body);
    } catch (error) {
      committedRow(this.#database, this.info.id);
      throw error;
    }
  }
}

function committedRow(database: StoreDatabase, id: CheckpointId): CheckpointRow {
  const row = checkpointRow(database, id);
  if (row === undefined || row.committed === 0n) throw unknownCheckpointError(id);
  return row;
}
