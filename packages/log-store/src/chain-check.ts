/** Follows the hash chain of a trace that is read from its begin, segment by segment. */
import { chainNext, type SegmentHeader } from "@dejavm/trace";
import { HOST_CODECS } from "./host-codecs.ts";

/** See the head of the file. */
export class ChainCheck {
  readonly #known: ReadonlyMap<number, Uint8Array>;
  #chain: Uint8Array | undefined;
  #next: number | undefined;

  /**
   * `known`: the chain before certain units, as checkpoints remember it. The trace may begin anew
   * there; a first segment without one is taken as it is.
   */
  constructor(known: ReadonlyMap<number, Uint8Array>) {
    this.#known = known;
  }

  /** What is wrong with the next segment; `units` undefined: it cannot be opened. */
  next(header: SegmentHeader, units: readonly Uint8Array[] | undefined): string[] {
    const problems: string[] = [];
    const { sequence, unitCount, chain: end } = header;
    if (this.#next !== undefined && sequence !== this.#next) {
      this.#chain = undefined;
      if (!this.#known.has(sequence)) {
        problems.push(`units ${this.#next} to ${sequence - 1} are missing`);
      }
    }
    this.#next = sequence + unitCount;
    let chain = this.#chain;
    for (const [i, unit] of (units ?? []).entries()) {
      const want = this.#known.get(sequence + i);
      if (want !== undefined && chain !== undefined && Buffer.compare(want, chain) !== 0) {
        problems.push(`a checkpoint does not fit to the trace at unit ${sequence + i}`);
      }
      chain ??= want;
      if (chain !== undefined) chain = chainNext(chain, unit, HOST_CODECS);
    }
    if (units !== undefined && chain !== undefined && Buffer.compare(chain, end) !== 0) {
      problems.push(`the hash chain breaks in units ${sequence} to ${this.#next - 1}`);
    }
    this.#chain = units === undefined ? undefined : end;
    return problems;
  }
}
