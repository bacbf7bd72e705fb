import { MAX_FED_BYTES } from "@dejavm/vm";
import { expect, test } from "vitest";
import { TraceIntake } from "./trace-intake.ts";

/** Segments of one record each: the first byte is the sequence. */
function intake(count: number, bytes: number): TraceIntake {
  const trace = new TraceIntake(([sequence = 0]) => ({
    sequence,
    nextSequence: sequence + 1,
    lastPosition: BigInt(sequence) * 10n,
  }));
  trace.begin(0, 0n);
  for (let i = 0; i < count; i++) trace.take(new Uint8Array(bytes).fill(i));
  return trace;
}

test("the machine's thread is fed in order, and no more than half of what it may hold", () => {
  const trace = intake(200, MAX_FED_BYTES / 256);
  const first = [...trace.feeds()];
  expect(first.map(({ segments }) => segments.length)).toEqual([64, 64]);
  expect(first.flatMap(({ segments }) => segments.map(([i]) => i))).toEqual(
    Array.from({ length: 128 }, (_, i) => i),
  );
  expect([...trace.feeds()]).toEqual([]);
  expect(trace.isFed).toBe(false);
  trace.held(MAX_FED_BYTES / 4);
  expect([...trace.feeds()].map(({ segments }) => segments.length)).toEqual([64]);
  trace.held(0);
  expect([...trace.feeds()].map(({ segments, bytes }) => [segments.length, bytes])).toEqual([
    [8, MAX_FED_BYTES / 32],
  ]);
  expect(trace.isFed).toBe(true);
});

test("the frontier is where the last segment ends; a segment out of order is refused", () => {
  const trace = intake(3, 100);
  expect([trace.nextSequence, trace.frontier]).toEqual([3, 20n]);
  for (const sequence of [2, 4]) {
    const wrong: unknown = expect.objectContaining({ code: "E_PROTOCOL_SEQUENCE" });
    expect(() => trace.take(new Uint8Array(1).fill(sequence))).toThrow(wrong);
  }
  expect([trace.nextSequence, trace.frontier]).toEqual([3, 20n]);
});
