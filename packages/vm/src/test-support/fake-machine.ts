/** A machine of a few lines for tests of what runs machines: a counter with a console. */
import {
  type ConsolePort,
  type DirtyBlock,
  type InputEvent,
  type InputResult,
  type MissingBlock,
  type Output,
  PAGE_BYTES,
  type Position,
  position,
  type State,
  type StopReason,
  type Ticks,
  ticks,
} from "@dejavm/machine";
import type { BlockStore, RunnableMachine } from "../runnable-machine.ts";

/** Set `script` to what the next calls of `run` answer; then it answers `budget`. */
export class FakeMachine implements RunnableMachine {
  position: Position = position(0n);
  ticks: Ticks = ticks(10n);
  readonly instructions = 0n;
  readonly script: StopReason[] = [];
  readonly inputs: { event: InputEvent; at: Ticks | undefined }[] = [];
  readonly inputAnswers: InputResult[] = [];
  readonly supplied: MissingBlock[] = [];
  readonly runs: { until: bigint; skipIdleUntil: bigint }[] = [];
  outputs: Output[] = [];
  dirty: DirtyBlock[] = [];
  room = 1000;
  readonly ram: Uint8Array;

  constructor(pageCount = 4) {
    this.ram = new Uint8Array(pageCount * PAGE_BYTES);
  }

  run(until: Position, skipIdleUntil: Ticks): StopReason {
    this.runs.push({ until, skipIdleUntil });
    const answer = this.script.shift() ?? { kind: "budget" };
    if (answer.kind === "budget") this.position = until;
    return answer;
  }

  input(event: InputEvent, at?: Ticks): InputResult {
    const answer = this.inputAnswers.shift() ?? { kind: "accepted" };
    if (answer.kind === "accepted") this.inputs.push({ event, at });
    return answer;
  }

  takeOutputs(): { position: Position; output: Output }[] {
    const taken = this.outputs.map((output) => ({ position: this.position, output }));
    this.outputs = [];
    return taken;
  }

  consoleRoom(_port: ConsolePort): number {
    return this.room;
  }

  get pageCount(): number {
    return this.ram.length / PAGE_BYTES;
  }

  readPage(page: number): Uint8Array {
    return this.ram.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }

  isZeroPage(page: number): boolean {
    return this.readPage(page).every((byte) => byte === 0);
  }

  supplyBlock(block: MissingBlock, _bytes: Uint8Array): void {
    this.supplied.push(block);
  }

  takeDirtyBlocks(): readonly DirtyBlock[] {
    const taken = this.dirty;
    this.dirty = [];
    return taken;
  }

  save(): State {
    return { position: this.position };
  }

  digest(): string {
    return "d".repeat(32);
  }
}

/** Remembers what was asked and written; every chunk is zero. */
export class FakeStore implements BlockStore {
  readonly written: DirtyBlock[] = [];

  read(_block: MissingBlock): Uint8Array {
    return new Uint8Array(65_536);
  }

  write(block: DirtyBlock): void {
    this.written.push(block);
  }

  overlay(): never[] {
    return [];
  }
}
