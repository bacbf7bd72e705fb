import { expect, test } from "vitest";
import { finishSum, sumBytes, sumIsRight } from "./internet-checksum.ts";
import { Prng } from "./prng.ts";

/** RFC 1071 as it is written. */
function plain(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return ~sum & 0xffff;
}

test("any length at any place gives what the plain sum gives", () => {
  const prng = new Prng(3);
  const buffer = prng.fill(new Uint8Array(70_000));
  for (let i = 0; i < 400; i++) {
    const start = prng.below(9);
    const end = start + prng.below(prng.pick([40, 2000, 65_550]));
    const bytes = buffer.subarray(start, end);
    expect(finishSum(sumBytes(buffer, start, end))).toBe(plain(bytes));
  }
  const ones = new Uint8Array(65_550).fill(255);
  expect(finishSum(sumBytes(ones, 0, ones.length))).toBe(0);
});

test("data with its own checksum adds up", () => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 0, 0);
  const sum = finishSum(sumBytes(bytes, 0, 6));
  bytes.set([sum >>> 8, sum & 255], 4);
  expect(sumIsRight(sumBytes(bytes, 0, 6))).toBe(true);
  bytes[0] = 3;
  expect(sumIsRight(sumBytes(bytes, 0, 6))).toBe(false);
});
