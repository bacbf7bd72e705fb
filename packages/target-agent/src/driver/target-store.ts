/** What arrives, put into the log store: a lineage of its own, checkpoints, trace, ownership. */
import { assert } from "@dejavm/base";
import type {
  CheckpointWriter,
  ContentPack,
  LineageId,
  LineageWriter,
  LogStore,
} from "@dejavm/log-store";
import { position, ticks } from "@dejavm/machine";
import { type ControlMessageOf, MAX_INVENTORY } from "@dejavm/protocol";
import { readSegmentHeader, type Segment } from "@dejavm/trace";
import type { ChunkBatch, ChunkName } from "@dejavm/vm";

const CHUNK_BYTES = 65_536;
const HASH_BYTES = 32;
const PREFIX_BYTES = 8;
/** About 1 MiB on disk, and a few ms in which nothing else happens here. */
const PACKS_PER_COMMIT = 8;

function prefixesOf(hashes: Uint8Array): Uint8Array {
  const count = hashes.length / HASH_BYTES;
  const prefixes = new Uint8Array(count * PREFIX_BYTES);
  for (let i = 0; i < count; i++) {
    const prefix = hashes.subarray(i * HASH_BYTES, i * HASH_BYTES + PREFIX_BYTES);
    prefixes.set(prefix, i * PREFIX_BYTES);
  }
  return prefixes;
}

/** See the head of this file. */
export class TargetStore {
  readonly #store: LogStore;
  readonly #offer: ControlMessageOf<"offer">;
  readonly #peer: string;
  readonly #existed: boolean;
  readonly #writer: LineageWriter;
  readonly #checkpoints = new Map<number, CheckpointWriter>();
  /** Packs that wait to be put together with others. */
  #packs: {
    readonly checkpoint: number;
    readonly pages: Uint32Array;
    readonly pack: ContentPack;
  }[] = [];
  #begun = false;

  /** Throws what the store says: the name is taken, another process writes to it. */
  constructor(store: LogStore, offer: ControlMessageOf<"offer">, peer: string) {
    this.#store = store;
    this.#offer = offer;
    this.#peer = peer;
    const known = store.findLineage(offer.lineage);
    this.#existed = known !== undefined;
    const { lineage, name, description, fingerprint } = offer;
    const id =
      known?.id ??
      store.createLineage({
        id: lineage as LineageId,
        name,
        config: description,
        fingerprint,
      }).id;
    this.#writer = store.openLineage(id);
    this.#record("receiving", offer.epoch);
  }

  /** The one who may write to the lineage: whoever takes the machine over takes it, too. */
  get writer(): LineageWriter {
    return this.#writer;
  }

  /** What is here from earlier stays of the machine: sha256 prefixes of its last pages. */
  inventory(): Uint8Array[] {
    const info = this.#store.checkpoints(this.#writer.lineage).at(-1);
    if (info === undefined) return [];
    const reader = this.#store.openCheckpoint(info.id);
    const parts: Uint8Array[] = [];
    for (let at = 0; at < reader.pages.length; at += MAX_INVENTORY) {
      const pages = reader.pages.slice(at, at + MAX_INVENTORY);
      parts.push(prefixesOf(reader.pageHashes(pages)));
    }
    return parts;
  }

  openCheckpoint(message: ControlMessageOf<"checkpoint">): void {
    const before = this.#checkpoints.get(message.checkpoint - 1);
    const writer = this.#writer.beginCheckpoint({
      position: position(message.position),
      ticks: ticks(message.ticks),
      trace: {
        ...message.trace,
        position: position(message.trace.position),
        ticks: ticks(message.trace.ticks),
      },
      memoryPages: this.#offer.pageCount,
      state: message.state,
      ...(before && { parent: before.id }),
    });
    this.#checkpoints.set(message.checkpoint, writer);
  }

  putPages(checkpoint: number, pages: readonly number[], bytes: Uint8Array): void {
    this.#putPacks();
    this.#open(checkpoint).putPages(Uint32Array.from(pages), bytes);
  }

  /** A pack that was made here. It waits for others, until `commitCheckpoint` at the latest. */
  putPackedPages(checkpoint: number, pages: Uint32Array, pack: ContentPack): void {
    const last = this.#packs.at(-1);
    if (last !== undefined && last.checkpoint !== checkpoint) this.#putPacks();
    this.#packs.push({ checkpoint, pages, pack });
    if (this.#packs.length >= PACKS_PER_COMMIT) this.#putPacks();
  }

  /** What the first checkpoint does not have is zero. */
  putZeroPages(checkpoint: number, pages: readonly number[]): void {
    if (checkpoint === 0) return;
    this.#putPacks();
    this.#open(checkpoint).putZeroPages(Uint32Array.from(pages));
  }

  putChunks(checkpoint: number, { chunks, bytes }: ChunkBatch): void {
    const changes = chunks.map((name, i) => {
      return { ...name, bytes: bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES) };
    });
    this.#open(checkpoint).putChunks(changes);
  }

  putZeroChunks(checkpoint: number, chunks: readonly ChunkName[]): void {
    this.#open(checkpoint).putChunks(chunks.map((name) => ({ ...name, bytes: undefined })));
  }

  /** Contents by sha256; undefined: not here. */
  content(sha256: Uint8Array): Uint8Array | undefined {
    return this.#store.readContent(sha256);
  }

  /** All of them in one commit. */
  append(segments: readonly Uint8Array[]): void {
    this.#writer.append(segments.map(storedSegment), { afterGap: !this.#begun });
    this.#begun = true;
  }

  commitCheckpoint(checkpoint: number): void {
    this.#putPacks();
    this.#open(checkpoint).commit();
  }

  /** Durable on return, with all that was put before. */
  recordLive(epoch: number): void {
    this.#record("live", epoch);
  }

  /** As if nothing had come. */
  forget(): void {
    this.#packs = [];
    for (const checkpoint of this.#checkpoints.values()) checkpoint.abandon();
    const { lineage } = this.#writer;
    if (this.#existed) this.#record("moved", this.#offer.epoch);
    this.#writer.release();
    if (!this.#existed) this.#store.removeLineage(lineage);
  }

  /** All packs that wait, in one commit: they are of one checkpoint. */
  #putPacks(): void {
    const packs = this.#packs;
    const [first] = packs;
    if (first === undefined) return;
    this.#packs = [];
    const writer = this.#open(first.checkpoint);
    writer.together(() => {
      for (const { pages, pack } of packs) writer.putPackedPages(pages, pack);
    });
  }

  #open(checkpoint: number): CheckpointWriter {
    const writer = this.#checkpoints.get(checkpoint);
    assert(writer !== undefined, `checkpoint ${checkpoint} is open`);
    return writer;
  }

  #record(state: "receiving" | "live" | "moved", epoch: number): void {
    const detail = JSON.stringify({ migration: this.#offer.migration });
    this.#writer.recordOwnership({ epoch, state, peer: this.#peer, detail });
  }
}

function storedSegment(bytes: Uint8Array): Segment {
  const header = readSegmentHeader(bytes);
  const { from, to } = header;
  return {
    header: {
      ...header,
      from: { position: position(from.position), ticks: ticks(from.ticks) },
      to: { position: position(to.position), ticks: ticks(to.ticks) },
    },
    bytes,
  };
}
