/**
 * What of the announced checkpoints has arrived. A checkpoint is complete when all of its items
 * are here and all items of those before that no later one replaces.
 */
import { CodedError } from "@dejavm/base";
import type { ControlMessageOf } from "@dejavm/protocol";
import type { ChunkName } from "@dejavm/vm";

/** Checkpoints that are not complete yet: the source has two open at most, and one announced. */
const MAX_LAYERS = 8;
const CHUNKS_PER_DISK = 2 ** 24;
/**
 * Contents may come again: what replay waited for, references that were not known here. More than
 * this many times what was announced, and so many beside it, is a flood.
 */
const MAX_TIMES = 2;
const MAX_BESIDE = 4096;

interface Layer {
  readonly message: ControlMessageOf<"checkpoint">;
  readonly pages: ReadonlySet<number>;
  readonly chunks: Set<number>;
  readonly missingPages: Set<number>;
  readonly missingChunks: Set<number>;
  announced: boolean;
  /** Pages and chunks that have come, repeated ones too. */
  came: number;
}

/** See the head of this file. */
export class Arrivals {
  readonly #layers: Layer[] = [];
  #complete: number | undefined;

  /** The newest checkpoint announced; undefined: none. */
  get newest(): number | undefined {
    return this.#layers.at(-1)?.message.checkpoint;
  }

  /** The newest complete one; undefined: none. */
  get complete(): number | undefined {
    return this.#complete;
  }

  /** Throws E_PROTOCOL_STATE. */
  announce(message: ControlMessageOf<"checkpoint">, pages: Uint32Array): void {
    const expected = (this.newest ?? -1) + 1;
    if (message.checkpoint !== expected || this.#layers.at(-1)?.announced === false) {
      throw outOfPlace(`checkpoint ${message.checkpoint}, expected ${expected}`);
    }
    if (this.#layers.length >= MAX_LAYERS) throw outOfPlace("more checkpoints than can be open");
    for (const layer of this.#layers) for (const page of pages) layer.missingPages.delete(page);
    const set = new Set(pages);
    this.#layers.push({
      message,
      pages: set,
      chunks: new Set(),
      missingPages: new Set(set),
      missingChunks: new Set(),
      announced: false,
      came: 0,
    });
    this.#addChunks(message.chunks, message.more);
  }

  /** Throws E_PROTOCOL_STATE. */
  moreChunks(message: ControlMessageOf<"checkpoint-chunks">): void {
    const last = this.#layers.at(-1);
    if (last?.message.checkpoint !== message.checkpoint || last.announced) {
      throw outOfPlace(`chunks of checkpoint ${message.checkpoint}`);
    }
    this.#addChunks(message.chunks, message.more);
  }

  /** So many pages or chunks are on their way in. Throws E_PROTOCOL_STATE for a flood. */
  comes(checkpoint: number, count: number): void {
    const layer = this.#layers.find(({ message }) => message.checkpoint === checkpoint);
    if (layer === undefined) return;
    layer.came += count;
    const announced = layer.pages.size + layer.chunks.size;
    if (layer.came <= MAX_TIMES * announced + MAX_BESIDE) return;
    throw outOfPlace(`${layer.came} contents of checkpoint ${checkpoint}, which has ${announced}`);
  }

  /** Contents came. Throws E_PROTOCOL_STATE for what was not announced. */
  arrived(checkpoint: number, pages: readonly number[], chunks: readonly ChunkName[]): void {
    const layer = this.#layers.find(({ message }) => message.checkpoint === checkpoint);
    if (layer === undefined) {
      // Of a checkpoint that is complete and forgotten: a page that was asked for and came twice.
      if (this.#complete !== undefined && checkpoint <= this.#complete) return;
      throw outOfPlace(`contents of checkpoint ${checkpoint}`);
    }
    for (const page of pages) layer.missingPages.delete(page);
    for (const chunk of chunks) layer.missingChunks.delete(key(chunk));
    this.#findComplete();
  }

  /** Whether a page belongs to a checkpoint; only for those not yet forgotten. */
  has(checkpoint: number, page: number): boolean {
    return this.#layers.some(
      ({ message, pages }) => message.checkpoint === checkpoint && pages.has(page),
    );
  }

  /** The announcement of a checkpoint that is not forgotten yet. */
  announcement(checkpoint: number): ControlMessageOf<"checkpoint"> | undefined {
    return this.#layers.find(({ message }) => message.checkpoint === checkpoint)?.message;
  }

  /** Nothing before this checkpoint matters any more. */
  forgetBefore(checkpoint: number): void {
    const kept = this.#layers.filter(({ message }) => message.checkpoint >= checkpoint);
    this.#layers.splice(0, this.#layers.length, ...kept);
  }

  /** Looks again after an announcement without contents. */
  #findComplete(): void {
    for (const layer of this.#layers) {
      const { announced, missingPages, missingChunks, message } = layer;
      if (!announced || missingPages.size + missingChunks.size > 0) return;
      this.#complete = Math.max(this.#complete ?? 0, message.checkpoint);
    }
  }

  #addChunks(chunks: readonly (readonly [number, number])[], more: boolean): void {
    const last = this.#layers.at(-1);
    if (last === undefined) return;
    for (const [disk, chunk] of chunks) {
      const name = key({ disk, chunk });
      last.chunks.add(name);
      last.missingChunks.add(name);
      for (const layer of this.#layers) if (layer !== last) layer.missingChunks.delete(name);
    }
    last.announced = !more;
    this.#findComplete();
  }
}

function key({ disk, chunk }: ChunkName): number {
  return disk * CHUNKS_PER_DISK + chunk;
}

function outOfPlace(what: string): CodedError<"E_PROTOCOL_STATE"> {
  return new CodedError("E_PROTOCOL_STATE", `the source sent ${what}`, {
    hint: "both agents should run the same version",
  });
}
