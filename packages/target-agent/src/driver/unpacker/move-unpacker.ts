/**
 * Unpacks what migrations receive on a thread of its own (`unpack-worker.ts`), one for the process.
 * It is started by the first use, and a process that waits for nothing else may end.
 */
import { Worker } from "node:worker_threads";
import { CodedError } from "@dejavm/base";
import type { PageMessage, UnpackedPages } from "./unpacking.ts";

/** To the thread; carried out in order. */
export type MoveUnpackRequest =
  | { readonly kind: "open"; readonly move: number; readonly bases: readonly string[] }
  | { readonly kind: "close"; readonly move: number }
  | {
      readonly kind: "unpack";
      readonly move: number;
      readonly id: number;
      readonly message: PageMessage;
    };

/** From the thread, in order of the requests. */
export type MoveUnpackAnswer =
  | { readonly kind: "unpacked"; readonly id: number; readonly unpacked: UnpackedPages }
  | { readonly kind: "failed"; readonly id: number; readonly code: string; readonly text: string };

interface Waiter {
  readonly resolve: (unpacked: UnpackedPages) => void;
  readonly reject: (error: Error) => void;
}

/** In a checkout that runs its sources the thread does, too. */
const FROM_SOURCE = import.meta.url.endsWith(".ts");
const WORKER = new URL(FROM_SOURCE ? "./unpack-worker.ts" : "./unpack-worker.js", import.meta.url);

/** The thread. */
class UnpackThread {
  readonly #waiters = new Map<number, Waiter>();
  #worker: Worker | undefined;
  #ids = 0;

  get started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(WORKER, FROM_SOURCE ? { execArgv: ["--conditions=source"] } : {});
    worker.unref();
    worker.on("message", (answer: MoveUnpackAnswer) => this.#hear(worker, answer));
    worker.on("error", (error: Error) => {
      this.#worker = undefined;
      const waiters = [...this.#waiters.values()];
      this.#waiters.clear();
      for (const { reject } of waiters) reject(error);
    });
    this.#worker = worker;
    return worker;
  }

  post(request: MoveUnpackRequest): void {
    this.started.postMessage(request, []);
  }

  unpack(move: number, message: PageMessage): Promise<UnpackedPages> {
    const id = ++this.#ids;
    return new Promise((resolve, reject) => {
      this.#waiters.set(id, { resolve, reject });
      const { started } = this;
      started.ref();
      if (message.kind === "image-refs") {
        started.postMessage({ kind: "unpack", move, id, message }, []);
        return;
      }
      // A view of what came from the socket: only its own bytes go over.
      const data = message.data.slice();
      started.postMessage({ kind: "unpack", move, id, message: { ...message, data } }, [
        data.buffer,
      ]);
    });
  }

  #hear(worker: Worker, answer: MoveUnpackAnswer): void {
    const waiter = this.#waiters.get(answer.id);
    this.#waiters.delete(answer.id);
    if (this.#waiters.size === 0) worker.unref();
    if (answer.kind === "unpacked") waiter?.resolve(answer.unpacked);
    else waiter?.reject(new CodedError(answer.code, answer.text));
  }
}

const thread = new UnpackThread();
let moves = 0;

/** What one migration unpacks. `close` it. */
export class MoveUnpacker {
  readonly #move = ++moves;

  /** `bases`: the files that the machine began with here, as `image-refs` counts them. */
  constructor(bases: readonly string[]) {
    thread.post({ kind: "open", move: this.#move, bases });
  }

  /** Rejects with E_PROTOCOL_MALFORMED. */
  unpack(message: PageMessage): Promise<UnpackedPages> {
    return thread.unpack(this.#move, message);
  }

  close(): void {
    thread.post({ kind: "close", move: this.#move });
  }
}
