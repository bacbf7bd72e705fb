/**
 * Does again what a trace says. Sans-IO: `feed` takes what was read, `advance` does a bounded part
 * of it and says what is needed or what was found. The machine comes in the state of the
 * checkpoint that the first unit follows; it never passes the last record that was fed.
 */
import { unreachable } from "@dejavm/base";
import {
  type InputEvent,
  type InputResult,
  type MissingBlock,
  type Place,
  type Position,
  type PositionedOutput,
  position,
  type StopReason,
  type Ticks,
  ticks,
} from "@dejavm/machine";
import type { Divergence, DivergenceReason } from "./divergence.ts";
import type { TraceUnit } from "./reader.ts";
import type { TraceEnd, TraceRecord } from "./record.ts";

/** What a replay needs of a machine; `Machine` of @dejavm/machine has it. */
export interface ReplayableMachine {
  readonly position: Position;
  readonly ticks: Ticks;
  readonly place: Place;
  /** Digests are compared only while there is none. */
  readonly absentPages: number;
  run(until: Position, skipIdleUntil: Ticks): StopReason;
  passIdle(until: Ticks): void;
  input(event: InputEvent, at?: Ticks): InputResult;
  takeOutputs(): readonly PositionedOutput[];
  digest(): string;
}

/** What one `advance` came to. */
export type ReplayStep =
  /** As many positions as it was allowed; there is more. */
  | { readonly kind: "ran" }
  /** Supply these, then advance again. */
  | { readonly kind: "missing-page"; readonly pages: readonly number[] }
  | { readonly kind: "missing-block"; readonly blocks: readonly MissingBlock[] }
  /** Everything fed is done. */
  | { readonly kind: "at-frontier" }
  | { readonly kind: "digest-matched"; readonly place: Place; readonly digest: string }
  | { readonly kind: "ended"; readonly end: TraceEnd }
  /** A breakpoint or watchpoint of the machine's owner. */
  | {
      readonly kind: "interrupted";
      readonly stop: Extract<StopReason, { kind: "breakpoint" | "watchpoint" }>;
    }
  /** The machine is not to be used for anything but looking at it. */
  | { readonly kind: "diverged"; readonly divergence: Divergence };

/** Skip any idle time: nobody waits. */
const FOR_EVER = ticks((1n << 64n) - 1n);
interface Limits {
  readonly end: bigint;
  readonly latest: Ticks;
}

/** Records that a divergence report shows on either side. */
const RECORDS_AROUND = 8;

/** See the head of this file. */
export class Replayer {
  readonly #machine: ReplayableMachine;
  readonly #output: ((output: PositionedOutput) => void) | undefined;
  readonly #record: ((record: TraceRecord) => void) | undefined;
  /** Units that are not done, and how many records of the first one are. */
  #units: TraceUnit[] = [];
  #done = 0;
  /** What is fed next. */
  #nextSequence = 0;
  readonly #recent: TraceRecord[] = [];
  #matched: Place | undefined;
  #divergence: Divergence | undefined;

  /** Outputs go to `output`, records that are done to `record`; without it they are dropped. */
  constructor(options: {
    readonly machine: ReplayableMachine;
    readonly output?: (output: PositionedOutput) => void;
    readonly record?: (record: TraceRecord) => void;
  }) {
    this.#machine = options.machine;
    this.#output = options.output;
    this.#record = options.record;
  }

  /** The last place at which a digest was equal. */
  get matched(): Place | undefined {
    return this.#matched;
  }

  /** The unit that comes next or is being done, and how many of its records are done. */
  get at(): { readonly sequence: number; readonly records: number } {
    const unit = this.#units[0];
    if (unit === undefined) return { sequence: this.#nextSequence, records: 0 };
    if (this.#done < unit.records.length) return { sequence: unit.sequence, records: this.#done };
    return { sequence: unit.sequence + 1, records: 0 };
  }

  /** How far what was fed goes; undefined: everything is done. */
  get target(): Place | undefined {
    return this.#units.at(-1)?.records.at(-1);
  }

  /** More of the trace, following what was fed before. */
  feed(units: readonly TraceUnit[]): void {
    this.#units.push(...units);
    this.#nextSequence = (units.at(-1)?.sequence ?? this.#nextSequence - 1) + 1;
  }

  /** The machine was put into the state before unit `sequence`: earlier records are not needed. */
  skipTo(sequence: number): void {
    const before = this.#units.length;
    this.#units = this.#units.filter((unit) => unit.sequence >= sequence);
    if (this.#units.length < before) this.#done = 0;
  }

  /**
   * Goes on, over at most `maxPositions` positions; inputs and digests count nothing. A guest that
   * waits beyond virtual time `latest` waits until then, and that is `ran`.
   */
  advance(maxPositions: bigint, latest: Ticks = FOR_EVER): ReplayStep {
    if (this.#divergence !== undefined) return { kind: "diverged", divergence: this.#divergence };
    const limits = { end: this.#machine.position + maxPositions, latest };
    for (;;) {
      const record = this.#next();
      if (record === undefined) return { kind: "at-frontier" };
      const step = this.#approach(record, limits) ?? this.#apply(record);
      if (step !== undefined) return step;
    }
  }

  #next(): TraceRecord | undefined {
    for (let unit = this.#units[0]; unit !== undefined; unit = this.#units[0]) {
      const record = unit.records[this.#done];
      if (record !== undefined) return record;
      this.#units.shift();
      this.#done = 0;
    }
    return undefined;
  }

  /** Brings the machine to the record's place; undefined: it is there. */
  #approach(record: TraceRecord, { end, latest }: Limits): ReplayStep | undefined {
    const machine = this.#machine;
    while (machine.position < record.position) {
      if (machine.position >= end) return { kind: "ran" };
      const until = record.position < end ? record.position : position(end);
      const stop = machine.run(until, latest);
      this.#handOut();
      if (stop.kind === "idle" && latest < FOR_EVER && machine.position < record.position) {
        machine.passIdle(latest);
        return { kind: "ran" };
      }
      const step = this.#stopped(stop, record);
      if (step !== undefined) return step;
    }
    if (machine.position > record.position) {
      return this.#diverged({ kind: "beyond", expected: record.position });
    }
    if (record.idleTicks === undefined) return undefined;
    machine.passIdle(record.idleTicks < latest ? record.idleTicks : latest);
    if (machine.ticks === latest && latest < record.idleTicks) return { kind: "ran" };
    if (machine.ticks === record.idleTicks) return undefined;
    const { ticks: actual } = machine;
    return this.#diverged({ kind: "time", expected: record.idleTicks, actual });
  }

  #stopped(stop: StopReason, record: TraceRecord): ReplayStep | undefined {
    switch (stop.kind) {
      case "budget":
        return undefined;
      case "missing-page":
      case "missing-block":
        return stop;
      case "breakpoint":
      case "watchpoint":
        return { kind: "interrupted", stop };
      case "power-off":
      case "reset":
      case "idle":
        if (this.#machine.position === record.position) return undefined;
        return this.#diverged({ kind: "stopped", expected: record.position, stop });
      default:
        return unreachable(stop);
    }
  }

  /** Does what the record says; undefined: done, and there is nothing to tell. */
  #apply(record: TraceRecord): ReplayStep | undefined {
    switch (record.kind) {
      case "input": {
        const result = this.#machine.input(record.event);
        if (result.kind !== "accepted") return result;
        this.#handOut();
        this.#finish(record);
        return undefined;
      }
      case "frontier":
        this.#finish(record);
        return undefined;
      case "digest": {
        if (this.#machine.absentPages > 0) {
          this.#finish(record);
          return undefined;
        }
        const actual = this.#machine.digest();
        const expected = record.digest;
        if (actual !== expected) return this.#diverged({ kind: "digest", expected, actual });
        this.#finish(record);
        const { place } = this.#machine;
        this.#matched = place;
        return { kind: "digest-matched", place, digest: actual };
      }
      case "end":
        return this.#end(record, record.end);
      default:
        return unreachable(record);
    }
  }

  #end(record: TraceRecord, end: TraceEnd): ReplayStep {
    if (end.kind === "power-off" || end.kind === "reset") {
      const stop = this.#machine.run(this.#machine.position, this.#machine.ticks);
      const same = stop.kind === end.kind && (end.kind === "reset" || sameStatus(stop, end));
      if (!same) return this.#diverged({ kind: "not-stopped", expected: end.kind });
    }
    this.#finish(record);
    return { kind: "ended", end };
  }

  #finish(record: TraceRecord): void {
    this.#record?.(record);
    this.#done++;
    this.#recent.push(record);
    if (this.#recent.length > RECORDS_AROUND) this.#recent.shift();
  }

  #handOut(): void {
    for (const output of this.#machine.takeOutputs()) this.#output?.(output);
  }

  #diverged(reason: DivergenceReason): ReplayStep {
    const after = this.#units.slice(0, RECORDS_AROUND).flatMap(({ records }, i) => {
      return records.slice(i === 0 ? this.#done : 0);
    });
    const divergence: Divergence = {
      reason,
      place: this.#machine.place,
      matched: this.#matched,
      before: [...this.#recent],
      after: after.slice(0, RECORDS_AROUND),
    };
    this.#divergence = divergence;
    return { kind: "diverged", divergence };
  }
}

function sameStatus(stop: StopReason, end: Extract<TraceEnd, { kind: "power-off" }>): boolean {
  return stop.kind === "power-off" && stop.status === end.status;
}
