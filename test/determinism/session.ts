/**
 * A Debian session that is recorded while it runs ahead of the wall, and replayed: somebody logs
 * in now and then and works, and the guest waits in between. Loads in Node and in a browser's
 * worker alike.
 */
import { Prng } from "@dejavm/base";
import {
  CHUNK_BYTES,
  DEFAULT_POLICY,
  type InputEvent,
  type JitPolicy,
  Machine,
  type MachineConfig,
  type MissingBlock,
  NO_JIT,
  position,
  TIMEBASE_HZ,
  type Ticks,
  ticks,
} from "@dejavm/machine";
import {
  encodeTraceHeader,
  fingerprintOf,
  Recorder,
  Replayer,
  type TraceCodecs,
  TraceReader,
  TraceWriter,
  traceStart,
} from "@dejavm/trace";
import type { GuestFiles } from "./scenario.ts";

/** Engines that a session is replayed on. */
const SESSION_ENGINES = {
  default: DEFAULT_POLICY,
  interpreter: NO_JIT,
} as const satisfies Record<string, JitPolicy>;

/** A recording from power-on. */
export interface Session {
  /** What the hash chain grows out of. */
  readonly chain: Uint8Array;
  readonly segments: readonly Uint8Array[];
  readonly end: SessionEnd;
}

/** What recording and replay must agree in. */
export interface SessionEnd {
  readonly position: string;
  readonly ticks: string;
  readonly digest: string;
  /** Digests on the way: how many were written, or were equal. */
  readonly digests: number;
  readonly consoleBytes: number;
}

const SLICE_POSITIONS = 1_000_000n;
/** Guest time between two digests. */
const DIGEST_TICKS = 5n * BigInt(TIMEBASE_HZ);
const WORK = [
  "md5sum /usr/bin/redis-server >> /root/sums",
  "python3 -c 'print(sum(i * i for i in range(20000)))'",
  "dd if=/dev/urandom of=/root/random bs=64k count=16 2>/dev/null; sync; md5sum /root/random",
  "date; uptime; cat /proc/interrupts | head -5",
];

function configOf(files: GuestFiles): MachineConfig {
  return {
    memoryBytes: 128 * 1024 * 1024,
    boot: { kind: "linux", ...files },
    disks: [{ sizeBytes: files.diskBytes, readOnly: false, serial: "root" }],
    net: { mac: Uint8Array.of(2, 0, 0, 0, 0, 1) },
    entropySeed: new Uint8Array(32).fill(7),
    wallTimeNs: 1_700_000_000_000_000_000n,
  };
}

/** The machine's disk: chunks that it changed, over the image. */
class Chunks {
  readonly #files: GuestFiles;
  readonly #machine: Machine;
  readonly #changed = new Map<number, Uint8Array | undefined>();

  constructor(files: GuestFiles, machine: Machine) {
    this.#files = files;
    this.#machine = machine;
  }

  supply(blocks: readonly MissingBlock[]): void {
    const written = this.#machine.takeDirtyBlocks();
    for (const { chunk, bytes } of written) this.#changed.set(chunk, bytes);
    for (const block of blocks) this.#machine.supplyBlock(block, this.#read(block.chunk));
  }

  #read(chunk: number): Uint8Array {
    if (!this.#changed.has(chunk)) return this.#files.readChunk(chunk);
    return this.#changed.get(chunk) ?? new Uint8Array(CHUNK_BYTES);
  }
}

interface Planned {
  readonly at: Ticks;
  readonly event: InputEvent;
}

/** What comes to the guest, by its own time: commands, frames, a clock that is never right. */
function plan(seconds: number, random: Prng): Planned[] {
  const planned: Planned[] = [];
  const add = (atSeconds: number, event: InputEvent): void => {
    planned.push({ at: ticks(BigInt(Math.round(atSeconds * TIMEBASE_HZ))), event });
  };
  for (let at = 8; at < seconds - 4; at += 10 + random.below(20)) {
    const bytes = new TextEncoder().encode(`${random.pick(WORK)}\n`);
    add(at + random.below(1000) / 1000, { kind: "console", port: "uart", bytes });
  }
  for (let at = 1; at < seconds; at += 0.05 + random.below(2000) / 1000) {
    // 60 to 140 million positions a second; now and then a step forward.
    const rate = (1n << 32n) / BigInt(6 + random.below(8));
    const step = BigInt(random.oneIn(10) ? random.below(200_000) : 0);
    add(at, { kind: "clock", rate, step });
  }
  for (let at = 6; at < seconds; at += 1 + random.below(5)) {
    add(at, { kind: "frame", bytes: random.fill(new Uint8Array(60 + random.below(100))) });
  }
  return planned.toSorted((one, other) => Number(one.at - other.at));
}

/** Runs `seconds` of guest time from power-on, and records them. */
export function recordSession(files: GuestFiles, seconds: number, codecs: TraceCodecs): Session {
  const config = configOf(files);
  const machine = Machine.create(config);
  const start = traceStart(encodeTraceHeader(fingerprintOf(config, [], codecs)), codecs);
  const writer = new TraceWriter({ hasher: codecs, at: start });
  const live = new LiveSession(files, machine, writer);
  for (const { at, event } of plan(seconds, new Prng(0x5e55))) live.give(at, event);
  live.runTo(ticks(BigInt(seconds * TIMEBASE_HZ)));
  const end = live.end();
  return { chain: start.chain, segments: live.segments, end };
}

class LiveSession {
  readonly segments: Uint8Array[] = [];
  readonly #machine: Machine;
  readonly #chunks: Chunks;
  readonly #writer: TraceWriter;
  readonly #recorder: Recorder;
  #nextDigest = DIGEST_TICKS;
  #digests = 0;
  #consoleBytes = 0;

  constructor(files: GuestFiles, machine: Machine, writer: TraceWriter) {
    this.#machine = machine;
    this.#chunks = new Chunks(files, machine);
    this.#writer = writer;
    this.#recorder = new Recorder({ machine, writer });
  }

  /** The input comes at that time, or as soon after as a slice of a busy guest ends. */
  give(at: Ticks, event: InputEvent): void {
    const idle = this.runTo(at);
    const when = idle && at > this.#machine.ticks ? at : this.#machine.ticks;
    for (;;) {
      const result = this.#recorder.input(event, when);
      if (result.kind === "accepted") break;
      if (result.kind === "missing-page") throw new Error("every page is there");
      this.#chunks.supply(result.blocks);
    }
    this.#takeOutputs();
  }

  /** Whether the guest waits then. */
  runTo(until: Ticks): boolean {
    const machine = this.#machine;
    while (machine.ticks < until) {
      const stop = machine.run(position(machine.position + SLICE_POSITIONS), until);
      this.#takeOutputs();
      if (machine.ticks >= this.#nextDigest) this.#digest();
      if (stop.kind === "missing-block") this.#chunks.supply(stop.blocks);
      else if (stop.kind === "idle") return true;
      else if (stop.kind !== "budget") throw new Error(`the guest stopped: ${stop.kind}`);
    }
    return false;
  }

  end(): SessionEnd {
    const digest = this.#digest();
    this.#seal();
    return endOf(this.#machine, {
      digest,
      digests: this.#digests,
      consoleBytes: this.#consoleBytes,
    });
  }

  #digest(): string {
    this.#digests++;
    this.#nextDigest = this.#machine.ticks + DIGEST_TICKS;
    return this.#recorder.digest();
  }

  #takeOutputs(): void {
    const outputs = this.#machine.takeOutputs();
    if (outputs.length === 0) return;
    for (const { output } of outputs) {
      if (output.kind === "console") this.#consoleBytes += output.bytes.length;
    }
    this.#recorder.frontier();
    this.#seal();
  }

  #seal(): void {
    const segment = this.#writer.seal();
    if (segment !== undefined) this.segments.push(segment.bytes);
  }
}

function endOf(
  { position, ticks }: Machine,
  rest: Pick<SessionEnd, "digest" | "digests" | "consoleBytes">,
): SessionEnd {
  return { position: String(position), ticks: String(ticks), ...rest };
}

/** How a session is replayed. */
export interface SessionWay {
  readonly engine: keyof typeof SESSION_ENGINES;
  /** Positions that one step covers at most. */
  readonly slice: number;
}

/** Does the session again from power-on; throws where it goes another way. */
export function replaySession(
  files: GuestFiles,
  { chain, segments }: Omit<Session, "end">,
  way: SessionWay,
  codecs: Pick<TraceCodecs, "sha256" | "decompress">,
): SessionEnd {
  const machine = Machine.create(configOf(files), { jit: SESSION_ENGINES[way.engine] });
  const chunks = new Chunks(files, machine);
  let consoleBytes = 0;
  let digests = 0;
  const replayer = new Replayer({
    machine,
    output: ({ output }) => {
      if (output.kind === "console") consoleBytes += output.bytes.length;
    },
  });
  const reader = new TraceReader({
    codecs,
    at: { sequence: 0, position: 0n, ticks: 0n, chain },
  });
  const rest = segments.values();
  for (;;) {
    const step = replayer.advance(BigInt(way.slice));
    if (step.kind === "digest-matched") digests++;
    else if (step.kind === "missing-block") chunks.supply(step.blocks);
    else if (step.kind === "at-frontier") {
      const segment = rest.next();
      if (segment.done === true) break;
      replayer.feed(reader.read(segment.value));
    } else if (step.kind !== "ran") {
      throw new Error(`the replay came to ${step.kind} at ${machine.position}`);
    }
  }
  return endOf(machine, { digest: machine.digest(), digests, consoleBytes });
}
