/** How far the replay here is, as the machine's thread reports it, and when the source is told. */
import type { ControlMessageOf } from "@dejavm/protocol";
import type { VmReport } from "@dejavm/vm";

type Of<Kind extends VmReport["kind"]> = Extract<VmReport, { kind: Kind }>;

/** What the replay adds to a `target-progress` message. */
type ReplayShare = Pick<
  ControlMessageOf<"target-progress">,
  "position" | "ticks" | "cpuMs" | "waitingMs" | "digestsMatched" | "matchedPosition"
>;

/** See the head of this file. */
export class ReplayProgress {
  readonly #intervalMs: number;
  #replayed = { position: 0n, ticks: 0n, cpuMs: 0, waitingMs: 0 };
  #matched = { count: 0, position: 0n };
  #frontier: { readonly at: number; readonly report: Of<"at-frontier"> } | undefined;
  #toldAt = Number.NEGATIVE_INFINITY;
  #isNew = false;

  /** The source is told once in so many milliseconds at most, of equal digests at once. */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  replayed(report: Of<"replayed">): void {
    this.#replayed = report;
    this.changed();
  }

  jumped({ position, ticks }: Of<"jumped">): void {
    this.#replayed = { ...this.#replayed, position, ticks };
    this.changed();
  }

  atFrontier(report: Of<"at-frontier">, now: number): void {
    const { position, ticks } = report;
    this.#replayed = { ...this.#replayed, position, ticks };
    this.#frontier = { at: now, report };
    this.changed();
  }

  digestMatched({ position }: Of<"digest-matched">): void {
    this.#matched = { count: this.#matched.count + 1, position };
    this.#toldAt = Number.NEGATIVE_INFINITY;
    this.changed();
  }

  /** When all that was fed was done last; undefined: never. */
  get frontierAt(): number | undefined {
    return this.#frontier?.at;
  }

  /** The guest's idea of the wall time there, nanoseconds since 1970; 0: it was never there. */
  get guestWallNs(): bigint {
    return this.#frontier?.report.guestWallNs ?? 0n;
  }

  /** The trace's hash chain there; undefined: it was never there. */
  get chain(): Uint8Array | undefined {
    return this.#frontier?.report.trace.chain;
  }

  /** There is something to be told. */
  changed(): void {
    this.#isNew = true;
  }

  /** What is to be told now; undefined: nothing, or not yet. */
  toTell(now: number): ReplayShare | undefined {
    if (!this.#isNew || now - this.#toldAt < this.#intervalMs) return undefined;
    this.#toldAt = now;
    this.#isNew = false;
    const { position, ticks, cpuMs, waitingMs } = this.#replayed;
    const { count: digestsMatched, position: matchedPosition } = this.#matched;
    return { position, ticks, cpuMs, waitingMs, digestsMatched, matchedPosition };
  }
}
