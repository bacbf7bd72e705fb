/**
 * A thread of its own that is asked and answers, one for the process. It is started by the first
 * use, and a process that waits for nothing else may end. Where it fails, all that was asked is
 * rejected, and the next use starts another one.
 */
import { Worker } from "node:worker_threads";

/** See the head of this file. Requests are carried out in order. */
export class AskedThread<Request, Answer extends { readonly id: number }> {
  readonly #url: URL;
  readonly #waiters = new Map<number, PromiseWithResolvers<Answer>>();
  #worker: Worker | undefined;
  #ids = 0;

  /**
   * `module` beside the file whose `import.meta.url` is `base`, without its ending: in a checkout
   * that runs its sources the thread does, too.
   */
  constructor(base: string, module: string) {
    this.#url = new URL(`${module}.${isSource(base) ? "ts" : "js"}`, base);
  }

  /** Starts it before the first use: loading its modules takes a while. */
  prepare(): void {
    void this.#started;
  }

  /** What is not answered. */
  post(request: Request): void {
    this.#started.postMessage(request, []);
  }

  /** The answer that has the id which `make` was given; buffers of `transfer` are given away. */
  ask(make: (id: number) => Request, transfer: readonly ArrayBuffer[] = []): Promise<Answer> {
    const id = ++this.#ids;
    const waiter = Promise.withResolvers<Answer>();
    this.#waiters.set(id, waiter);
    const worker = this.#started;
    worker.ref();
    worker.postMessage(make(id), [...transfer]);
    return waiter.promise;
  }

  get #started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const options = isSource(this.#url.href) ? { execArgv: ["--conditions=source"] } : {};
    const worker = new Worker(this.#url, options);
    worker.unref();
    worker.on("message", (answer: Answer) => {
      const waiter = this.#waiters.get(answer.id);
      this.#waiters.delete(answer.id);
      if (this.#waiters.size === 0) worker.unref();
      waiter?.resolve(answer);
    });
    worker.on("error", (error: Error) => {
      this.#worker = undefined;
      const waiters = [...this.#waiters.values()];
      this.#waiters.clear();
      for (const { reject } of waiters) reject(error);
    });
    this.#worker = worker;
    return worker;
  }
}

function isSource(url: string): boolean {
  return url.endsWith(".ts");
}
