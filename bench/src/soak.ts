/**
 * A Debian guest that runs the benchmark's programs in turn, and what its translated code and the
 * process take.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDir, requireHostTool } from "@dejavm/debian";
import { type JitPolicy, Machine, position, ticks } from "@dejavm/machine";
import { inspectDiskFile } from "@dejavm/vm";
import { debianGuest } from "./debian.ts";
import { readChunk } from "./disk-chunk.ts";

/** What is to be seen after one program. */
export interface SoakSample {
  readonly program: string;
  readonly guestSeconds: number;
  /** Of the process. */
  readonly residentBytes: number;
  /** Of WebAssembly, kept now. */
  readonly codeBytes: number;
  readonly regions: number;
  /** Times that all code was dropped for want of room. */
  readonly evictions: number;
}

/** How long, and with what. */
interface SoakOptions {
  readonly programs: readonly string[];
  /** Whether another turn begins, after so many of them and so many seconds of the guest. */
  readonly goesOn: (turns: number, guestSeconds: number) => boolean;
  readonly jit?: JitPolicy;
  readonly sampled: (sample: SoakSample, turn: number) => void;
}

const SLICE = 1_000_000n;
const FOR_EVER = ticks((1n << 62n) - 1n);
const TICKS_PER_SECOND = 1e7;
class Guest {
  readonly #machine: Machine;
  readonly #paths: readonly string[];
  readonly #changed = new Map<string, Uint8Array | undefined>();
  #text = "";

  constructor(machine: Machine, paths: readonly string[]) {
    this.#machine = machine;
    this.#paths = paths;
  }

  get guestSeconds(): number {
    return Number(this.#machine.ticks) / TICKS_PER_SECOND;
  }

  /** Runs until the console shows `mark`. */
  read(mark: string): void {
    while (!this.#text.includes(mark)) this.#step();
    this.#text = this.#text.slice(this.#text.indexOf(mark) + mark.length);
  }

  type(line: string): void {
    let bytes = Buffer.from(`${line}\n`);
    while (bytes.length > 0) {
      const count = Math.min(this.#machine.consoleRoom("uart"), bytes.length);
      const taken = Uint8Array.from(bytes.subarray(0, count));
      if (count > 0) this.#machine.input({ kind: "console", port: "uart", bytes: taken });
      bytes = bytes.subarray(count);
      this.#step();
    }
  }

  #step(): void {
    const machine = this.#machine;
    const stop = machine.run(position(machine.position + SLICE), FOR_EVER);
    for (const { output } of machine.takeOutputs()) {
      if (output.kind === "console") this.#text += Buffer.from(output.bytes).toString("latin1");
    }
    for (const { disk, chunk, bytes } of machine.takeDirtyBlocks()) {
      this.#changed.set(`${disk}/${chunk}`, bytes);
    }
    if (stop.kind === "budget") return;
    if (stop.kind !== "missing-block") throw new Error(`the guest stopped: ${stop.kind}`);
    for (const block of stop.blocks) {
      const key = `${block.disk}/${block.chunk}`;
      const own = this.#changed.has(key) ? this.#changed.get(key) : undefined;
      machine.supplyBlock(block, own ?? readChunk(this.#paths[block.disk] ?? "", block.chunk));
    }
  }
}

/** Boots and runs. Throws E_TOOL_MISSING, E_IMAGE_*. */
export async function soak({ programs, goesOn, jit, sampled }: SoakOptions): Promise<void> {
  const compiler = await requireHostTool("riscv64-linux-gnu-gcc", () => undefined);
  const guest = await debianGuest({ compiler, cacheFolder: join(cacheDir(), "bench") });
  const machine = Machine.create(
    {
      memoryBytes: guest.memoryMib * 2 ** 20,
      boot: {
        kind: "linux",
        kernel: readFileSync(guest.kernel),
        initrd: readFileSync(guest.initrd),
        commandLine: guest.commandLine,
      },
      disks: guest.disks.map((path) => ({
        sizeBytes: inspectDiskFile(path).sizeBytes,
        readOnly: false,
        serial: "",
      })),
      net: undefined,
      entropySeed: new Uint8Array(32),
      wallTimeNs: 1_700_000_000_000_000_000n,
    },
    jit === undefined ? {} : { jit },
  );
  const run = new Guest(machine, guest.disks);
  run.read("root@dejavm:");
  run.type("mkdir -p /run/bench && cd /run/bench && tar -xf /dev/vdb");
  for (let turn = 0; goesOn(turn, run.guestSeconds); turn++) {
    for (const program of programs) {
      run.type(`sh ./run.sh ${program}`);
      run.read(`<end ${program}>`);
      const { codeBytes, regions, flushes: evictions } = machine.statistics;
      const residentBytes = process.memoryUsage().rss;
      const { guestSeconds } = run;
      sampled({ program, guestSeconds, residentBytes, codeBytes, regions, evictions }, turn);
    }
  }
}
