/**
 * The thread that owns a machine. It runs the machine's loop, some slices in each turn of the event
 * loop, and talks with the rest of the process by messages only. A machine that replays gets the
 * live loop when it goes live.
 */
import { parentPort, workerData } from "node:worker_threads";
import { assert, release } from "@dejavm/base";
import { type InputEvent, position } from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";
import { toReport } from "../host-errors.ts";
import { ExecutionLoop, type LoopWait, type MachineLoop } from "../loop.ts";
import { FreePacer, LivePacer, type Pacer } from "../pacer.ts";
import { ReplayLoop } from "../replay-loop.ts";
import type { VmReport } from "../reports.ts";
import type { LiveRequest, VmRequest } from "../requests.ts";
import type { CheckpointBase } from "../runnable-machine.ts";
import { describeMachine } from "./describe.ts";
import { FileBlockStore } from "./disk-file.ts";
import { Doorbell } from "./doorbell.ts";
import { setEngineFlags } from "./engine-flags.ts";
import { EngineMonitor, microseconds } from "./engine-monitor.ts";
import { hostCodecs } from "./host-codecs.ts";
import { machineOptions, makeMachine, type StartSpec } from "./machine-maker.ts";
import { saveSnapshot } from "./snapshot-file.ts";
import type { WarmUpOrder } from "./threads.ts";
import { reportTransfers, requestTransfers } from "./transfer.ts";
import { warmUp } from "./warm-up.ts";

const TICKS_PER_MS = 10_000;
/** Node's timers take no more. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
/** Slices in one turn of the event loop while no message comes: a turn costs as much as a frame. */
const MAX_SLICES_PER_TURN = 8;

assert(parentPort !== null, "worker.ts runs as a worker");
setEngineFlags();
const port = parentPort;

let monitor: EngineMonitor | undefined;

/** Reports of one turn travel together: a message costs more than what is in it. */
let reports: VmReport[] = [];

function post(report: VmReport): void {
  reports.push(report.kind === "ended" ? { ...report, ...monitor?.finish() } : report);
}

function flush(): void {
  if (reports.length === 0) return;
  const batch = reports;
  reports = [];
  port.postMessage(batch, batch.flatMap(reportTransfers));
}

function now(): number {
  return performance.now() * TICKS_PER_MS;
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Keeps the loop turning: at once, at a time, or when a message comes. */
class Turner {
  #loop: MachineLoop | undefined;
  readonly #doorbell: Doorbell;
  readonly #onEnd: () => void;
  #timer: NodeJS.Timeout | undefined;
  #soon = false;

  constructor(doorbell: Doorbell, onEnd: () => void) {
    this.#doorbell = doorbell;
    this.#onEnd = onEnd;
  }

  /** From now on it is this one. */
  turn(loop: MachineLoop): void {
    this.#loop = loop;
    this.wake();
  }

  handle(requests: readonly VmRequest[]): void {
    guarded(this.#onEnd, () => {
      for (const request of requests) {
        this.#loop?.handle(request);
        // What was given away to this thread has been copied to where it belongs.
        for (const buffer of requestTransfers(request)) release(buffer);
      }
    });
    flush();
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
      let wait = this.#advance();
      for (let i = 1; i < MAX_SLICES_PER_TURN && wait.kind === "now"; i++) {
        if (this.#doorbell.isRung) break;
        wait = this.#advance();
      }
      if (wait.kind === "ended") return this.#onEnd();
      if (wait.kind === "now") return this.wake();
      if (wait.at === undefined) return;
      const ms = Math.min(Math.max(0, wait.at - now()) / TICKS_PER_MS, MAX_TIMEOUT_MS);
      this.#timer = setTimeout(() => this.wake(), ms);
    });
  }

  #advance(): LoopWait {
    const start = microseconds();
    const wait: LoopWait = this.#loop?.advance(now()) ?? { kind: "ended" };
    monitor?.sliceEnded(start);
    flush();
    return wait;
  }
}

function guarded(onFailure: () => void, action: () => void): void {
  try {
    action();
  } catch (error) {
    post({ kind: "failed", error: toReport(error) });
    flush();
    onFailure();
  }
}

/** How a machine begins to be live. */
interface LiveStart {
  /** How far its virtual time is behind the wall. */
  readonly behindTicks: number;
  readonly record: TracePoint | undefined;
  readonly base: CheckpointBase | undefined;
  readonly inputs: readonly InputEvent[];
}

function start(spec: StartSpec): void {
  const store = new FileBlockStore(spec.disks);
  const { machine, config, restored } = makeMachine(spec.source, store, machineOptions(spec));
  if (spec.monitor !== undefined) monitor = new EngineMonitor(machine, spec.monitor);
  const doorbell = new Doorbell(spec.doorbell);
  const turner = new Turner(doorbell, () => {
    store.close();
    port.close();
  });
  const whereabouts = () => ({ position: machine.position, ticks: machine.ticks });
  const pacer = (behindTicks: number): Pacer =>
    spec.pace === "none"
      ? new FreePacer()
      : new LivePacer({ now: now() - behindTicks, ticks: machine.ticks });

  const save = (request: Extract<LiveRequest, { kind: "save" }>): boolean => {
    const { id, target } = request;
    try {
      const digest = machine.digest();
      const disks = spec.disks;
      const parts = describeMachine({ machine, config, store, disks, digest, target });
      const fileBytes = saveSnapshot(target.path, parts);
      post({ kind: "saved", id, digest, fileBytes, ...whereabouts() });
      return true;
    } catch (error) {
      post({ kind: "refused", id, error: toReport(error) });
      return false;
    }
  };
  const live = ({ behindTicks, ...rest }: LiveStart): ExecutionLoop =>
    new ExecutionLoop({
      ...rest,
      machine,
      store,
      pacer: pacer(behindTicks),
      limit: spec.limit === undefined ? undefined : position(spec.limit),
      digestAtEnd: spec.digestAtEnd,
      hasher: hostCodecs,
      clock: now,
      cpuMs,
      requestWaits: () => doorbell.isRung,
      report: post,
      save,
    });

  port.on("message", (requests: readonly VmRequest[]) => {
    doorbell.answer();
    turner.handle(requests);
  });
  const mode = spec.source.kind === "checkpoint" ? "replaying" : "live";
  post({ kind: "started", mode, digest: restored?.digest, ...whereabouts() });
  if (spec.source.kind !== "checkpoint") {
    // Virtual time goes on from where it was, as if it had run while it was a file.
    const absentMs =
      restored === undefined ? 0 : Date.now() - Number(restored.savedAtNs / 1_000_000n);
    const behindTicks = absentMs * TICKS_PER_MS;
    flush();
    turner.turn(live({ behindTicks, record: spec.record, base: undefined, inputs: [] }));
    return;
  }
  const replay = new ReplayLoop({
    machine,
    store,
    checkpoint: spec.source.id,
    from: spec.source.trace,
    codecs: hostCodecs,
    showOutputs: spec.showReplay === true,
    clock: now,
    cpuMs,
    report: post,
    save,
    goLive: ({ id, behindTicks, entropySeed, record, frozen }, base) => {
      const inputs: InputEvent[] =
        entropySeed === undefined ? [] : [{ kind: "entropy", seed: entropySeed }];
      const loop = live({ behindTicks, record, base, inputs });
      post({ kind: "live", id, checkpoint: base.id, ...whereabouts() });
      if (frozen) loop.handle({ kind: "freeze", id });
      turner.turn(loop);
    },
  });
  flush();
  turner.turn(replay);
}

function startGuarded(spec: StartSpec): void {
  guarded(
    () => port.close(),
    () => start(spec),
  );
}

/** Without a machine yet: gets ready for one, then takes it. */
function takeOrders(order: StartSpec | WarmUpOrder): void {
  if (!("kind" in order)) {
    port.off("message", takeOrders);
    return startGuarded(order);
  }
  guarded(
    () => port.close(),
    () => warmUp(order.memoryBytes),
  );
}

// What `threads.ts` put there, in the same process: a machine, or null: it comes as a message.
const given = workerData as StartSpec | null;
if (given === null) port.on("message", takeOrders);
else startGuarded(given);
