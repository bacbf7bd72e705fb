/**
 * Machines with small M-mode programs, and what tests compare of them: digest, every byte of RAM,
 * outputs.
 */
import { createHash } from "node:crypto";
import { assert } from "@dejavm/base";
import {
  bareMachine,
  CHUNK_BYTES,
  EAGER_JIT,
  type InputEvent,
  type InputResult,
  Machine,
  type MachineConfig,
  type MachineOptions,
  NO_JIT,
  type PositionedOutput,
  position,
  type State,
  type StopReason,
  ticks,
} from "@dejavm/machine";

/** Skip any idle time: nobody waits for an input. */
const FOREVER = ticks((1n << 63n) - 1n);

/** An input, and the position at which it is given. */
export interface ScriptedInput {
  readonly at: number;
  readonly event: InputEvent;
}

/** A guest program: an image at the start of RAM, and what else its machine has. */
export interface Program {
  readonly name: string;
  readonly image: Uint8Array;
  readonly config?: Partial<Omit<MachineConfig, "boot">>;
  /** Ascending by position. */
  readonly inputs?: readonly ScriptedInput[];
  /** Positions that tests look at. */
  readonly length: number;
}

/** The configuration of a program's machine. */
function configOf(program: Program): MachineConfig {
  return bareMachine(program.image, {
    entropySeed: new Uint8Array(32).fill(7),
    wallTimeNs: 1_700_000_000_000_000_000n,
    ...program.config,
  });
}

/** The content of chunk `chunk` of the base image of disk `disk`, the same in every test. */
function baseChunk(disk: number, chunk: number): Uint8Array {
  const bytes = new Uint8Array(CHUNK_BYTES);
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = (i * 7 + chunk * 13 + disk * 5 + (i >> 8)) & 255;
  return bytes;
}

/** A machine's complete state: what `save` gives, every page that is not zero, its disks. */
export interface Snapshot {
  readonly state: State;
  readonly pages: ReadonlyMap<number, Uint8Array>;
  readonly chunks: ReadonlyMap<string, Uint8Array>;
}

type Shortage = Extract<InputResult, { kind: "missing-page" | "missing-block" }>;

/**
 * `full`, but `some` in the gate, which has to be fast. vitest's projects `interpreter` and `jit`
 * run these tests in full.
 */
export function inGate<T>(some: T, full: T): T {
  return process.env.DEJAVM_TEST_ENGINE === undefined ? some : full;
}

/** How these tests execute: vitest's projects repeat them in full, each in a way of its own. */
const WAYS: Readonly<Record<string, MachineOptions>> = {
  interpreter: { jit: NO_JIT, dispatch: "branches" },
  jit: { jit: EAGER_JIT },
};
const ENGINE: MachineOptions = WAYS[process.env.DEJAVM_TEST_ENGINE ?? ""] ?? { jit: NO_JIT };

/** A machine with a program, what comes to it from outside, and the owner of its disks. */
export class Guest {
  readonly program: Program;
  readonly machine: Machine;
  /** RAM pages that were taken away, with their content. */
  readonly removed = new Map<number, Uint8Array>();
  /** What left the machine and was handed here instead of waiting in the machine. */
  readonly outputs: PositionedOutput[] = [];
  /** Called at each stop for something missing, before it is supplied. */
  onMissing: (() => void) | undefined;
  /** Called after each input. */
  onInput: (() => void) | undefined;
  /** Called at each breakpoint; then the machine runs on. */
  onBreakpoint: ((pc: bigint) => void) | undefined;
  /** Called behind each frame that leaves; then the machine runs on. */
  onFrame: (() => void) | undefined;
  #chunks = new Map<string, Uint8Array>();

  constructor(program: Program, machine: Machine = Machine.create(configOf(program), ENGINE)) {
    this.program = program;
    this.machine = machine;
  }

  /** A machine as it is switched on, on an engine that the test chooses. */
  static on(engine: MachineOptions, program: Program): Guest {
    return new Guest(program, Machine.create(configOf(program), engine));
  }

  /** A fresh machine in the state of a snapshot. */
  static restored(program: Program, from: Snapshot): Guest {
    const { boot: _, ...config } = configOf(program);
    return new Guest(program, Machine.restore(config, from.state, ENGINE)).restore(from);
  }

  get position(): number {
    return Number(this.machine.position);
  }

  /** Runs to `until`, giving the inputs on the way, but not those at `until`. */
  runTo(until: number): StopReason {
    const { inputs = [] } = this.program;
    const from = this.position;
    for (const { at, event } of inputs) {
      if (at < from || at >= until) continue;
      const stop = this.#run(at);
      if (stop.kind !== "budget") return stop;
      this.#input(event);
    }
    return this.#run(until);
  }

  /** Takes a page away. */
  remove(page: number): void {
    this.removed.set(page, this.machine.ram.remove(page));
  }

  snapshot(): Snapshot {
    this.#takeChunks();
    const { machine } = this;
    const pages = new Map<number, Uint8Array>();
    for (let page = 0; page < machine.pageCount; page++) {
      if (!machine.isZeroPage(page)) pages.set(page, machine.readPage(page).slice());
    }
    return { state: machine.save(), pages, chunks: new Map(this.#chunks) };
  }

  /** Puts a snapshot of the same program into this machine; its outputs so far are forgotten. */
  restore({ state, pages, chunks }: Snapshot): this {
    const { machine } = this;
    machine.restore(state);
    for (const [page, bytes] of pages) machine.supplyPage(page, bytes);
    machine.zeroAbsentPages();
    machine.takeOutputs();
    this.#chunks = new Map(chunks);
    return this;
  }

  /** Everything that must be equal for two machines to be equal. */
  fingerprint(): Fingerprint {
    const { machine } = this;
    return { position: machine.position, digest: machine.digest(), ram: ramHash(machine) };
  }

  /** What left since the last call, as text. */
  takeOutputs(): string {
    return outputText([...this.outputs.splice(0), ...this.machine.takeOutputs()]);
  }

  #run(until: number): StopReason {
    for (;;) {
      const pauses = this.onFrame !== undefined;
      const stop = this.machine.run(position(BigInt(until)), FOREVER, pauses);
      if (stop.kind === "budget" && this.position < until) this.onFrame?.();
      else if (stop.kind === "breakpoint") this.onBreakpoint?.(stop.pc);
      else if (stop.kind === "missing-page" || stop.kind === "missing-block") this.supply(stop);
      else return stop;
    }
  }

  #input(event: InputEvent): void {
    for (;;) {
      const result = this.machine.input(event);
      if (result.kind === "accepted") return this.onInput?.();
      this.supply(result);
    }
  }

  /** Gives back every page that was taken away. */
  putBack(): void {
    this.supply({ kind: "missing-page", pages: [...this.removed.keys()] });
  }

  /** Gives the machine what it lacks. */
  supply(stop: Shortage): void {
    this.onMissing?.();
    if (stop.kind === "missing-page") {
      for (const page of stop.pages) {
        const bytes = this.removed.get(page);
        assert(bytes !== undefined, "only what was removed is missing");
        this.removed.delete(page);
        this.machine.supplyPage(page, bytes);
      }
      return;
    }
    this.#takeChunks();
    for (const block of stop.blocks) {
      const changed = this.#chunks.get(`${block.disk}/${block.chunk}`);
      this.machine.supplyBlock(block, changed ?? baseChunk(block.disk, block.chunk));
    }
  }

  /** The contract of disks: changed chunks are taken before anything is supplied. */
  #takeChunks(): void {
    for (const { disk, chunk, bytes } of this.machine.takeDirtyBlocks()) {
      this.#chunks.set(`${disk}/${chunk}`, bytes ?? new Uint8Array(CHUNK_BYTES));
    }
  }
}

/** What an instruction changes besides memory; inputs and time may have come before it. */
export function registers(machine: Machine): object {
  const { timeTicks, timeFraction, timePosition, timeRate, waiting, mipLines, ...rest } =
    machine.save().hart as State;
  return rest;
}

/** sha256 over all of RAM. */
function ramHash(machine: Machine): string {
  const hash = createHash("sha256");
  for (let page = 0; page < machine.pageCount; page++) {
    if (machine.isZeroPage(page)) continue;
    hash.update(`${page}:`);
    hash.update(machine.readPage(page));
  }
  return hash.digest("hex");
}

/** Outputs as text by port: how they were cut into pieces is not part of them. */
function outputText(outputs: readonly PositionedOutput[]): string {
  let text = "";
  let last = "";
  for (const { output } of outputs) {
    const port = output.kind === "console" ? output.port : "frame";
    // A frame is a unit of its own; console bytes run on.
    if (port !== last || port === "frame") text += `[${port}]`;
    last = port;
    text += Buffer.from(output.bytes).toString("hex");
  }
  return text;
}

/** Everything that must be equal for two machines to be equal. */
export interface Fingerprint {
  readonly position: bigint;
  readonly digest: string;
  readonly ram: string;
}
