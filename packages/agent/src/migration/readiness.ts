/**
 * Keeps an agent ready for the next machine that comes or goes: its threads are started before they
 * are needed. That takes half a second of CPU time, so it waits for a quiet moment.
 */
import type { LogStore } from "@dejavm/log-store";
import { prepareUnpacker } from "@dejavm/target-agent";
import { prepareThread } from "@dejavm/vm";

/** After the agent's start: whoever wants a machine at once is not held up. */
const AFTER_START_MS = 1000;
/** After a machine has taken the thread that was ready: it is busy with its own beginning. */
const AFTER_MACHINE_MS = 5000;
/** RAM of the next machine, as long as none is known: what `run` gives by default. */
const USUAL_MEMORY_BYTES = 256 * 2 ** 20;

/** See the head of this file. A process that waits for nothing else may end. */
export class Readiness {
  readonly #store: LogStore;
  #memoryBytes = USUAL_MEMORY_BYTES;
  #timer: NodeJS.Timeout;

  constructor(store: LogStore) {
    this.#store = store;
    this.#timer = this.#after(AFTER_START_MS);
  }

  /** A machine with so much RAM was started here or has come: the next may be like it. */
  machineStarted(memoryBytes: number): void {
    this.#memoryBytes = memoryBytes;
    clearTimeout(this.#timer);
    this.#timer = this.#after(AFTER_MACHINE_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #after(ms: number): NodeJS.Timeout {
    const timer = setTimeout(() => {
      prepareThread(this.#memoryBytes);
      prepareUnpacker();
      this.#store.prepare();
    }, ms);
    timer.unref();
    return timer;
  }
}
