/**
 * The thread that owns a machine. It runs the execution loop, one slice per turn of the event loop,
 * and talks with the rest of the process by messages only.
 */
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "@dejavm/base";
import { position } from "@dejavm/machine";
import { toReport } from "../host-errors.ts";
import { ExecutionLoop } from "../loop.ts";
import { FreePacer, LivePacer, type Pacer } from "../pacer.ts";
import type { VmReport } from "../reports.ts";
import type { LiveRequest } from "../requests.ts";
import { describeMachine } from "./describe.ts";
import { FileBlockStore } from "./disk-file.ts";
import { enableBranchHints } from "./engine-flags.ts";
import {
  engineOptions,
  type MadeMachine,
  makeMachine,
  remakeMachine,
  type StartSpec,
} from "./machine-maker.ts";
import { saveSnapshot } from "./snapshot-file.ts";

const TICKS_PER_MS = 10_000;
/** Node's timers take no more. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

assert(parentPort !== null, "worker.ts runs as a worker");
enableBranchHints();
const port = parentPort;
// What `VirtualMachine` put there, in the same process.
const spec = workerData as StartSpec;

function post(report: VmReport): void {
  port.postMessage(report);
}

function now(): number {
  return performance.now() * TICKS_PER_MS;
}

/** Keeps the loop turning: at once, at a time, or when a message comes. */
class Turner {
  readonly #loop: ExecutionLoop;
  readonly #onEnd: () => void;
  #timer: NodeJS.Timeout | undefined;
  #soon = false;

  constructor(loop: ExecutionLoop, onEnd: () => void) {
    this.#loop = loop;
    this.#onEnd = onEnd;
  }

  handle(request: LiveRequest): void {
    guarded(this.#onEnd, () => this.#loop.handle(request));
    this.wake();
  }

  wake(): void {
    clearTimeout(this.#timer);
    if (this.#soon) return;
    this.#soon = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#soon = false;
    guarded(this.#onEnd, () => {
      const wait = this.#loop.advance(now());
      if (wait.kind === "ended") return this.#onEnd();
      if (wait.kind === "now") return this.wake();
      if (wait.at === undefined) return;
      const ms = Math.min(Math.max(0, wait.at - now()) / TICKS_PER_MS, MAX_TIMEOUT_MS);
      this.#timer = setTimeout(() => this.wake(), ms);
    });
  }
}

function guarded(onFailure: () => void, action: () => void): void {
  try {
    action();
  } catch (error) {
    post({ kind: "failed", error: toReport(error) });
    onFailure();
  }
}

/** Virtual time goes on from where it was, as if the machine had run while it was a file. */
function pacerFor({ machine, restored }: MadeMachine): Pacer {
  if (spec.pace === "none") return new FreePacer();
  const absentMs =
    restored === undefined ? 0 : Date.now() - Number(restored.savedAtNs / 1_000_000n);
  return new LivePacer({ now: now() - absentMs * TICKS_PER_MS, ticks: machine.ticks });
}

function start(): void {
  const store = new FileBlockStore(spec.disks);
  // A restored machine does not know what it was booted from.
  const restarts = spec.restartOnReset === true && spec.source.kind === "create";
  const boot = restarts ? spec.source.config.boot : undefined;
  let made = makeMachine(spec.source, store, engineOptions(spec.engine));
  const startDigest = made.restored?.digest;
  const whereabouts = () => ({ position: made.machine.position, ticks: made.machine.ticks });
  const loop = new ExecutionLoop({
    machine: made.machine,
    store,
    pacer: pacerFor(made),
    restart:
      boot &&
      (() => {
        made = remakeMachine(made, boot, engineOptions(spec.engine));
        return { machine: made.machine, pacer: pacerFor(made) };
      }),
    limit: spec.limit === undefined ? undefined : position(spec.limit),
    digestAtEnd: spec.digestAtEnd,
    report: post,
    answer: (request) => {
      try {
        const { id } = request;
        const { machine, config } = made;
        const digest = machine.digest();
        if (request.kind === "digest") {
          post({ kind: "digest", id, digest, ...whereabouts() });
          return true;
        }
        const parts = describeMachine({
          machine,
          config,
          store,
          disks: spec.disks,
          digest,
          request,
        });
        const fileBytes = saveSnapshot(request.target.path, parts);
        post({ kind: "saved", id, digest, fileBytes, ...whereabouts() });
        return true;
      } catch (error) {
        post({ kind: "refused", id: request.id, error: toReport(error) });
        return false;
      }
    },
  });
  const turner = new Turner(loop, () => {
    store.close();
    port.close();
  });
  port.on("message", (request: LiveRequest) => turner.handle(request));
  post({ kind: "started", mode: "live", digest: startDigest, ...whereabouts() });
  turner.wake();
}

guarded(() => port.close(), start);
