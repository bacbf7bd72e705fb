/** A guest run live by random steps and recorded, and the same replayed, for tests. */
import { createHash } from "node:crypto";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { Prng } from "@dejavm/base";
import {
  type InputEvent,
  type Place,
  type Position,
  position,
  type StopReason,
  type Ticks,
  ticks,
} from "@dejavm/machine";
import {
  mergeSegments,
  Recorder,
  Replayer,
  type ReplayStep,
  type Segment,
  type TraceCodecs,
  type TracePoint,
  TraceReader,
  type TraceUnit,
  TraceWriter,
} from "@dejavm/trace";
import type { Fingerprint, Guest, Snapshot } from "./guest.ts";

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
  /** Where digests were taken. */
  readonly digests: readonly Place[];
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
  readonly #digests: Place[] = [];
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
    return {
      segments: this.#segments,
      end,
      outputs,
      checkpoints: this.#checkpoints,
      digests: this.#digests,
      seen: this.#seen,
    };
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
    this.#digests.push(this.#guest.machine.place);
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
  /** Digests are not compared. */
  readonly blind?: boolean;
  /** Begins at one of the recording's checkpoints. */
  readonly from?: Recording["checkpoints"][number];
}

/** A recording that is done again by `guest`, cut and merged at random. */
export class Replay {
  readonly #guest: Guest;
  readonly #options: ReplayOptions;
  readonly #reader: TraceReader;
  readonly #replayer: Replayer;
  readonly #blocks: Segment[];

  constructor(recording: Recording, guest: Guest, options: ReplayOptions) {
    const { from, random } = options;
    if (from !== undefined) guest.restore(from.snapshot);
    const { machine } = guest;
    this.#guest = guest;
    this.#options = options;
    this.#reader = new TraceReader({ codecs: CODECS, at: from?.at ?? START });
    this.#replayer = new Replayer({ machine, output: (output) => guest.outputs.push(output) });
    const first = this.#reader.point.sequence;
    this.#blocks = mergedAtRandom(recording.segments, random).filter(({ header }) => {
      return header.sequence + header.unitCount > first;
    });
  }

  get machine(): Guest["machine"] {
    return this.#guest.machine;
  }

  /** Exactly to `until`; what happens there is done. */
  runTo(until: Position): void {
    for (;;) {
      const step = this.#step(until);
      if (step.kind === "ran" && this.machine.position === until) return;
      if (step.kind !== "ran" && step.kind !== "digest-matched") {
        throw new Error(`the replay came to ${step.kind}`);
      }
    }
  }

  /** To the last record, or to where it goes another way; gives the last step. */
  toEnd(): ReplayStep {
    const { random, dropCaches, removePages } = this.#options;
    for (;;) {
      if (dropCaches && random.oneIn(3)) this.machine.dropCaches();
      const page = random.below(20);
      if (removePages && !this.#guest.removed.has(page)) this.#guest.remove(page);
      const step = this.#step(this.machine.position + BigInt(random.below(60)));
      if (step.kind === "ran" || step.kind === "digest-matched") continue;
      this.#guest.putBack();
      return step;
    }
  }

  /** Supplies what is missing and feeds what was recorded until there is more to say. */
  #step(until: bigint): ReplayStep {
    for (;;) {
      const step = this.#replayer.advance(until - this.machine.position);
      if (step.kind === "missing-page" || step.kind === "missing-block") this.#guest.supply(step);
      else if (step.kind !== "at-frontier") return step;
      else {
        const block = this.#blocks.shift();
        if (block === undefined) return step;
        this.#replayer.feed(this.#reader.read(block.bytes).map((unit) => this.#wanted(unit)));
      }
    }
  }

  #wanted({ sequence, records }: TraceUnit): TraceUnit {
    if (this.#options.blind !== true) return { sequence, records };
    const places = records.map((record) => {
      return record.kind === "digest" ? { ...record, kind: "frontier" as const } : record;
    });
    return { sequence, records: places };
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
