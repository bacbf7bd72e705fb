/** A booting Debian with scripted input comes to the same states, however it is run. */
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { CodedError, Prng } from "@dejavm/base";
import { buildImage, imageSpec, type ResolvedImage } from "@dejavm/image";
import {
  DEFAULT_POLICY,
  EAGER_JIT,
  type JitPolicy,
  Machine,
  type MachineConfig,
  NO_JIT,
  position,
  ticks,
} from "@dejavm/machine";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

const CHUNK_BYTES = 65_536;
const FOR_EVER = ticks((1n << 62n) - 1n);
/** Where digests are compared; the shell's prompt is there after about 400 million. */
const MARKS = [50n, 150n, 300n, 450n, 600n].map((millions) => millions * 1_000_000n);
const TYPED: readonly (readonly [bigint, string])[] = [
  [500_000_000n, "md5sum /usr/bin/redis-server > /root/sum; sync\n"],
  [550_000_000n, "python3 -c 'print(sum(range(100000)))' > /root/n\n"],
];

let image: ResolvedImage | string = "not built";
let disk = -1;
let config: MachineConfig | undefined;

beforeAll(async () => {
  image = await buildImage(imageSpec()).then(
    (built) => built.image,
    (error: unknown) => {
      const outside = ["E_NO_NETWORK", "E_MIRROR_CHANGING", "E_TOOL_MISSING"];
      if (!(error instanceof CodedError && outside.includes(String(error.code)))) throw error;
      return error.message;
    },
  );
  if (typeof image === "string") return;
  disk = openSync(image.disk, "r");
  config = {
    memoryBytes: 128 * 1024 * 1024,
    boot: {
      kind: "linux",
      kernel: readFileSync(image.kernel),
      initrd: readFileSync(image.initrd),
      commandLine: `${image.manifest.commandLine} console=ttyS0 quiet`,
    },
    disks: [{ sizeBytes: statSync(image.disk).size, readOnly: false, serial: "root" }],
    net: undefined,
    entropySeed: new Uint8Array(32).fill(7),
    wallTimeNs: 1_700_000_000_000_000_000n,
  };
});
beforeEach((context) => {
  if (typeof image === "string") context.skip(`no Debian image: ${image}`);
});
afterAll(() => {
  if (disk >= 0) closeSync(disk);
});

/** One run: the machine and the chunks of its disk that it changed. */
class Run {
  machine: Machine;
  readonly digests: string[] = [];
  readonly #config: MachineConfig;
  readonly #changed = new Map<number, Uint8Array | undefined>();
  readonly #jit: JitPolicy;

  constructor(jit: JitPolicy) {
    if (config === undefined) throw new Error("there is an image");
    this.#config = config;
    this.#jit = jit;
    this.machine = Machine.create(this.#config, { jit });
  }

  /** To the end, with a look at the machine at each stop that `stops` gives. */
  toEnd(stops: () => bigint, look: () => void): this {
    const typed = [...TYPED];
    const marks = [...MARKS];
    for (let mark = marks.shift(); mark !== undefined; ) {
      const input = typed[0]?.[0] ?? mark;
      const until = [this.machine.position + stops(), mark, input].reduce((a, b) =>
        a < b ? a : b,
      );
      this.#runTo(until);
      look();
      if (this.machine.position === input && typed[0] !== undefined) {
        const bytes = new TextEncoder().encode(typed.shift()?.[1]);
        this.machine.input({ kind: "console", port: "uart", bytes });
      }
      if (this.machine.position === mark) {
        this.digests.push(this.machine.digest());
        mark = marks.shift();
      }
    }
    return this;
  }

  /** Saves, and goes on in the same object, which is a used one, from what was saved. */
  saveAndRestore(): void {
    this.#takeDirty();
    const { machine } = this;
    const state = machine.save();
    const pages = new Map<number, Uint8Array>();
    for (let page = 0; page < machine.pageCount; page++) {
      if (!machine.isZeroPage(page)) pages.set(page, machine.readPage(page).slice());
    }
    machine.restore(state);
    for (const [page, bytes] of pages) machine.supplyPage(page, bytes);
    machine.zeroAbsentPages();
  }

  /** The same in a machine made for it. */
  moveToFresh(): void {
    this.#takeDirty();
    const before = this.machine;
    const { boot: _, ...rest } = this.#config;
    this.machine = Machine.restore(rest, before.save(), { jit: this.#jit });
    for (let page = 0; page < before.pageCount; page++) {
      if (!before.isZeroPage(page)) this.machine.supplyPage(page, before.readPage(page));
    }
    this.machine.zeroAbsentPages();
  }

  #runTo(until: bigint): void {
    for (;;) {
      const stop = this.machine.run(position(until), FOR_EVER);
      if (stop.kind === "missing-block") {
        this.#takeDirty();
        for (const block of stop.blocks) this.machine.supplyBlock(block, this.#chunk(block.chunk));
      } else if (stop.kind === "budget") return;
      else throw new Error(`stopped at ${this.machine.position}: ${stop.kind}`);
    }
  }

  #takeDirty(): void {
    for (const { chunk, bytes } of this.machine.takeDirtyBlocks()) this.#changed.set(chunk, bytes);
  }

  #chunk(chunk: number): Uint8Array {
    const bytes = new Uint8Array(CHUNK_BYTES);
    if (this.#changed.has(chunk)) return this.#changed.get(chunk) ?? bytes;
    readSync(disk, bytes, 0, CHUNK_BYTES, chunk * CHUNK_BYTES);
    return bytes;
  }
}

const SEED = 0x5eed;
const whole = (): bigint => 1n << 40n;

/** Random slices, around `mean` positions long. */
function slices(seed: number, mean: number): () => bigint {
  const prng = new Prng(seed);
  return () => BigInt(1 + prng.below(2 * mean));
}

describe("a booting Debian has equal digests at equal positions", () => {
  let expected: readonly string[] = [];
  beforeAll(() => {
    if (config !== undefined) expected = new Run(DEFAULT_POLICY).toEnd(whole, () => {}).digests;
  });

  test("[DE1] there are as many states as places, all different", () => {
    expect(new Set(expected).size).toBe(MARKS.length);
  });

  test("[DE2] cut into random slices", () => {
    const run = new Run(DEFAULT_POLICY).toEnd(slices(SEED, 50_000), () => {});
    expect(run.digests).toEqual(expected);
  });

  test("[DE3] saved and restored at random places, into a used and into a fresh machine", () => {
    const prng = new Prng(SEED);
    const run = new Run(DEFAULT_POLICY);
    run.toEnd(slices(SEED + 1, 40_000_000), () => {
      if (prng.oneIn(2)) run.saveAndRestore();
      else run.moveToFresh();
    });
    expect(run.digests).toEqual(expected);
  });

  test("[DE4] with every cache dropped at random places", () => {
    const run = new Run(DEFAULT_POLICY);
    run.toEnd(slices(SEED + 2, 1_000_000), () => run.machine.dropCaches());
    expect(run.digests).toEqual(expected);
  });

  test.for([
    ["interpreter only", NO_JIT],
    ["translated at random times", { ...DEFAULT_POLICY, threshold: 2, batch: 4, seed: SEED }],
    ["translated early", { ...EAGER_JIT, heatUnit: 16, batch: 32 }],
  ] as const)("[DE5] %s", ([, jit]) => {
    expect(new Run(jit).toEnd(whole, () => {}).digests).toEqual(expected);
  });
});
