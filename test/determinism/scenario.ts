/**
 * A booting Debian with scripted console input, run in one of several ways: a list of digests at
 * given positions. Loads in Node and in a browser's worker alike.
 */
import { Prng } from "@dejavm/base";
import {
  CHUNK_BYTES,
  DEFAULT_POLICY,
  EAGER_JIT,
  Machine,
  type MachineConfig,
  type MachineOptions,
  NO_JIT,
  position,
  ticks,
} from "@dejavm/machine";

const FOR_EVER = ticks((1n << 62n) - 1n);
/** Where digests are compared; the shell's prompt is there after about 400 million. */
export const MARKS = [50n, 150n, 300n, 450n, 600n].map((millions) => millions * 1_000_000n);
const TYPED: readonly (readonly [bigint, string])[] = [
  [500_000_000n, "md5sum /usr/bin/redis-server > /root/sum; sync\n"],
  [550_000_000n, "python3 -c 'print(sum(range(100000)))' > /root/n\n"],
];
const SEED = 0x5eed;

const ENGINES = {
  default: { jit: DEFAULT_POLICY },
  interpreter: { jit: NO_JIT },
  "random times": {
    jit: {
      ...DEFAULT_POLICY,
      threshold: 2,
      supervisorThreshold: 2,
      warm: 1,
      batch: 4,
      seed: SEED,
    },
    dispatch: "branches",
  },
  early: { jit: { ...EAGER_JIT, heatUnit: 16, batch: 32 } },
} as const satisfies Record<string, MachineOptions>;

/** How a run differs from the plain one. */
export interface Way {
  readonly engine: keyof typeof ENGINES;
  /** How many of MARKS it goes to; all if not given. */
  readonly marks?: number;
  /** At random places, about so many positions apart, ... */
  readonly meanSlice?: number;
  /** ... this is done. */
  readonly disturb?: "nothing" | "save and restore" | "drop caches";
}

/** The guest: what the machine starts from, and its disk by chunks of CHUNK_BYTES. */
export interface GuestFiles {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly commandLine: string;
  readonly diskBytes: number;
  readonly readChunk: (chunk: number) => Uint8Array;
}

/** The digests at MARKS, as far as the way goes. */
export function runScenario(files: GuestFiles, way: Way): string[] {
  return new Run(files, way).toEnd();
}

/** One run: the machine and the chunks of its disk that it changed. */
class Run {
  #machine: Machine;
  readonly #files: GuestFiles;
  readonly #way: Way;
  readonly #config: MachineConfig;
  readonly #prng = new Prng(SEED);
  readonly #changed = new Map<number, Uint8Array | undefined>();

  constructor(files: GuestFiles, way: Way) {
    this.#files = files;
    this.#way = way;
    this.#config = {
      memoryBytes: 128 * 1024 * 1024,
      boot: { kind: "linux", ...files },
      disks: [{ sizeBytes: files.diskBytes, readOnly: false, serial: "root" }],
      net: undefined,
      entropySeed: new Uint8Array(32).fill(7),
      wallTimeNs: 1_700_000_000_000_000_000n,
    };
    this.#machine = Machine.create(this.#config, ENGINES[way.engine]);
  }

  toEnd(): string[] {
    const digests: string[] = [];
    const typed = [...TYPED];
    const marks = MARKS.slice(0, this.#way.marks);
    for (let mark = marks.shift(); mark !== undefined; ) {
      const input = typed[0]?.[0] ?? mark;
      const stops = [this.#nextStop(), mark, input];
      this.#runTo(stops.reduce((a, b) => (a < b ? a : b)));
      this.#disturb();
      if (this.#machine.position === input && typed[0] !== undefined) {
        const bytes = new TextEncoder().encode(typed.shift()?.[1]);
        this.#machine.input({ kind: "console", port: "uart", bytes });
      }
      if (this.#machine.position === mark) {
        digests.push(this.#machine.digest());
        mark = marks.shift();
      }
    }
    return digests;
  }

  #nextStop(): bigint {
    const { meanSlice } = this.#way;
    const slice = meanSlice === undefined ? 2 ** 40 : 1 + this.#prng.below(2 * meanSlice);
    return this.#machine.position + BigInt(slice);
  }

  #disturb(): void {
    const { disturb = "nothing" } = this.#way;
    if (disturb === "drop caches") this.#machine.dropCaches();
    if (disturb !== "save and restore") return;
    if (this.#prng.oneIn(2)) this.#restoreIntoItself();
    else this.#moveToFresh();
  }

  /** Goes on in the same object, which is a used one, from what was saved. */
  #restoreIntoItself(): void {
    this.#takeDirty();
    const machine = this.#machine;
    const state = machine.save();
    const pages = new Map<number, Uint8Array>();
    for (let page = 0; page < machine.pageCount; page++) {
      if (!machine.isZeroPage(page)) pages.set(page, machine.readPage(page).slice());
    }
    machine.restore(state);
    for (const [page, bytes] of pages) machine.supplyPage(page, bytes);
    machine.zeroAbsentPages();
  }

  /** Goes on in a machine made for it. */
  #moveToFresh(): void {
    this.#takeDirty();
    const before = this.#machine;
    const { boot: _, ...rest } = this.#config;
    this.#machine = Machine.restore(rest, before.save(), ENGINES[this.#way.engine]);
    for (let page = 0; page < before.pageCount; page++) {
      if (!before.isZeroPage(page)) this.#machine.supplyPage(page, before.readPage(page));
    }
    this.#machine.zeroAbsentPages();
  }

  #runTo(until: bigint): void {
    for (;;) {
      const stop = this.#machine.run(position(until), FOR_EVER);
      if (stop.kind === "missing-block") {
        this.#takeDirty();
        for (const block of stop.blocks) this.#machine.supplyBlock(block, this.#chunk(block.chunk));
      } else if (stop.kind === "budget") return;
      else throw new Error(`stopped at ${this.#machine.position}: ${stop.kind}`);
    }
  }

  #takeDirty(): void {
    for (const { chunk, bytes } of this.#machine.takeDirtyBlocks()) this.#changed.set(chunk, bytes);
  }

  #chunk(chunk: number): Uint8Array {
    if (!this.#changed.has(chunk)) return this.#files.readChunk(chunk);
    return this.#changed.get(chunk) ?? new Uint8Array(CHUNK_BYTES);
  }
}
