/** A guest run live by random steps and recorded, and the same replayed, for tests. */
import { createHash } from "node:crypto";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { Prng } from "@dejavm/base";
import { type InputEvent, position, type StopReason, type Ticks, ticks } from "@dejavm/machine";
import {
  mergeSegments,
  Recorder,
  Replayer,
  type ReplayStep,
  type Segment,
  type TraceCodecs,
  type TracePoint,
  TraceReader,
  TraceWriter,
} from "@dejavm/trace";
import { type Fingerprint, Guest, type Snapshot } from "./guest.ts";

/** sha256 and zstd of Node. */
const CODECS: TraceCodecs = {
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  compress: (bytes) => zstdCompressSync(bytes),
  decompress: (bytes, plainBytes) => zstdDecompressSync(bytes, { maxOutputLength: plainBytes }),
};

/** Where every recording of these tests begins. */
const START: TracePoint = {
  sequence: 0,
  position: 0n,
  ticks: 0n,
  chain: new Uint8Array(32),
};

/** What a recording leaves. */
export interface Recording {
  readonly segments: readonly Segment[];
  readonly end: Fingerprint;
  readonly outputs: string;
  /** Checkpoints on the way, at the ends of segments. */
  readonly checkpoints: readonly { readonly at: TracePoint; readonly snapshot: Snapshot }[];
  /** Inputs that came while the hart waited, at the moment at which it woke, and after it woke. */
  readonly seen: { waiting: number; deadline: number; woken: number };
}

const FOR_EVER = ticks((1n << 63n) - 1n);

function randomEvent(random: Prng): InputEvent {
  const bytes = (least: number, most: number): Uint8Array =>
    random.fill(new Uint8Array(least + random.below(most - least)));
  switch (random.below(8)) {
    case 0:
      return { kind: "frame", bytes: bytes(14, 200) };
    case 1: {
      const rate = random.u64() >> BigInt(32 + random.below(8));
      return { kind: "clock", rate, step: BigInt(random.oneIn(2) ? random.below(100) : 0) };
    }
    case 2:
      return { kind: "entropy", seed: bytes(32, 33) };
    case 3:
      return { kind: "power-button" };
    case 4:
      return { kind: "link", up: !random.oneIn(3) };
    default:
      return { kind: "console", port: random.pick(["uart", "hvc", "agent"]), bytes: bytes(1, 9) };
  }
}

/** Runs `guest` over its program's length as a live machine might run, and records it. */
export class LiveRun {
  readonly #guest: Guest;
  readonly #random: Prng;
  readonly #writer = new TraceWriter({ hasher: CODECS, at: START });
  readonly #recorder: Recorder;
  readonly #segments: Segment[] = [];
  readonly #checkpoints: { at: TracePoint; snapshot: Snapshot }[] = [];
  readonly #seen = { waiting: 0, deadline: 0, woken: 0 };
  /** Set after a run came back idle, until something else happens. */
  #idle: { readonly deadline: Ticks | undefined } | undefined;
  #wasIdle = false;

  constructor(guest: Guest, random: Prng) {
    this.#guest = guest;
    this.#random = random;
    this.#recorder = new Recorder({ machine: guest.machine, writer: this.#writer });
  }

  run(): Recording {
    const { machine, program } = this.#guest;
    while (machine.position < program.length) this.#step();
    this.#digest();
    this.#seal();
    const end = this.#guest.fingerprint();
    const outputs = this.#guest.takeOutputs();
    const [segments, checkpoints, seen] = [this.#segments, this.#checkpoints, this.#seen];
    return { segments, end, outputs, checkpoints, seen };
  }

  #step(): void {
    const random = this.#random;
    const { machine } = this.#guest;
    switch (random.below(20)) {
      case 0:
        machine.dropCaches();
        break;
      case 1:
        this.#removePages();
        break;
      case 2:
        this.#recorder.frontier();
        break;
      case 3:
        this.#digest();
        break;
      case 4:
        this.#seal();
        if (random.oneIn(2)) this.#checkpoint();
        break;
      case 5:
      case 6:
        this.#input();
        break;
      default:
        this.#slice();
    }
  }

  /** Pages of code, stack and rings: anything near the start of RAM. */
  #removePages(among = 20): void {
    for (let i = 0; i < 6; i++) {
      const page = this.#random.below(among);
      if (!this.#guest.removed.has(page)) this.#guest.remove(page);
    }
  }

  #digest(): void {
    this.#guest.putBack();
    this.#recorder.digest();
  }

  #seal(): void {
    const segment = this.#writer.seal();
    if (segment !== undefined) this.#segments.push(segment);
  }

  #checkpoint(): void {
    this.#guest.putBack();
    this.#checkpoints.push({ at: this.#writer.point, snapshot: this.#guest.snapshot() });
  }

  #slice(): void {
    const random = this.#random;
    const { machine, program } = this.#guest;
    const left = BigInt(program.length) - machine.position;
    const wanted = BigInt(1 + random.below(50));
    const until = position(machine.position + (wanted < left ? wanted : left));
    const skip = random.oneIn(3) ? FOR_EVER : ticks(machine.ticks + BigInt(random.below(60)));
    this.#wasIdle = this.#idle !== undefined;
    // What the hart needs once it wakes is not there: it stops at the place where it waited.
    if (this.#wasIdle && random.oneIn(4)) this.#removePages(4);
    const stop = machine.run(until, skip);
    this.#stopped(stop);
  }

  #stopped(stop: StopReason): void {
    this.#idle = undefined;
    if (stop.kind === "idle") {
      this.#idle = { deadline: stop.deadline };
      if (this.#random.oneIn(8)) this.#digest();
    }
    if (stop.kind !== "missing-page" && stop.kind !== "missing-block") return;
    // The live loop may have something to say before it supplies what is missing.
    if (this.#random.oneIn(2)) {
      if (this.#wasIdle && this.#guest.machine.place.idleTicks !== undefined) this.#seen.woken++;
      this.#input();
      if (this.#random.oneIn(3)) return this.#digest();
    }
    this.#guest.supply(stop);
  }

  #input(): void {
    const event = randomEvent(this.#random);
    const at = this.#idle && this.#inputTicks(this.#idle.deadline);
    this.#idle = undefined;
    for (;;) {
      const result = this.#recorder.input(event, at);
      if (result.kind === "accepted") return;
      this.#guest.supply(result);
    }
  }

  #inputTicks(deadline: Ticks | undefined): Ticks {
    const random = this.#random;
    const now = this.#guest.machine.ticks;
    const last = deadline ?? ticks(now + 1000n);
    this.#seen.waiting++;
    if (random.oneIn(3)) return now;
    if (random.oneIn(2)) {
      this.#seen.deadline++;
      return last;
    }
    return ticks(now + BigInt(random.below(Number(last - now) + 1)));
  }
}

/** How a replay is disturbed. */
export interface ReplayOptions {
  readonly random: Prng;
  readonly dropCaches?: boolean;
  readonly removePages?: boolean;
  /** Begins at one of the recording's checkpoints. */
  readonly from?: Recording["checkpoints"][number];
}

/** Replays a recording with `guest`, cut and merged at random; gives the last step. */
export function replay(recording: Recording, guest: Guest, options: ReplayOptions): ReplayStep {
  const { random, from } = options;
  const { machine } = guest;
  if (from !== undefined) guest.restore(from.snapshot);
  const reader = new TraceReader({ codecs: CODECS, at: from?.at ?? START });
  const replayer = new Replayer({ machine, output: (output) => guest.outputs.push(output) });
  let blocks = mergedAtRandom(recording.segments, random);
  const first = reader.point.sequence;
  blocks = blocks.filter(({ header }) => header.sequence + header.unitCount > first);
  for (;;) {
    if (options.dropCaches && random.oneIn(3)) machine.dropCaches();
    if (options.removePages) {
      const page = random.below(20);
      if (!guest.removed.has(page)) guest.remove(page);
    }
    const step = replayer.advance(BigInt(random.below(60)));
    if (step.kind === "missing-page" || step.kind === "missing-block") guest.supply(step);
    else if (step.kind === "diverged" || step.kind === "ended") return step;
    else if (step.kind === "at-frontier") {
      const block = blocks.shift();
      if (block === undefined) {
        guest.putBack();
        return step;
      }
      replayer.feed(reader.read(block.bytes));
    }
  }
}

function mergedAtRandom(segments: readonly Segment[], random: Prng): Segment[] {
  const blocks: Segment[] = [];
  for (let at = 0; at < segments.length; ) {
    const count = 1 + random.below(4);
    const part = segments.slice(at, at + count);
    blocks.push(
      mergeSegments(
        part.map(({ bytes }) => bytes),
        CODECS,
      ),
    );
    at += count;
  }
  return blocks;
}
