/**
 * A fixed row of things done to a store, and what must be there after the first n of them: for
 * tests in which the process or the power fails somewhere in between.
 */
import { Prng } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES, position, ticks } from "@dejavm/machine";
import {
  type CheckpointId,
  finish,
  type LineageId,
  type LineageWriter,
  type LogStore,
} from "../log-store.ts";
import { pageBytes, TestTrace } from "./test-trace.ts";

/** The lineage that the workload writes to. */
const WORKLOAD_LINEAGE = "workload-lineage" as LineageId;
/** How many steps there are. */
export const WORKLOAD_STEPS = 60;
const MEMORY_PAGES = 512;
/** Small enough for retention to have something to do. */
const MAX_BYTES = 900_000;

/** What a store must hold after some steps. */
interface WorkloadState {
  readonly units: number;
  readonly epoch: number;
  readonly reports: number;
  /** Seed of the pages of the newest checkpoint, in which it differs from those before. */
  readonly checkpointStep: number | undefined;
}

type StepKind = "append" | "checkpoint" | "ownership" | "report" | "compact" | "retain" | "gc";

function kindOf(step: number): StepKind {
  if (step % 10 === 4) return "checkpoint";
  if (step % 10 === 6) return "ownership";
  if (step % 10 === 7) return "report";
  if (step % 20 === 18) return "gc";
  if (step % 10 === 8) return "retain";
  return step % 10 === 9 ? "compact" : "append";
}

/** Units that an append of this step has. */
const UNITS_PER_APPEND = 9;

/** What is there after the first `steps` steps. */
function expectedState(steps: number): WorkloadState {
  let state: WorkloadState = { units: 0, epoch: 0, reports: 0, checkpointStep: undefined };
  for (let step = 0; step < steps; step++) {
    const kind = kindOf(step);
    if (kind === "append") state = { ...state, units: state.units + UNITS_PER_APPEND };
    if (kind === "ownership") state = { ...state, epoch: step };
    if (kind === "report") state = { ...state, reports: state.reports + 1 };
    if (kind === "checkpoint") state = { ...state, checkpointStep: step };
  }
  return state;
}

/** Pages that the checkpoint of a step changes, all with the step as their seed. */
function changedPages(step: number): Uint32Array {
  // Mostly the same ones, so that a checkpoint that goes leaves something to free.
  return Uint32Array.from({ length: 40 }, (_, i) => (i * 7 + (i < 35 ? 0 : step)) % MEMORY_PAGES);
}

/** A page of the newest checkpoint after the step. */
function expectedPage(page: number, checkpointStep: number): Uint8Array {
  for (let step = checkpointStep; step >= 0; step--) {
    const at = kindOf(step) === "checkpoint" ? changedPages(step).indexOf(page) : -1;
    if (at !== -1) return pageBytes(40, step + 1).slice(at * PAGE_BYTES, (at + 1) * PAGE_BYTES);
  }
  return new Uint8Array(PAGE_BYTES);
}

/** Does the steps, whatever was done before; `done` is called after each. */
export class Workload {
  readonly #store: LogStore;
  readonly #writer: LineageWriter;
  readonly #trace = new TestTrace();

  constructor(store: LogStore) {
    this.#store = store;
    if (store.findLineage(WORKLOAD_LINEAGE) === undefined) {
      const nothing = { config: new Uint8Array(300), fingerprint: new Uint8Array(9) };
      store.createLineage({ id: WORKLOAD_LINEAGE, name: "workload", ...nothing });
    }
    this.#writer = store.openLineage(WORKLOAD_LINEAGE);
  }

  run(from: number, to: number, done: (steps: number) => void = () => undefined): void {
    for (let step = from; step < to; step++) {
      this.#step(step);
      done(step + 1);
    }
  }

  release(): void {
    this.#writer.release();
  }

  #step(step: number): void {
    const writer = this.#writer;
    switch (kindOf(step)) {
      case "append": {
        const first = expectedState(step).units;
        const next = writer.traceEnd?.sequence ?? 0;
        const segments = Array.from({ length: UNITS_PER_APPEND }, (_, i) =>
          this.#trace.segment(first + i),
        );
        // A step that was done but not heard of is not done again.
        if (next === first) writer.append(segments);
        break;
      }
      case "checkpoint":
        this.#checkpoint(step);
        break;
      case "ownership":
        writer.recordOwnership({ epoch: step, state: "live", peer: `peer ${step}`, detail: "{}" });
        break;
      case "report":
        if (this.#store.reports(WORKLOAD_LINEAGE).length > expectedState(step).reports) break;
        writer.addReport({ kind: "migration", json: JSON.stringify({ step }) });
        break;
      case "compact":
        writer.compact();
        break;
      case "retain":
        writer.retain({ maxBytes: MAX_BYTES });
        break;
      case "gc":
        finish(this.#store.gc());
        break;
    }
  }

  #checkpoint(step: number): void {
    const parent = this.#store.checkpoints(WORKLOAD_LINEAGE).at(-1)?.id;
    const { units } = expectedState(step);
    const open = this.#writer.beginCheckpoint({
      position: position(BigInt(units) * 1000n),
      ticks: ticks(BigInt(units)),
      trace: this.#trace.pointAt(units),
      memoryPages: MEMORY_PAGES,
      state: new Prng(step).fill(new Uint8Array(5000)),
      ...(parent === undefined ? {} : { parent }),
    });
    const pages = changedPages(step);
    const bytes = pageBytes(40, step + 1);
    open.putPages(pages.subarray(0, 20), bytes.subarray(0, 20 * PAGE_BYTES));
    open.putPages(pages.subarray(20), bytes.subarray(20 * PAGE_BYTES));
    const chunk = new Prng(step).fill(new Uint8Array(CHUNK_BYTES));
    open.putChunks([{ disk: 0, chunk: step % 2, bytes: chunk }]);
    open.commit();
  }
}

/**
 * Why the store is not as after `least` to `most` steps; undefined: it is. The trace may be further
 * than the rest: after a loss of power its tail can have more than the database, and of an append
 * that was under way the first segments.
 */
export function workloadProblem(store: LogStore, least: number, most: number): string | undefined {
  const { problems } = finish(store.verify());
  if (problems.length > 0) return `verify: ${problems.map(({ message }) => message).join("; ")}`;
  const lineage = store.findLineage(WORKLOAD_LINEAGE);
  if (lineage === undefined) return least === 0 ? undefined : "the lineage is gone";
  const units = store.traceEnd(lineage.id)?.sequence ?? 0;
  const newest = store.checkpoints(lineage.id).at(-1);
  const found = {
    units,
    epoch: lineage.ownership?.epoch ?? 0,
    reports: store.reports(lineage.id).length,
  };
  const problemsOf = [];
  for (let steps = least; steps <= most; steps++) {
    const want = expectedState(steps);
    const same =
      found.units >= want.units &&
      found.units <= expectedState(most).units &&
      found.epoch === want.epoch &&
      found.reports === want.reports;
    const problem = same ? checkpointProblem(store, newest?.id, want) : "another state";
    if (problem === undefined) return undefined;
    problemsOf.push(`after ${steps}: ${problem}, ${JSON.stringify(want)}`);
  }
  return `found ${JSON.stringify(found)}, but ${problemsOf.join("; ")}`;
}

function checkpointProblem(
  store: LogStore,
  newest: CheckpointId | undefined,
  { checkpointStep }: WorkloadState,
): string | undefined {
  if (checkpointStep === undefined) return newest === undefined ? undefined : "a checkpoint";
  if (newest === undefined) return "no checkpoint";
  const reader = store.openCheckpoint(newest);
  const wantState = new Prng(checkpointStep).fill(new Uint8Array(5000));
  if (Buffer.compare(reader.state, wantState) !== 0) return "another checkpoint";
  for (let page = 0; page < MEMORY_PAGES; page += 7) {
    const bytes = reader.readPages(Uint32Array.of(page));
    if (Buffer.compare(bytes, expectedPage(page, checkpointStep)) !== 0) return `page ${page}`;
  }
  return undefined;
}
