/**
 * What of the begun checkpoints is still to be sent, and in which order: what replay waits for,
 * then what the guest touched first after the checkpoint (the target will need it in that order),
 * then the rest. For pages and for disk chunks alike: an item is a number.
 *
 * An item that a later checkpoint contains too is not sent for the earlier one any more, unless
 * replay waits for it there.
 */
import { assert } from "@dejavm/base";

type ItemState = "pending" | "sent" | "superseded";

/** Items of one checkpoint to be read and sent together. */
export interface Batch {
  readonly checkpoint: number;
  readonly items: readonly number[];
  /** Replay stands still for it. */
  readonly urgent: boolean;
}

interface Urgent {
  readonly checkpoint: number;
  readonly item: number;
}

interface Layer {
  readonly checkpoint: number;
  readonly items: Map<number, ItemState>;
  /** Items in plain order that nobody has looked at yet. */
  readonly cold: Iterator<number>;
  /** Items of it that are among the urgent ones: each once, however often asked for. */
  readonly asked: Set<number>;
  hot: number[];
  pending: number;
  superseded: number;
  /** It cannot be read any more. */
  isClosed: boolean;
}

/** See the head of this file. */
export class TransferPlan {
  readonly #layers: Layer[] = [];
  #urgent: Urgent[] = [];

  /** A checkpoint begins; `items` are those that differ from the one before. */
  begin(checkpoint: number, items: readonly number[] | Uint32Array): void {
    const last = this.#layers.at(-1);
    assert(last === undefined || last.checkpoint < checkpoint, "checkpoints follow each other");
    const states = new Map<number, ItemState>();
    for (const item of items) {
      states.set(item, "pending");
      for (const layer of this.#layers) supersede(layer, item);
    }
    this.#layers.push({
      checkpoint,
      items: states,
      cold: states.keys(),
      asked: new Set(),
      hot: [],
      pending: states.size,
      superseded: 0,
      isClosed: false,
    });
  }

  /** The guest touched these, in this order. */
  touched(checkpoint: number, items: Iterable<number>): void {
    const layer = this.#layer(checkpoint);
    if (layer === undefined) return;
    for (const item of items) if (layer.items.get(item) === "pending") layer.hot.push(item);
  }

  /**
   * Replay, which began at checkpoint `base`, waits for these. Answers those that no checkpoint
   * up to there contains: they are zero, or as in the base image.
   */
  want(base: number, items: Iterable<number>): readonly number[] {
    const unknown: number[] = [];
    for (const item of items) {
      const layer = this.#layers.findLast((l) => l.checkpoint <= base && l.items.has(item));
      if (layer === undefined) unknown.push(item);
      else if (layer.items.get(item) !== "sent") this.#hurry(layer, item);
    }
    return unknown;
  }

  /** These have to be sent after all: what they were sent as was of no use. */
  again(checkpoint: number, items: Iterable<number>): void {
    const layer = this.#layer(checkpoint);
    if (layer === undefined || layer.isClosed) return;
    for (const item of items) {
      if (layer.items.get(item) !== "sent") continue;
      layer.items.set(item, "pending");
      layer.pending++;
      this.#hurry(layer, item);
    }
  }

  /** The next items, at most `count`; they count as sent. Undefined: nothing is left. */
  next(count: number): Batch | undefined {
    return this.#nextUrgent(count) ?? this.#nextPlanned(count);
  }

  /** Whether replay waits for something. */
  get isUrgent(): boolean {
    return this.#urgent.length > 0;
  }

  /** Items that are still to be sent. */
  get pending(): number {
    return this.#layers.reduce((sum, layer) => sum + layer.pending, 0);
  }

  /** Items of a checkpoint that are still to be sent; 0 for an unknown one. */
  pendingOf(checkpoint: number): number {
    return this.#layer(checkpoint)?.pending ?? 0;
  }

  /** Nothing of the checkpoints before `checkpoint` will be asked for any more. */
  forgetBefore(checkpoint: number): void {
    const kept = this.#layers.filter(
      (layer) => layer.checkpoint >= checkpoint || layer.pending > 0,
    );
    this.#layers.splice(0, this.#layers.length, ...kept);
  }

  /**
   * A checkpoint cannot be read any more. A target that said that it has all of it, and asks for
   * some of it nevertheless, gets nothing.
   */
  close(checkpoint: number): void {
    const layer = this.#layer(checkpoint);
    if (layer === undefined) return;
    layer.isClosed = true;
    this.#urgent = this.#urgent.filter((entry) => entry.checkpoint !== checkpoint);
  }

  #hurry(layer: Layer, item: number): void {
    if (layer.isClosed || layer.asked.has(item)) return;
    layer.asked.add(item);
    this.#urgent.push({ checkpoint: layer.checkpoint, item });
  }

  #nextUrgent(count: number): Batch | undefined {
    const checkpoint = this.#urgent[0]?.checkpoint;
    const layer = checkpoint === undefined ? undefined : this.#layer(checkpoint);
    if (checkpoint === undefined) return undefined;
    const items: number[] = [];
    const rest: Urgent[] = [];
    for (const entry of this.#urgent) {
      if (entry.checkpoint !== checkpoint || items.length >= count) rest.push(entry);
      else {
        layer?.asked.delete(entry.item);
        if (layer !== undefined && take(layer, entry.item, true)) items.push(entry.item);
      }
    }
    this.#urgent = rest;
    if (items.length === 0) return this.#nextUrgent(count);
    if (layer !== undefined) this.#addNeighbours(layer, items, count);
    return { checkpoint, items, urgent: true };
  }

  /** What lies beside a missing page is likely to be missed next. */
  #addNeighbours(layer: Layer, items: number[], count: number): void {
    const most = Math.min(count, items.length + NEIGHBOURS);
    const wanted = items.length;
    for (const item of items.slice(0, wanted)) {
      for (let near = item + 1; near <= item + NEIGHBOURS && items.length < most; near++) {
        if (take(layer, near, false)) items.push(near);
      }
    }
  }

  #nextPlanned(count: number): Batch | undefined {
    for (const layer of this.#layers) {
      if (layer.pending === 0) continue;
      const items: number[] = [];
      let used = 0;
      for (const item of layer.hot) {
        if (items.length >= count) break;
        used++;
        if (take(layer, item, false)) items.push(item);
      }
      layer.hot = layer.hot.slice(used);
      while (items.length < count) {
        const next = layer.cold.next();
        if (next.done === true) break;
        if (take(layer, next.value, false)) items.push(next.value);
      }
      if (items.length > 0) return { checkpoint: layer.checkpoint, items, urgent: false };
      // What `again` brought back, the iterator has passed: it is urgent, and comes from there.
    }
    return undefined;
  }

  #layer(checkpoint: number): Layer | undefined {
    return this.#layers.find((layer) => layer.checkpoint === checkpoint);
  }
}

/** Items sent with a missing one. */
const NEIGHBOURS = 8;

function supersede(layer: Layer, item: number): void {
  if (layer.items.get(item) !== "pending") return;
  layer.items.set(item, "superseded");
  layer.pending--;
  layer.superseded++;
}

/** Whether the item was to be sent, which it is from now on. */
function take(layer: Layer, item: number, evenSuperseded: boolean): boolean {
  const state = layer.items.get(item);
  if (state === "pending") layer.pending--;
  else if (state === "superseded" && evenSuperseded) layer.superseded--;
  else return false;
  layer.items.set(item, "sent");
  return true;
}
