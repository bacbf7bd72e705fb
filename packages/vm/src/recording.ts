/**
 * Recording in the live loop: inputs go through here to the machine, and it decides when what was
 * recorded is sealed and when a digest is taken. Sans-IO: time is an argument, in ticks of 100 ns.
 *
 * A segment is sealed, with a frontier record at its end, before outputs that depend on it, when
 * it is old or big, and at regular intervals while the machine is followed. Without anything to
 * say there is no segment: a guest that idles or computes costs no bytes.
 */
import type { InputEvent, InputResult, Ticks } from "@dejavm/machine";
import {
  Recorder,
  type Segment,
  type TraceHasher,
  type TracePoint,
  TraceWriter,
} from "@dejavm/trace";
import type { SegmentReport } from "./reports.ts";
import type { RunnableMachine } from "./runnable-machine.ts";

const TICKS_PER_MS = 10_000;
/** Age at which records without outputs are sealed: what a crash can cost at most. */
const MAX_UNSEALED_TICKS = 100 * TICKS_PER_MS;
/** The same where there are only clock events: nobody outside has seen anything of them. */
const MAX_UNSEALED_CLOCK_TICKS = 1000 * TICKS_PER_MS;
/** Records are sealed above this: bounds a segment, and what is sent in one message. */
const MAX_UNSEALED_BYTES = 64 * 1024;
/** Digests may take this share of the time for which the guest has executed ... */
const DIGEST_SHARE = 1 / 500;
/** ... but are never closer together than this, nor further apart while anything happens. */
const MIN_DIGEST_INTERVAL_TICKS = 2000 * TICKS_PER_MS;
const MAX_DIGEST_INTERVAL_TICKS = 60_000 * TICKS_PER_MS;
/** Pages hashed after one slice: below a tenth of a millisecond. */
const PAGES_PER_STEP = 64;

/** What recording works with. */
export interface RecordingOptions {
  readonly machine: RunnableMachine;
  readonly from: TracePoint;
  readonly hasher: TraceHasher;
  readonly clock: () => number;
  readonly report: (report: SegmentReport) => void;
}

/** See the head of this file. */
export class Recording {
  readonly #options: RecordingOptions;
  readonly #writer: TraceWriter;
  readonly #recorder: Recorder;
  #intervalTicks: number | undefined;
  /** When the oldest record that is not sealed was written. */
  #oldest: number | undefined;
  /** Something from outside is not sealed. */
  #isUrgent = false;
  #lastSeal: number;
  /** Where the last frontier or input was recorded. */
  #recordedPosition: bigint;
  #recordedTicks: bigint;
  /** No digest before, and one behind, whatever it costs. */
  #earliestDigest: number;
  #latestDigest: number;
  /** What the last digest cost, and how long the guest has executed since it. */
  #digestCost = 0;
  #executed = 0;
  /** What the digest that is being prepared has cost so far. */
  #preparation: number | undefined;

  constructor(options: RecordingOptions) {
    this.#options = options;
    const { machine, from, hasher } = options;
    this.#writer = new TraceWriter({ hasher, at: from });
    this.#recorder = new Recorder({ machine, writer: this.#writer });
    const now = options.clock();
    this.#lastSeal = now;
    this.#earliestDigest = now + MIN_DIGEST_INTERVAL_TICKS;
    this.#latestDigest = now + MAX_DIGEST_INTERVAL_TICKS;
    this.#recordedPosition = machine.position;
    this.#recordedTicks = machine.ticks;
  }

  /** `Machine.input`, recorded once it is accepted. */
  input(event: InputEvent, at: Ticks | undefined): InputResult {
    const result = this.#recorder.input(event, at);
    if (result.kind === "accepted") {
      this.#recorded();
      this.#isUrgent ||= event.kind !== "clock";
    }
    return result;
  }

  /**
   * Seals what waits, with the machine's place as its end. Gives the number of the last sealed
   * segment: what outputs up to here wait for; undefined: nothing was ever recorded.
   */
  seal(): number | undefined {
    this.#frontier();
    this.#seal();
    const { sequence } = this.#writer.point;
    return sequence === 0 ? undefined : sequence - 1;
  }

  /** Seals, and says where the trace goes on. */
  point(): TracePoint {
    this.seal();
    return this.#writer.point;
  }

  /** Takes a digest, records and seals it. */
  digest(): string {
    const { clock } = this.#options;
    const start = clock();
    const digest = this.#recorder.digest();
    this.#recorded();
    this.#seal();
    const now = clock();
    // What is left after the preparation is about as much again, in refills of the TLB.
    this.#digestCost = 2 * ((this.#preparation ?? 0) + now - start);
    this.#preparation = undefined;
    this.#executed = 0;
    this.#earliestDigest = now + MIN_DIGEST_INTERVAL_TICKS;
    this.#latestDigest = now + MAX_DIGEST_INTERVAL_TICKS;
    return digest;
  }

  /** The execution ends here, for good or for a while. */
  end(end: Parameters<Recorder["end"]>[0]): void {
    this.#recorder.end(end);
    this.#seal();
  }

  set intervalMs(intervalMs: number | undefined) {
    this.#intervalTicks = intervalMs === undefined ? undefined : intervalMs * TICKS_PER_MS;
  }

  /**
   * After a slice in which the guest executed for so many ticks of the host's clock: seals what is
   * due, goes on with the next digest.
   */
  afterSlice(executed: number): void {
    const now = this.#options.clock();
    this.#executed += executed;
    if (this.#sealIsDue(now)) this.seal();
    if (!this.#digestIsDue(now)) return;
    const ready = this.#options.machine.prepareDigest(PAGES_PER_STEP);
    if (ready) {
      this.digest();
      return;
    }
    this.#preparation = (this.#preparation ?? 0) + this.#options.clock() - now;
  }

  /** When `afterSlice` wants to be called though nothing happens; undefined: need not. */
  get due(): number | undefined {
    const follow =
      this.#intervalTicks !== undefined && this.#hasMoved
        ? this.#lastSeal + this.#intervalTicks
        : undefined;
    const limit = this.#isUrgent ? MAX_UNSEALED_TICKS : MAX_UNSEALED_CLOCK_TICKS;
    const age = this.#oldest === undefined ? undefined : this.#oldest + limit;
    return follow === undefined || (age !== undefined && age < follow) ? age : follow;
  }

  #sealIsDue(now: number): boolean {
    if (this.#writer.pendingBytes >= MAX_UNSEALED_BYTES) return true;
    return this.due !== undefined && this.due <= now;
  }

  #digestIsDue(now: number): boolean {
    if (now < this.#earliestDigest || !this.#hasMoved) return false;
    if (this.#preparation !== undefined || now >= this.#latestDigest) return true;
    return this.#executed * DIGEST_SHARE >= this.#digestCost;
  }

  get #hasMoved(): boolean {
    const { position, ticks } = this.#options.machine;
    return position !== this.#recordedPosition || ticks !== this.#recordedTicks;
  }

  #frontier(): void {
    if (!this.#hasMoved) return;
    this.#recorder.frontier();
    this.#recorded();
  }

  #recorded(): void {
    const { machine, clock } = this.#options;
    this.#oldest ??= clock();
    this.#recordedPosition = machine.position;
    this.#recordedTicks = machine.ticks;
    // A burst of inputs at one place fills a segment without a slice between.
    if (this.#writer.pendingBytes >= MAX_UNSEALED_BYTES) this.#seal();
  }

  #seal(): void {
    const segment = this.#writer.seal();
    this.#oldest = undefined;
    this.#isUrgent = false;
    this.#lastSeal = this.#options.clock();
    if (segment !== undefined) this.#options.report(segmentReport(segment));
  }
}

function segmentReport({ header, bytes }: Segment): SegmentReport {
  return {
    kind: "segment",
    lastPosition: header.to.position,
    header,
    bytes,
  };
}
