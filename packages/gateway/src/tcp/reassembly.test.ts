import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { Reassembly } from "./reassembly.ts";
import { ByteRing } from "./ring.ts";
import { seqAdd } from "./sequence.ts";

describe("reassembly", () => {
  test("overlapping pieces in any order give the stream, across the end of the numbers", () => {
    const prng = new Prng(17);
    const stream = prng.fill(new Uint8Array(5000));
    const first = 0xffff_fc00;
    for (let round = 0; round < 50; round++) {
      const pieces = new Reassembly();
      const got: number[] = [];
      while (got.length < stream.length) {
        const start = Math.min(stream.length - 1, prng.below(got.length + 400));
        const bytes = stream.subarray(start, start + 1 + prng.below(300));
        pieces.add(seqAdd(first, start), bytes);
        for (;;) {
          const next = pieces.take(seqAdd(first, got.length));
          if (next === undefined) break;
          got.push(...next);
        }
      }
      expect(Buffer.compare(Buffer.from(got), stream)).toBe(0);
      expect(pieces.take(seqAdd(first, stream.length))).toBeUndefined();
      // Only what lies before the end was kept, and that is dropped when asked for more.
      expect(pieces.byteCount).toBe(0);
    }
  });

  test("the number of pieces is limited", () => {
    const pieces = new Reassembly();
    const added = Array.from({ length: 257 }, (_, i) => pieces.add(2 * i + 1, Uint8Array.of(i)));
    expect(added.filter(Boolean)).toHaveLength(256);
    expect(pieces.byteCount).toBe(256);
  });
});

test("a ring gives back what was written, wherever it wraps and however it grows", () => {
  const prng = new Prng(18);
  const ring = new ByteRing();
  let held: number[] = [];
  for (let i = 0; i < 3000; i++) {
    const bytes = prng.fill(new Uint8Array(prng.below(900)));
    ring.write(bytes);
    held = held.concat([...bytes]);
    const offset = prng.below(held.length + 1);
    const count = Math.min(prng.below(3000), held.length - offset);
    const target = new Uint8Array(count + 3);
    ring.copy(offset, count, target, 3);
    expect(Buffer.from(held.slice(offset, offset + count)).equals(target.subarray(3))).toBe(true);
    const drop = held.length > 8000 ? held.length : prng.below(Math.min(held.length, 900) + 1);
    ring.drop(drop);
    held = held.slice(drop);
    expect(ring.length).toBe(held.length);
  }
});
