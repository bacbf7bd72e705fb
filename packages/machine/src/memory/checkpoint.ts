/**
 * A copy-on-write checkpoint: the complete machine at one position, read while the machine goes
 * on. Beginning one costs no work per page; a page is copied only when the machine is about to
 * change it before the reader has taken it.
 */
import { assert } from "@dejavm/base";
import type { State } from "../device/device.ts";
import type { Position } from "../machine-types.ts";
import type { Epoch, Ram } from "./ram.ts";
import { SavedPages, type SlabPool } from "./saved-pages.ts";

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
  /** Where the old pages' memory comes from. */
  readonly pool: SlabPool;
}

/** See the head of this file. */
export class Checkpoint {
  readonly position: Position;
  readonly state: State;
  /** Pages written in this epoch or later have changed since the checkpoint. */
  readonly epoch: Epoch;
  readonly #ram: Ram;
  readonly #maxSavedPages: number;
  readonly #saved: SavedPages;
  #detach: (() => void) | undefined;
  #abandoned = false;

  /** Use `Machine.checkpoint`. */
  constructor(options: CheckpointOptions) {
    this.position = options.position;
    this.state = options.state;
    this.#ram = options.ram;
    this.#maxSavedPages = options.maxSavedPages;
    this.#saved = new SavedPages(options.ram.pageCount, options.pool);
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
    const saved = this.#saved.take(page);
    assert(saved !== undefined || !this.#ram.isAbsent(page), `page ${page} is there`);
    return saved ?? this.#ram.page(page);
  }

  /** Ends it: nothing is kept any more. Harmless when repeated. */
  close(): void {
    this.#detach?.();
    this.#detach = undefined;
    this.#saved.release();
  }

  #keep(page: number, bytes: Uint8Array): void {
    if (this.#saved.isSettled(page)) return;
    if (this.#saved.size < this.#maxSavedPages) {
      this.#saved.keep(page, bytes);
      return;
    }
    this.#abandoned = true;
    this.close();
  }
}
