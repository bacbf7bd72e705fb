/** The same trace and the same pages for every test. */
import { Prng } from "@dejavm/base";
import { PAGE_BYTES, position, ticks } from "@dejavm/machine";
import { type Segment, type TracePoint, TraceWriter } from "@dejavm/trace";
import { HOST_CODECS } from "../host-codecs.ts";

/** A trace that is the same for all: each unit is some console input, up to 800 bytes. */
export class TestTrace {
  readonly #made: Segment[] = [];
  readonly #writer = new TraceWriter({
    hasher: HOST_CODECS,
    at: { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) },
  });

  segment(sequence: number): Segment {
    while (this.#made.length <= sequence) {
      const i = this.#made.length;
      const prng = new Prng(i);
      const bytes = prng.fill(new Uint8Array(1 + prng.below(800)));
      const at = position(BigInt(i) * 1000n + 1n);
      const event = { kind: "console", port: "uart", bytes } as const;
      this.#writer.append({ kind: "input", position: at, idleTicks: undefined, event });
      this.#writer.append({ kind: "frontier", position: at, idleTicks: ticks(BigInt(i)) });
      const made = this.#writer.seal();
      if (made !== undefined) this.#made.push(made);
    }
    const found = this.#made[sequence];
    if (found === undefined) throw new Error(`no segment ${sequence}`);
    return found;
  }

  /** Where the trace goes on at a unit. */
  pointAt(sequence: number): TracePoint {
    const { header } = this.segment(sequence);
    const chain = sequence === 0 ? new Uint8Array(32) : this.segment(sequence - 1).header.chain;
    return { sequence, ...header.from, chain };
  }
}

/** Pages that differ by `seed`, one after the other. */
export function pageBytes(count: number, seed: number): Uint8Array {
  return new Prng(seed).fill(new Uint8Array(count * PAGE_BYTES));
}
