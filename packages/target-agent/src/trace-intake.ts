/** The trace as it comes: in order, and fed to the machine's thread no faster than it takes it. */
import { CodedError } from "@dejavm/base";
import { MAX_FED_BYTES } from "@dejavm/vm";
import type { TargetOptions } from "./target-types.ts";

/** Segments fed in one request. */
const FEED_BATCH = 64;
/** Half of what the machine's thread may hold: the other half is on its way. */
const FEED_BYTES = MAX_FED_BYTES / 2;

/** Segments for the machine's thread. */
export interface Feed {
  readonly segments: Uint8Array[];
  readonly bytes: number;
}

/** See the head of this file. */
export class TraceIntake {
  readonly #readSegment: TargetOptions["readSegment"];
  readonly #unfed: Uint8Array[] = [];
  #nextSequence: number | undefined;
  #frontier = 0n;
  #fedBytes = 0;

  constructor(readSegment: TargetOptions["readSegment"]) {
    this.#readSegment = readSegment;
  }

  /** Sequence of the segment that has to come next; undefined: none may come yet. */
  get nextSequence(): number | undefined {
    return this.#nextSequence;
  }

  /** Up to where the trace is here. */
  get frontier(): bigint {
    return this.#frontier;
  }

  /** Whether the machine's thread has been given all. */
  get isFed(): boolean {
    return this.#unfed.length === 0;
  }

  /** Where the trace of the first checkpoint begins. */
  begin(sequence: number, frontier: bigint): void {
    this.#nextSequence = sequence;
    this.#frontier = frontier;
  }

  /** Throws E_PROTOCOL_SEQUENCE, and what `readSegment` throws. */
  take(segment: Uint8Array): void {
    const { sequence, nextSequence, lastPosition } = this.#readSegment(segment);
    if (sequence !== this.#nextSequence) {
      throw new CodedError(
        "E_PROTOCOL_SEQUENCE",
        `cannot take trace segment ${sequence}: expected ${this.#nextSequence}`,
      );
    }
    this.#nextSequence = nextSequence;
    this.#frontier = lastPosition;
    this.#unfed.push(segment);
  }

  /** The machine's thread holds so many bytes of what it was fed. */
  held(bytes: number): void {
    this.#fedBytes = bytes;
  }

  /** What it is to be fed now, as far as it has room. */
  *feeds(): Generator<Feed> {
    while (this.#unfed.length > 0 && this.#fedBytes < FEED_BYTES) {
      const segments = this.#unfed.splice(0, FEED_BATCH);
      const bytes = segments.reduce((sum, segment) => sum + segment.length, 0);
      this.#fedBytes += bytes;
      yield { segments, bytes };
    }
  }
}
