/**
 * Threads for machines (`worker.ts`). One is kept ready before there is a machine for it: loading
 * what a machine needs, compiling the hart's module and having V8 optimize it takes as long as a
 * short migration.
 */
import { Worker } from "node:worker_threads";
import type { StartSpec } from "./machine-maker.ts";

/** What a thread that has no machine yet is told: get ready for one with so much RAM. */
export interface WarmUpOrder {
  readonly kind: "warm-up";
  readonly memoryBytes: number;
}

interface Spare {
  readonly worker: Worker;
  memoryBytes: number;
}

let spare: Spare | undefined;

/**
 * Gets a thread ready for the next machine, which is likely to have so much RAM; the one that is
 * ready may be for another size. A process that waits for nothing else may end.
 */
export function prepareThread(memoryBytes: number): void {
  if (spare === undefined) {
    const worker = startWorker(null);
    worker.unref();
    const started: Spare = { worker, memoryBytes: 0 };
    spare = started;
    const forget = (): void => {
      if (spare === started) spare = undefined;
    };
    worker.once("error", forget).once("exit", forget);
  }
  if (spare.memoryBytes === memoryBytes) return;
  spare.memoryBytes = memoryBytes;
  const order: WarmUpOrder = { kind: "warm-up", memoryBytes };
  spare.worker.postMessage(order, []);
}

/** A thread that makes this machine: the one that was prepared, or a new one. */
export function machineThread(spec: StartSpec): Worker {
  if (spare === undefined) return startWorker(spec);
  const { worker } = spare;
  spare = undefined;
  worker.ref();
  worker.postMessage(spec, []);
  return worker;
}

/** In a checkout that runs its sources the worker is a source, too. */
function startWorker(spec: StartSpec | null): Worker {
  const fromSource = import.meta.url.endsWith(".ts");
  const file = fromSource ? "./worker.ts" : "./worker.js";
  return new Worker(new URL(file, import.meta.url), {
    workerData: spec,
    ...(fromSource ? { execArgv: ["--conditions=source"] } : {}),
  });
}
