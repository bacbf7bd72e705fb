/**
 * Hashes and compresses contents on threads of its own (`pack-worker.ts`), so that the thread
 * which owns the store only writes down what comes back. Contents are hashed first; what the store
 * has already is then never compressed. A thread is started when it is first needed, the second
 * one when the first has enough to do, and a process that waits for nothing else may end.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { assert, type CodedError } from "@dejavm/base";
import type { ContentPack } from "../content-pack.ts";
import { storeError } from "../store-errors.ts";

/** What the thread is asked for. */
type PackWork =
  | {
      readonly kind: "hash";
      readonly id: number;
      readonly itemBytes: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "pack"; readonly id: number; readonly items: readonly number[] };

/** To the thread. */
export interface PackRequest {
  readonly work: PackWork | undefined;
  /** Ids of what `hash` began and nobody needs any more: that costs no message of its own. */
  readonly forget: readonly number[];
}

/** From the thread, in order of the requests to it. */
export type PackAnswer =
  | { readonly kind: "hashed"; readonly id: number; readonly hashes: Uint8Array }
  | { readonly kind: "packed"; readonly id: number; readonly pack: ContentPack };

/** Contents that the thread has hashed and holds until `forget`. */
export interface HashedItems {
  /** sha256 of each, 32 bytes each. */
  readonly hashes: Uint8Array;
  /** Compresses those with these indices, at least one, in that order. */
  pack(items: readonly number[]): Promise<ContentPack>;
  forget(): void;
}

interface Waiter {
  readonly answer: (answer: PackAnswer) => void;
  readonly fail: (error: Error) => void;
}

/** Threads at most: more would be faster than one thread writes down what they give. */
const MAX_THREADS = Math.min(2, availableParallelism());

/** Answers that are waited for from a thread that has enough to do. */
const BUSY = 2;

/** In a checkout that runs its sources the thread does, too. */
const FROM_SOURCE = import.meta.url.endsWith(".ts");
const WORKER = new URL(FROM_SOURCE ? "./pack-worker.ts" : "./pack-worker.js", import.meta.url);

/** One thread, and who waits for its answers. */
class PackThread {
  readonly #worker = new Worker(WORKER, FROM_SOURCE ? { execArgv: ["--conditions=source"] } : {});
  readonly #waiters = new Map<number, Waiter>();
  #forgotten: number[] = [];

  /** `gone`: it has failed, and all who waited have heard of it. */
  constructor(gone: () => void) {
    this.#worker.unref();
    this.#worker.on("message", (answer: PackAnswer) => this.#hear(answer));
    this.#worker.on("error", (cause) => {
      gone();
      this.#fail(storeError("E_STORE_IO", "the thread that packs contents has failed", { cause }));
    });
  }

  /** How many answers are waited for. */
  get load(): number {
    return this.#waiters.size;
  }

  ask(work: PackWork, transfer: readonly ArrayBuffer[] = []): Promise<PackAnswer> {
    return new Promise<PackAnswer>((answer, fail) => {
      this.#waiters.set(work.id, { answer, fail });
      this.#worker.ref();
      this.#post(work, transfer);
    });
  }

  /** Told with the next request, at once if none is under way. */
  forget(id: number): void {
    this.#forgotten.push(id);
    if (this.#waiters.size === 0) this.#post(undefined, []);
  }

  #post(work: PackWork | undefined, transfer: readonly ArrayBuffer[]): void {
    const request: PackRequest = { work, forget: this.#forgotten };
    this.#forgotten = [];
    this.#worker.postMessage(request, transfer);
  }

  close(): void {
    void this.#worker.terminate();
    this.#fail(closed());
  }

  #hear(answer: PackAnswer): void {
    const waiter = this.#waiters.get(answer.id);
    this.#waiters.delete(answer.id);
    if (this.#waiters.size === 0) this.#worker.unref();
    waiter?.answer(answer);
  }

  #fail(error: Error): void {
    const waiters = [...this.#waiters.values()];
    this.#waiters.clear();
    for (const { fail } of waiters) fail(error);
  }
}

/** See the head of the file. */
export class Packer {
  readonly #threads = new Set<PackThread>();
  #ids = 0;
  #isClosed = false;

  /**
   * Hashes items that stand one after the other, at most MAX_PACK_BYTES of them. Their buffer is
   * given away if they fill it. Rejects with E_STORE_CLOSED.
   */
  async hash(itemBytes: number, bytes: Uint8Array): Promise<HashedItems> {
    const id = ++this.#ids;
    const own = giveable(bytes);
    if (this.#isClosed) throw closed();
    const thread = this.#leastBusy();
    const answer = await thread.ask({ kind: "hash", id, itemBytes, bytes: own }, [own.buffer]);
    assert(answer.kind === "hashed", "a hash is answered with hashes");
    return {
      hashes: answer.hashes,
      pack: (items) => this.#pack(thread, id, items),
      forget: () => thread.forget(id),
    };
  }

  /** Starts a thread before the first use. */
  prepare(): void {
    if (!this.#isClosed && this.#threads.size === 0) this.#start();
  }

  /** What is under way is rejected with E_STORE_CLOSED. */
  close(): void {
    this.#isClosed = true;
    for (const thread of this.#threads) thread.close();
    this.#threads.clear();
  }

  async #pack(thread: PackThread, id: number, items: readonly number[]): Promise<ContentPack> {
    assert(items.length > 0, "a pack has an item");
    if (this.#isClosed) throw closed();
    const answer = await thread.ask({ kind: "pack", id, items });
    assert(answer.kind === "packed", "a request for a pack is answered with one");
    return answer.pack;
  }

  #leastBusy(): PackThread {
    let best: PackThread | undefined;
    for (const thread of this.#threads) {
      if (best === undefined || thread.load < best.load) best = thread;
    }
    const isEnough = best !== undefined && (best.load < BUSY || this.#threads.size >= MAX_THREADS);
    return isEnough && best !== undefined ? best : this.#start();
  }

  #start(): PackThread {
    const thread = new PackThread(() => this.#threads.delete(thread));
    this.#threads.add(thread);
    return thread;
  }
}

/** The same bytes with a buffer of their own, which can go to another thread. */
export function giveable(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  const isWhole = buffer instanceof ArrayBuffer && bytes.length === buffer.byteLength;
  return isWhole ? new Uint8Array(buffer) : new Uint8Array(bytes);
}

function closed(): CodedError {
  return storeError("E_STORE_CLOSED", "cannot pack contents: the store is closed");
}
