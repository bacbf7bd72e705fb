/**
 * A copy-on-write checkpoint: the complete machine at one position, read while the machine goes
 * on. Beginning one costs no work per page; a page is copied only when the machine is about to
 * change it before the reader has taken it.
 */
import { assert } from "@dejavm/base";
import type { State } from "../device/device.ts";
import type { Position } from "../machine-types.ts";
import type { Epoch, Ram } from "./ram.ts";

/** What a checkpoint is begun with. */
export interface CheckpointOptions {
  readonly ram: Ram;
  readonly position: Position;
  /** The machine's saved state at that position. */
  readonly state: State;
  /**
   * Old pages kept at most. One more and the checkpoint is given up: `isAbandoned` turns true
   * and its pages are gone. Bounds the memory that a slow reader can cost.
   */
  readonly maxSavedPages: number;
}

/** Saved pages share buffers of this size: a multiple of the page's. */
const SLAB_BYTES = 1024 * 1024;

/** See the head of this file. */
export class Checkpoint {
  readonly position: Position;
  readonly state: State;
  /** Pages written in this epoch or later have changed since the checkpoint. */
  readonly epoch: Epoch;
  readonly #ram: Ram;
  readonly #maxSavedPages: number;
  readonly #saved = new Map<number, Uint8Array>();
  /** One byte a page: 1 once its content is no longer needed. */
  readonly #taken: Uint8Array;
  #slab = new Uint8Array(0);
  #slabUsed = SLAB_BYTES;
  #detach: (() => void) | undefined;
  #abandoned = false;

  /** Use `Machine.checkpoint`. */
  constructor(options: CheckpointOptions) {
    this.position = options.position;
    this.state = options.state;
    this.#ram = options.ram;
    this.#maxSavedPages = options.maxSavedPages;
    this.#taken = new Uint8Array(options.ram.pageCount);
    this.epoch = options.ram.beginEpoch();
    this.#detach = options.ram.onFirstWrite((page, bytes) => this.#keep(page, bytes));
  }

  /** True once there were more changed pages than `maxSavedPages`. */
  get isAbandoned(): boolean {
    return this.#abandoned;
  }

  /** Old pages that wait for the reader. */
  get savedPages(): number {
    return this.#saved.size;
  }

  /**
   * The page as it was at `position`, and the last time that it is asked for. The view is valid
   * until the machine runs.
   */
  takePage(page: number): Uint8Array {
    assert(this.#detach !== undefined && !this.#abandoned, "the checkpoint is open");
    assert(this.#taken[page] === 0, `page ${page} was taken already`);
    this.#taken[page] = 1;
    const saved = this.#saved.get(page);
    assert(saved !== undefined || !this.#ram.isAbsent(page), `page ${page} is there`);
    this.#saved.delete(page);
    return saved ?? this.#ram.page(page);
  }

  /** Ends it: nothing is kept any more. Harmless when repeated. */
  close(): void {
    this.#detach?.();
    this.#detach = undefined;
    this.#saved.clear();
  }

  /** Pages lie together in big buffers: one for each would be work for the collector. */
  #copy(bytes: Uint8Array): Uint8Array {
    if (this.#slabUsed === SLAB_BYTES) {
      this.#slab = new Uint8Array(SLAB_BYTES);
      this.#slabUsed = 0;
    }
    const copy = this.#slab.subarray(this.#slabUsed, this.#slabUsed + bytes.length);
    copy.set(bytes);
    this.#slabUsed += bytes.length;
    return copy;
  }

  #keep(page: number, bytes: Uint8Array): void {
    if (this.#taken[page] === 1 || this.#saved.has(page)) return;
    if (this.#saved.size < this.#maxSavedPages) {
      this.#saved.set(page, this.#copy(bytes));
      return;
    }
    this.#abandoned = true;
    this.close();
  }
}
