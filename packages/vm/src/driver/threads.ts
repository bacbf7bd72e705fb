/**
 * Threads for machines (`worker.ts`). One may be started before there is a machine for it: loading
 * what it needs takes as long as a short migration.
 */
import { Worker } from "node:worker_threads";
import type { StartSpec } from "./machine-maker.ts";

let spare: Worker | undefined;

/** Starts a thread for the next machine; a process that waits for nothing else may end. */
export function prepareThread(): void {
  if (spare !== undefined) return;
  const worker = startWorker(null);
  worker.unref();
  spare = worker;
  const forget = (): void => {
    if (spare === worker) spare = undefined;
  };
  worker.once("error", forget).once("exit", forget);
}

/** A thread that makes this machine: the one that was prepared, or a new one. */
export function machineThread(spec: StartSpec): Worker {
  const worker = spare;
  if (worker === undefined) return startWorker(spec);
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
