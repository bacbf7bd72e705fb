/**
 * Contents of pages, kept for a reader who comes for each at most once. They lie in slabs that
 * are used again, and a page costs no object: a guest that writes everywhere makes a checkpoint
 * keep a hundred thousand pages a second, and each object would be work for the collector, whose
 * pauses are the guest's.
 */
import { assert } from "@dejavm/base";
import { PAGE_BYTES } from "../device/device.ts";

/** Pages share buffers of this many. */
const SLAB_PAGES = 256;
/** Slabs that stay for the next reader: 64 MiB. More is what a guest needs only in a storm. */
const KEPT_SLABS = 64;

/** In the place of a slot. */
const NOT_KEPT = 0;
const TAKEN = 0xffff_ffff;

/** Slabs that nobody uses now; a machine's checkpoints share one. */
export class SlabPool {
  readonly #slabs: Uint8Array[] = [];

  get(): Uint8Array {
    return this.#slabs.pop() ?? new Uint8Array(SLAB_PAGES * PAGE_BYTES);
  }

  giveBack(slabs: readonly Uint8Array[]): void {
    this.#slabs.push(...slabs.slice(0, KEPT_SLABS - this.#slabs.length));
  }
}

/** See the head of this file. */
export class SavedPages {
  readonly #pool: SlabPool;
  /** A page's slot plus 1, or `NOT_KEPT`, or `TAKEN`. */
  readonly #slots: Uint32Array;
  #slabs: Uint8Array[] = [];
  #free: number[] = [];
  #size = 0;

  constructor(pageCount: number, pool: SlabPool) {
    this.#slots = new Uint32Array(pageCount);
    this.#pool = pool;
  }

  /** Pages kept now. */
  get size(): number {
    return this.#size;
  }

  /** Whether there is nothing to keep of it any more: it is kept, or was asked for. */
  isSettled(page: number): boolean {
    return this.#slots[page] !== NOT_KEPT;
  }

  /** Keeps a copy of a page's content; the page must not be settled. */
  keep(page: number, bytes: Uint8Array): void {
    assert(!this.isSettled(page), `page ${page} is kept or was taken`);
    const slot = this.#free.pop() ?? this.#newSlot();
    this.#slab(slot).set(bytes, (slot % SLAB_PAGES) * PAGE_BYTES);
    this.#slots[page] = slot + 1;
    this.#size++;
  }

  /**
   * What was kept of a page, undefined when nothing was; from now on it is taken. The view is
   * valid until the next `keep`.
   */
  take(page: number): Uint8Array | undefined {
    const slot = this.#slots[page] - 1;
    assert(slot + 1 !== TAKEN, `page ${page} was taken already`);
    this.#slots[page] = TAKEN;
    if (slot + 1 === NOT_KEPT) return undefined;
    this.#free.push(slot);
    this.#size--;
    const start = (slot % SLAB_PAGES) * PAGE_BYTES;
    return this.#slab(slot).subarray(start, start + PAGE_BYTES);
  }

  /** Forgets what is kept; its slabs are others' to use. */
  release(): void {
    this.#pool.giveBack(this.#slabs);
    this.#slabs = [];
    this.#free = [];
    this.#size = 0;
  }

  #slab(slot: number): Uint8Array {
    const slab = this.#slabs[Math.floor(slot / SLAB_PAGES)];
    assert(slab !== undefined, "a slot lies in a slab");
    return slab;
  }

  #newSlot(): number {
    const first = this.#slabs.length * SLAB_PAGES;
    this.#slabs.push(this.#pool.get());
    for (let slot = first + SLAB_PAGES - 1; slot > first; slot--) this.#free.push(slot);
    return first;
  }
}
