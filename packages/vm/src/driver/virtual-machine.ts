/**
 * A running machine as the rest of the process sees it: its worker thread's handle. Console bytes
 * and frames go in and out; the machine waits for readers that are slow.
 */
import type { Worker } from "node:worker_threads";
import { CodedError } from "@dejavm/base";
import type { ConsolePort, Output } from "@dejavm/machine";
import { fromReport } from "../host-errors.ts";
import type { EndReport, VmReport, Whereabouts } from "../reports.ts";
import type { Keyboard, LiveRequest, VmRequest } from "../requests.ts";
import { Doorbell } from "./doorbell.ts";
import { fingerprint } from "./fingerprint.ts";
import type { StartSpec } from "./machine-maker.ts";
import { machineThread } from "./threads.ts";
import { requestTransfers } from "./transfer.ts";

/** What a running machine tells its owner. */
export interface VirtualMachineEvents {
  /** Console output, in order. The machine goes on at full speed once the promise is settled. */
  readonly onConsole: (port: ConsolePort, bytes: Uint8Array) => void | Promise<void>;
  readonly onFrame?: (frame: Uint8Array) => void;
  /** The position given as limit is reached; the machine waits for `save` or `stop`. */
  readonly onLimit?: () => void;
  /** The guest took so many bytes of input. */
  readonly onConsoleTaken?: (port: ConsolePort, bytes: number) => void;
  /**
   * Outputs as they come, with what they wait for. `release` hands them to `onConsole` and
   * `onFrame`; without this they go there at once.
   */
  readonly onOutputs?: (
    report: Extract<VmReport, { kind: "outputs" }>,
    release: () => void,
  ) => void;
  /** What this handle does not deal with itself: recording, checkpoints, replay. */
  readonly onReport?: (report: VmReport) => void;
}

/** Where a snapshot goes, and what becomes of the machine. */
export interface SaveOptions {
  readonly path: string;
  /** The machine's image in messages. */
  readonly image?: string;
  /** Console that a keyboard belongs to; `uart` if not given. */
  readonly keyboard?: Keyboard;
  readonly thenStop?: boolean;
}

/** A snapshot that was made. */
export interface SaveReport extends Whereabouts {
  readonly fileBytes: number;
  readonly digest: string;
}

/** The digest of the whole machine at a position: 32 hex digits. */
export interface DigestReport extends Whereabouts {
  readonly digest: string;
}

/** How a machine began here. */
export interface Origin extends Whereabouts {
  /** Of a machine that came from a snapshot. */
  readonly digest: string | undefined;
}

interface Waiter {
  readonly resolve: (report: SaveReport) => void;
  readonly reject: (error: Error) => void;
}

/** See the head of this file. `start` makes one; `ended` tells its end. */
export class VirtualMachine {
  /** Settles when the machine has come to its end; rejects if it failed. */
  readonly ended: Promise<EndReport>;
  readonly #worker: Worker;
  readonly #doorbell = new Doorbell();
  readonly #spec: StartSpec;
  #events: VirtualMachineEvents;
  readonly #waiters = new Map<number, Waiter>();
  /** Requests of this turn: a message costs more than what is in it. */
  #outbox: VmRequest[] = [];
  readonly #started = Promise.withResolvers<Origin>();
  readonly #end = Promise.withResolvers<EndReport>();
  #requests = 0;

  private constructor(spec: StartSpec, events: VirtualMachineEvents) {
    this.#spec = spec;
    this.#events = events;
    this.ended = this.#end.promise;
    // Whoever cares awaits it; a failure that nobody awaits is reported by `start` or `save`.
    this.ended.catch(() => undefined);
    this.#started.promise.catch(() => undefined);
    this.#worker = machineThread({ ...spec, doorbell: this.#doorbell.buffer });
    this.#worker.on("message", (reports: readonly VmReport[]) => {
      for (const report of reports) this.#hear(report);
    });
    this.#worker.on("error", (error) => this.#fail(asError(error)));
    this.#worker.on("exit", () => this.#fail(stopped()));
  }

  /** Starts a worker with the machine in it. Throws what is wrong with what it is made from. */
  static async start(spec: StartSpec, events: VirtualMachineEvents): Promise<VirtualMachine> {
    const vm = new VirtualMachine(spec, events);
    await vm.#started.promise;
    return vm;
  }

  /** From now on these hear of it: for a machine that changes hands. */
  attach(events: VirtualMachineEvents): void {
    this.#events = events;
  }

  /** Where the machine was when it started. */
  get origin(): Promise<Origin> {
    return this.#started.promise;
  }

  /** Types on a console. The guest takes it when it has room. */
  sendConsole(port: ConsolePort, bytes: Uint8Array): void {
    this.#post({ kind: "console", port, bytes });
  }

  /** Anything that the worker can be asked; byte arrays of bulk requests are given away. */
  request(request: VmRequest): void {
    this.#post(request);
  }

  sendFrame(bytes: Uint8Array): void {
    this.#post({ kind: "frame", bytes });
  }

  setLink(up: boolean): void {
    this.#post({ kind: "link", up });
  }

  pressPowerButton(): void {
    this.#post({ kind: "power-button" });
  }

  /** Saves the machine as it is between two slices; on request it stops right there. */
  async save(options: SaveOptions): Promise<SaveReport> {
    const { path, image = "", keyboard = "uart", thenStop = false } = options;
    const diskSha256: Uint8Array[] = [];
    for (const disk of this.#spec.disks) diskSha256.push(await fingerprint(disk.path));
    const target = { path, image, keyboard, diskSha256 };
    return this.#ask((id) => ({ kind: "save", id, target, thenStop }));
  }

  async digest(): Promise<DigestReport> {
    return this.#ask((id) => ({ kind: "digest", id }));
  }

  /** Ends the execution; the guest is not asked. */
  async stop(): Promise<EndReport> {
    this.#post({ kind: "stop" });
    return this.ended;
  }

  /** Ends the thread whatever it does. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #post(request: VmRequest): void {
    if (this.#outbox.length === 0) queueMicrotask(() => this.#flush());
    this.#outbox.push(request);
  }

  #flush(): void {
    const requests = this.#outbox;
    this.#outbox = [];
    this.#doorbell.ring();
    this.#worker.postMessage(requests, requests.flatMap(requestTransfers));
  }

  #ask(make: (id: number) => LiveRequest): Promise<SaveReport> {
    const id = ++this.#requests;
    const { promise, resolve, reject } = Promise.withResolvers<SaveReport>();
    this.#waiters.set(id, { resolve, reject });
    this.ended.then(() => reject(stopped()), reject);
    this.#post(make(id));
    return promise;
  }

  #hear(report: VmReport): void {
    switch (report.kind) {
      case "started":
        this.#started.resolve(report);
        break;
      case "at-limit":
        this.#events.onLimit?.();
        break;
      case "outputs":
        if (this.#events.onOutputs === undefined) this.#handOut(report.outputs);
        else this.#events.onOutputs(report, () => this.#handOut(report.outputs));
        break;
      case "console-taken":
        this.#events.onConsoleTaken?.(report.port, report.bytes);
        break;
      case "saved":
        this.#answer(report.id)?.resolve(report);
        break;
      case "digest": {
        // Others ask by `request`.
        const waiter = this.#answer(report.id);
        if (waiter === undefined) this.#events.onReport?.(report);
        else waiter.resolve({ ...report, fileBytes: 0 });
        break;
      }
      case "refused":
        this.#answer(report.id)?.reject(fromReport(report.error));
        break;
      case "ended":
        this.#end.resolve(report);
        break;
      case "failed":
        this.#fail(fromReport(report.error));
        break;
      default:
        this.#events.onReport?.(report);
    }
  }

  #handOut(outputs: readonly Output[]): void {
    for (const output of outputs) {
      if (output.kind === "frame") this.#events.onFrame?.(output.bytes);
      else void this.#deliver(output.port, output.bytes);
    }
  }

  async #deliver(port: ConsolePort, bytes: Uint8Array): Promise<void> {
    try {
      await this.#events.onConsole(port, bytes);
    } catch (error) {
      this.#fail(asError(error));
    }
    this.#post({ kind: "written", bytes: bytes.length });
  }

  #answer(id: number): Waiter | undefined {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    return waiter;
  }

  #fail(error: Error): void {
    this.#started.reject(error);
    this.#end.reject(error);
  }
}

function stopped(): CodedError {
  return new CodedError("E_STOPPED", "the machine has stopped", { hint: "start it again" });
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
