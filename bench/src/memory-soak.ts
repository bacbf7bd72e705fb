/**
 * Whether the memory for translated code stays within bounds: a Debian guest runs the benchmark's
 * programs in turn for some minutes of its own time.
 *
 *     tools/run node --conditions=source bench/src/memory-soak.ts [MINUTES]
 *
 * Prints a line per program: guest seconds, memory of the process, code kept, evictions. Ends with
 * status 1 where the process has grown by more than GROWTH_LIMIT since the first turn.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDir, requireHostTool } from "@dejavm/debian";
import { Machine, position, ticks } from "@dejavm/machine";
import { inspectDiskFile, setEngineFlags } from "@dejavm/vm";
import { debianGuest } from "./debian.ts";
import { readChunk } from "./disk-chunk.ts";

const PROGRAMS = ["python3", "gzip", "sqlite3", "shell", "fork"] as const;
const SLICE = 1_000_000n;
const FOR_EVER = ticks((1n << 62n) - 1n);
const TICKS_PER_SECOND = 1e7;
/** Factor by which the process may grow once every program has run. */
const GROWTH_LIMIT = 1.5;

class Soak {
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

async function soak(minutes: number): Promise<number> {
  setEngineFlags();
  const compiler = await requireHostTool("riscv64-linux-gnu-gcc", () => undefined);
  const guest = await debianGuest({ compiler, cacheFolder: join(cacheDir(), "bench") });
  const machine = Machine.create({
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
  });
  const run = new Soak(machine, guest.disks);
  run.read("root@dejavm:");
  run.type("mkdir -p /run/bench && cd /run/bench && tar -xf /dev/vdb");
  let first = 0;
  let last = 0;
  for (let turn = 0; run.guestSeconds < minutes * 60; turn++) {
    for (const name of PROGRAMS) {
      run.type(`sh ./run.sh ${name}`);
      run.read(`<end ${name}>`);
      const { codeBytes, regions, flushes } = machine.statistics;
      last = process.memoryUsage().rss / 2 ** 20;
      const figures = [
        `${run.guestSeconds.toFixed(0)} s`,
        `${last.toFixed(0)} MiB resident`,
        `${(codeBytes / 1024).toFixed(0)} KiB code`,
        `${regions} regions`,
        `${flushes} evictions`,
      ];
      process.stdout.write(`${name}: ${figures.join(", ")}\n`);
    }
    if (turn === 0) first = last;
  }
  return last > first * GROWTH_LIMIT ? 1 : 0;
}

process.exitCode = await soak(Number(process.argv[2] ?? 10));
