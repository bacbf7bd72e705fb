/** A heap of things that want to be called at a time. */

/** What can stand in `Deadlines`. */
export interface Timed {
  /** When it wants to be called, in ms; Infinity for never. */
  readonly deadline: number;
  /** Kept by `Deadlines`: when it will be called, and its place in the heap (-1: in none). */
  wakeAt: number;
  heapIndex: number;
}

/**
 * See the head of this file. A deadline that moves later, as most do, costs nothing: the item is
 * looked at when its old time comes and put back.
 */
export class Deadlines<T extends Timed> {
  readonly #heap: T[] = [];

  /** When `take` should be called next; may be early. */
  get next(): number {
    return this.#heap[0]?.wakeAt ?? Number.POSITIVE_INFINITY;
  }

  /** The item's deadline may have become another. */
  update(item: T): void {
    if (item.heapIndex >= 0 && item.deadline >= item.wakeAt) return;
    if (item.deadline === Number.POSITIVE_INFINITY) return;
    item.wakeAt = item.deadline;
    if (item.heapIndex < 0) {
      item.heapIndex = this.#heap.length;
      this.#heap.push(item);
    }
    this.#rise(item.heapIndex);
  }

  /** An item whose deadline has come; it is no longer in the heap. */
  take(now: number): T | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.wakeAt > now) return undefined;
      this.remove(first);
      if (first.deadline <= now) return first;
      this.update(first);
    }
  }

  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === item) return;
    this.#heap[index] = last;
    last.heapIndex = index;
    this.#rise(index);
    this.#sink(last.heapIndex);
  }

  #rise(from: number): void {
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#swapIfEarlier(index, parent)) return;
      index = parent;
    }
  }

  #sink(from: number): void {
    let index = from;
    for (;;) {
      const left = 2 * index + 1;
      const right = left + 1;
      const child =
        (this.#heap[right]?.wakeAt ?? Infinity) < (this.#heap[left]?.wakeAt ?? Infinity)
          ? right
          : left;
      if (child >= this.#heap.length || !this.#swapIfEarlier(child, index)) return;
      index = child;
    }
  }

  #swapIfEarlier(lower: number, upper: number): boolean {
    const below = this.#heap[lower];
    const above = this.#heap[upper];
    if (below === undefined || above === undefined || below.wakeAt >= above.wakeAt) return false;
    this.#heap[lower] = above;
    this.#heap[upper] = below;
    above.heapIndex = lower;
    below.heapIndex = upper;
    return true;
  }
}
