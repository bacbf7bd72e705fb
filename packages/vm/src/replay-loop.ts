/**
 * Replays a machine from a checkpoint: takes pages, chunks and trace as they come, asks for what
 * is missing, leaps to later checkpoints, and says when it stands where the trace ends. Sans-IO;
 * host time is an argument, in ticks of 100 ns. It hands the machine over when it is to go live.
 */
import { assert, CodedError, unreachable } from "@dejavm/base";
import {
  CHUNK_BYTES,
  decodeState,
  type MissingBlock,
  type Output,
  PAGE_BYTES,
} from "@dejavm/machine";
import {
  Replayer,
  type ReplayStep,
  type TraceCodecs,
  type TracePoint,
  TraceReader,
} from "@dejavm/trace";
import { type SourceAgentErrorCode, toReport } from "./host-errors.ts";
import type { LoopWait, MachineLoop } from "./loop.ts";
import type { VmReport } from "./reports.ts";
import type { ChunkBatch, PageBatch, ReplayRequest, VmRequest } from "./requests.ts";
import type { BlockStore, CheckpointBase, RestorableMachine } from "./runnable-machine.ts";

/** Positions of one step: a few milliseconds, after which requests are heard. */
const STEP_POSITIONS = 1_000_000n;
const TICKS_PER_MS = 10_000;
const REPORT_INTERVAL_TICKS = 50 * TICKS_PER_MS;

type Request<Kind extends ReplayRequest["kind"]> = Extract<ReplayRequest, { kind: Kind }>;

/** What it works with. */
export interface ReplayOptions {
  readonly machine: RestorableMachine;
  readonly store: BlockStore;
  /** The number by which the checkpoint that the machine is in can be named later. */
  readonly checkpoint: number;
  /** Where the trace from the machine's state on begins. */
  readonly from: TracePoint;
  readonly codecs: TraceCodecs;
  /** Whether outputs are reported instead of dropped. */
  readonly showOutputs: boolean;
  /** Host time, as `advance` is given it. */
  readonly clock: () => number;
  /** CPU time of this thread, in ms. */
  readonly cpuMs: () => number;
  readonly report: (report: VmReport) => void;
  /** Writes a snapshot and reports it; every page is there. False where it could not. */
  readonly save: (request: Extract<VmRequest, { kind: "save" }>) => boolean;
  /** The machine becomes live, here. */
  readonly goLive: (request: Request<"go-live">, base: CheckpointBase) => void;
}

/** What it does. */
type State =
  | { readonly kind: "running" }
  /** For pages or chunks, since a time. */
  | { readonly kind: "missing" }
  | { readonly kind: "at-frontier" }
  | { readonly kind: "over" };

/** See the head of this file. */
export class ReplayLoop implements MachineLoop {
  readonly #options: ReplayOptions;
  readonly #replayer: Replayer;
  #reader: TraceReader;
  #base: CheckpointBase;
  #state: State = { kind: "running" };
  #target: Request<"replay-to"> | undefined;
  /** What was asked for and has not come: pages by number, chunks by name. */
  readonly #asked = new Set<number | string>();
  #outputs: Output[] = [];
  /** Bytes of segments by the unit after them, not yet used. */
  #fed: { readonly sequence: number; readonly bytes: number }[] = [];
  #nextReport = 0;
  /** When it began, and how long it has replayed since. */
  readonly #begunAt: number;
  #replayTicks = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
    const { machine, codecs, from } = options;
    this.#begunAt = options.clock();
    options.store.expect(machine.overlayChunks().filter(({ zero }) => !zero));
    this.#base = this.#rebase(options.checkpoint);
    this.#reader = new TraceReader({ codecs, at: from });
    this.#replayer = new Replayer({
      machine,
      output: ({ output }) => {
        if (options.showOutputs) this.#outputs.push(output);
      },
    });
  }

  handle(request: VmRequest): void {
    switch (request.kind) {
      case "supply-pages":
        this.#supplyPages(request);
        break;
      case "supply-zero-pages":
        for (const page of request.pages) this.#supplyPage(page, undefined);
        this.#supplied();
        break;
      case "supply-rest-zero":
        this.#options.machine.zeroAbsentPages();
        this.#supplied();
        break;
      case "supply-chunks":
        this.#supplyChunks(request);
        this.#supplied();
        break;
      case "feed":
        for (const segment of request.segments) this.#feed(segment);
        break;
      case "jump":
        this.#jump(request);
        break;
      case "replay-to":
        this.#target = request;
        if (this.#state.kind === "at-frontier") this.#compare();
        break;
      case "go-live":
        this.#goLive(request);
        break;
      case "stop":
        this.#end();
        break;
      case "digest":
        this.#digest(request.id);
        break;
      case "save":
        this.#save(request);
        break;
      case "freeze":
      case "unfreeze":
      case "checkpoint":
      case "read-pages":
      case "read-chunks":
        this.#refuse(request.id, `${request.kind} a machine that replays`);
        break;
      case "console":
      case "frame":
      case "link":
      case "power-button":
      case "written":
      case "start-recording":
      case "stop-recording":
      case "set-frontier-interval":
      case "throttle":
      case "report-progress":
      case "close-checkpoint":
        break;
      default:
        unreachable(request);
    }
  }

  advance(now: number): LoopWait {
    if (this.#state.kind === "over") return { kind: "ended" };
    if (this.#state.kind !== "running") return { kind: "until", at: undefined };
    this.#switchOn();
    const step = this.#replayer.advance(STEP_POSITIONS);
    this.#replayTicks += this.#options.clock() - now;
    this.#collectBlocks();
    this.#showOutputs();
    this.#act(step);
    if (now >= this.#nextReport || this.#state.kind !== "running") this.#reportReplayed(now);
    return this.#state.kind === "running" ? { kind: "now" } : { kind: "until", at: undefined };
  }

  /** A computer that is off does nothing: where the trace goes on it was switched on again. */
  #switchOn(): void {
    const { machine } = this.#options;
    if (machine.isOff && machine.canBoot && this.#replayer.target !== undefined) {
      machine.switchOn();
    }
  }

  #act(step: ReplayStep): void {
    const { machine, report } = this.#options;
    const { position, ticks } = machine;
    switch (step.kind) {
      case "ran":
        break;
      case "missing-page":
        this.#missing(step.pages, []);
        break;
      case "missing-block":
        this.#missingBlocks(step.blocks);
        break;
      case "at-frontier":
        this.#atFrontier();
        break;
      case "digest-matched": {
        const { digest } = step;
        report({ kind: "digest-matched", digest, position, ticks });
        break;
      }
      case "ended":
        report({ kind: "replay-ended", reason: step.end, position, ticks });
        break;
      case "diverged":
        this.#state = { kind: "missing" };
        report({ kind: "diverged", divergence: step.divergence, position, ticks });
        break;
      case "interrupted":
        assert(false, "nobody set a breakpoint");
        break;
      default:
        unreachable(step);
    }
  }

  #atFrontier(): void {
    this.#state = { kind: "at-frontier" };
    const { machine, report } = this.#options;
    const { position, ticks, wallTimeNs: guestWallNs } = machine;
    report({ kind: "at-frontier", position, ticks, guestWallNs, trace: this.#reader.point });
    this.#compare();
  }

  /** At the cutover's place the digest decides. */
  #compare(): void {
    const target = this.#target;
    const { machine, report } = this.#options;
    if (target === undefined || machine.position !== target.position) return;
    if (machine.ticks !== target.ticks) return;
    this.#target = undefined;
    const { position, ticks } = machine;
    const digest = machine.digest();
    if (digest === target.digest) {
      report({ kind: "reached", id: target.id, digest, position, ticks });
      return;
    }
    const reason = { kind: "digest", expected: target.digest, actual: digest } as const;
    const { place } = machine;
    const { matched } = this.#replayer;
    const divergence = { reason, place, matched, before: [], after: [] };
    report({ kind: "diverged", divergence, position, ticks });
    this.#state = { kind: "missing" };
  }

  // ---- what is missing

  #missingBlocks(blocks: readonly MissingBlock[]): void {
    const { machine, store } = this.#options;
    const absent: MissingBlock[] = [];
    for (const block of blocks) {
      const bytes = store.read(block);
      if (bytes === undefined) absent.push(block);
      else machine.supplyBlock(block, bytes);
    }
    if (absent.length > 0) this.#missing([], absent);
  }

  #missing(pages: readonly number[], blocks: readonly MissingBlock[]): void {
    this.#state = { kind: "missing" };
    const fresh = (key: number | string): boolean =>
      !this.#asked.has(key) && !!this.#asked.add(key);
    const newPages = pages.filter((page) => fresh(page));
    const newBlocks = blocks.filter(({ disk, chunk }) => fresh(`${disk}:${chunk}`));
    if (newPages.length + newBlocks.length === 0) return;
    this.#options.report({ kind: "missing", pages: newPages, blocks: newBlocks });
  }

  #supplied(): void {
    if (this.#state.kind === "missing") this.#state = { kind: "running" };
  }

  #supplyPages({ pages, bytes }: PageBatch): void {
    for (const [i, page] of pages.entries()) {
      this.#supplyPage(page, bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES));
    }
    this.#supplied();
  }

  #supplyPage(page: number, bytes: Uint8Array | undefined): void {
    const { machine } = this.#options;
    this.#asked.delete(page);
    if (machine.isAbsentPage(page)) machine.supplyPage(page, bytes);
  }

  #supplyChunks({ chunks, bytes }: ChunkBatch): void {
    for (const [i, { disk, chunk }] of chunks.entries()) {
      this.#asked.delete(`${disk}:${chunk}`);
      const content = bytes.slice(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
      this.#options.store.supply({ disk, chunk, bytes: content });
    }
  }

  #collectBlocks(): void {
    const { machine, store } = this.#options;
    for (const block of machine.takeDirtyBlocks()) store.write(block);
  }

  // ---- the trace

  #feed(segment: Uint8Array): void {
    const units = this.#reader.read(segment);
    this.#replayer.feed(units);
    this.#fed.push({ sequence: this.#reader.point.sequence, bytes: segment.length });
    if (this.#state.kind === "at-frontier") this.#state = { kind: "running" };
  }

  /** The machine is now as the checkpoint has it, but for what is absent. */
  #rebase(id: number): CheckpointBase {
    const { machine, store } = this.#options;
    return { id, epoch: machine.ram.beginEpoch(), generation: store.nextGeneration() };
  }

  #jump(request: Request<"jump">): void {
    const { machine, store, report } = this.#options;
    const { id, trace } = request;
    const applied = !this.#isBeyond(request);
    if (applied) {
      machine.leap(decodeState(request.state), changedPages(request));
      for (const batch of request.chunks) this.#supplyChunksAnew(batch);
      store.expect(machine.overlayChunks().filter(({ zero }) => !zero));
      if (this.#reader.point.sequence < trace.sequence) {
        this.#reader = new TraceReader({ codecs: this.#options.codecs, at: trace });
      }
      this.#replayer.skipTo(trace.sequence);
      this.#base = this.#rebase(id);
      this.#asked.clear();
      this.#state = { kind: "running" };
    }
    const { position, ticks } = machine;
    report({ kind: "jumped", id, applied, position, ticks });
  }

  #supplyChunksAnew({ chunks, bytes }: ChunkBatch): void {
    for (const [i, { disk, chunk }] of chunks.entries()) {
      const content = bytes.slice(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
      this.#options.store.write({ disk, chunk, bytes: content });
    }
  }

  /** Exactly at the checkpoint, records after it may have been done already. */
  #isBeyond({ position, ticks, trace }: Request<"jump">): boolean {
    const { machine } = this.#options;
    if (machine.position !== position) return machine.position > position;
    const { sequence, records } = this.#replayer.at;
    const begun = sequence > trace.sequence || (sequence === trace.sequence && records > 0);
    return machine.ticks > ticks || begun;
  }

  // ---- going live

  #goLive(request: Request<"go-live">): void {
    const { machine, store } = this.#options;
    if (this.#state.kind !== "at-frontier") {
      this.#refuse(request.id, "go live before the end of the trace");
    } else if (machine.absentPages > 0 || store.expectedCount > 0) {
      const lacks = `${machine.absentPages} pages and ${store.expectedCount} chunks`;
      this.#refuse(request.id, `go live: ${lacks} are absent`);
    } else {
      this.#state = { kind: "over" };
      if (machine.isOff && machine.canBoot) machine.switchOn();
      this.#options.goLive(request, this.#base);
    }
  }

  #end(): void {
    const { machine, report } = this.#options;
    this.#state = { kind: "over" };
    const { position, ticks, instructions, restarts } = machine;
    const reason = { kind: "stopped" } as const;
    report({ kind: "ended", reason, position, ticks, instructions, restarts, digest: undefined });
  }

  #save(request: Extract<VmRequest, { kind: "save" }>): void {
    const { machine, save } = this.#options;
    if (machine.absentPages > 0) {
      this.#refuse(request.id, `save: ${machine.absentPages} pages are absent`);
    } else if (save(request) && request.thenStop) this.#end();
  }

  #digest(id: number): void {
    const { machine, report } = this.#options;
    if (machine.absentPages > 0) {
      this.#refuse(id, `digest: ${machine.absentPages} pages are absent`);
      return;
    }
    const { position, ticks } = machine;
    report({ kind: "digest", id, digest: machine.digest(), position, ticks });
  }

  // ---- reports

  #showOutputs(): void {
    if (this.#outputs.length === 0) return;
    const { position, ticks } = this.#options.machine;
    const outputs = this.#outputs;
    this.#outputs = [];
    this.#options.report({ kind: "outputs", after: undefined, outputs, position, ticks });
  }

  #reportReplayed(now: number): void {
    const { machine, clock, cpuMs, report } = this.#options;
    this.#nextReport = now + REPORT_INTERVAL_TICKS;
    const { sequence } = this.#replayer.at;
    this.#fed = this.#fed.filter((segment) => segment.sequence > sequence);
    const { position, ticks } = machine;
    report({
      kind: "replayed",
      position,
      ticks,
      cpuMs: cpuMs(),
      waitingMs: (clock() - this.#begunAt - this.#replayTicks) / TICKS_PER_MS,
      sequence,
      fedBytes: this.#fed.reduce((sum, { bytes }) => sum + bytes, 0),
      absentPages: machine.absentPages,
    });
  }

  #refuse(id: number, action: string): void {
    const code: SourceAgentErrorCode = "E_VM_MODE";
    const error = new CodedError(code, `cannot ${action}`, {
      hint: "wait until the replay has come to its end",
    });
    this.#options.report({ kind: "refused", id, error: toReport(error) });
  }
}

function* changedPages({
  pages,
  zeroPages,
}: Request<"jump">): Generator<readonly [number, Uint8Array | undefined], void, undefined> {
  for (const batch of pages) {
    for (const [i, page] of batch.pages.entries()) {
      yield [page, batch.bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES)];
    }
  }
  for (const page of zeroPages) yield [page, undefined];
}
