/**
 * Machines with small M-mode programs, and what tests compare of them: digest, every byte of RAM,
 * outputs.
 */
import { createHash } from "node:crypto";
import { assert } from "@dejavm/base";
import {
  CHUNK_BYTES,
  Machine,
  type MachineConfig,
  PAGE_BYTES,
  type Position,
  type PositionedOutput,
  position,
  type State,
  type StopReason,
  ticks,
} from "@dejavm/machine";

/** Skip any idle time: nobody waits for an input. */
export const FOREVER = ticks((1n << 63n) - 1n);
const MEMORY_BYTES = 64 * 1024 * 1024;

/** A guest program: an image at the start of RAM, and what else its machine has. */
export interface Program {
  readonly name: string;
  readonly image: Uint8Array;
  readonly config?: Partial<Omit<MachineConfig, "boot">>;
  /** Positions that tests look at. */
  readonly length: number;
}

/** The configuration of a program's machine. */
export function configOf(program: Program): MachineConfig {
  return {
    memoryBytes: MEMORY_BYTES,
    boot: { kind: "firmware", image: program.image, commandLine: "" },
    disks: [],
    net: undefined,
    entropySeed: new Uint8Array(32).fill(7),
    wallTimeNs: 1_700_000_000_000_000_000n,
    ...program.config,
  };
}

/** A machine at power-on. */
export function boot(program: Program): Machine {
  return Machine.create(configOf(program));
}

/** The content of chunk `chunk` of the base image of disk `disk`, the same in every test. */
export function baseChunk(disk: number, chunk: number): Uint8Array {
  const bytes = new Uint8Array(CHUNK_BYTES);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + chunk * 13 + disk * 5 + (i >> 8)) & 255;
  return bytes;
}

/** What a disk's owner keeps: the chunks that the guest changed. */
export class DiskStore {
  readonly #changed = new Map<string, Uint8Array>();

  /** Takes what the machine changed, as its contract asks before anything is supplied. */
  take(machine: Machine): void {
    for (const { disk, chunk, bytes } of machine.takeDirtyBlocks()) {
      this.#changed.set(`${disk}/${chunk}`, bytes ?? new Uint8Array(CHUNK_BYTES));
    }
  }

  supply(machine: Machine, stop: Extract<StopReason, { kind: "missing-block" }>): void {
    this.take(machine);
    for (const block of stop.blocks) {
      const changed = this.#changed.get(`${block.disk}/${block.chunk}`);
      machine.supplyBlock(block, changed ?? baseChunk(block.disk, block.chunk));
    }
  }

  copy(): DiskStore {
    const copy = new DiskStore();
    for (const [key, bytes] of this.#changed) copy.#changed.set(key, bytes);
    return copy;
  }
}

/** Runs to `until`, supplying disk chunks; what ended it if it did not get there. */
export function runTo(
  machine: Machine,
  until: Position | bigint | number,
  store = new DiskStore(),
): StopReason {
  for (;;) {
    const stop = machine.run(position(BigInt(until)), FOREVER);
    if (stop.kind !== "missing-block") return stop;
    store.supply(machine, stop);
  }
}

/** A machine's complete state: what `save` gives, and every page that is not zero. */
export interface Snapshot {
  readonly state: State;
  readonly pages: ReadonlyMap<number, Uint8Array>;
}

/** Takes a snapshot; dirty disk chunks go to `store`. */
export function snapshot(machine: Machine, store?: DiskStore): Snapshot {
  store?.take(machine);
  const pages = new Map<number, Uint8Array>();
  for (let page = 0; page < machine.pageCount; page++) {
    if (!machine.isZeroPage(page)) pages.set(page, machine.readPage(page).slice());
  }
  return { state: machine.save(), pages };
}

/** Puts a snapshot into a machine of the same configuration, fresh or used. */
export function restore(machine: Machine, { state, pages }: Snapshot): Machine {
  machine.restore(state);
  for (const [page, bytes] of pages) machine.supplyPage(page, bytes);
  machine.zeroAbsentPages();
  machine.takeOutputs();
  return machine;
}

/** A fresh machine in the state of a snapshot. */
export function fresh(program: Program, from: Snapshot): Machine {
  const { boot: _, ...config } = configOf(program);
  return restore(Machine.restore(config, from.state), from);
}

/** sha256 over all of RAM. */
export function ramHash(machine: Machine): string {
  const hash = createHash("sha256");
  for (let page = 0; page < machine.pageCount; page++) {
    if (machine.isZeroPage(page)) continue;
    hash.update(`${page}:`);
    hash.update(machine.readPage(page));
  }
  return hash.digest("hex");
}

/** Outputs as text by port: how they were cut into pieces is not part of them. */
export function outputText(outputs: readonly PositionedOutput[]): string {
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

export function fingerprint(machine: Machine): Fingerprint {
  return { position: machine.position, digest: machine.digest(), ram: ramHash(machine) };
}

/** The RAM page of a guest physical address. */
export function pageAt(address: number): number {
  assert(address >= 0x8000_0000, "the address lies in RAM");
  return Math.floor((address - 0x8000_0000) / PAGE_BYTES);
}
