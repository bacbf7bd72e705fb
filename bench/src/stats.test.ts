import { describe, expect, test } from "vitest";
import { geometricMean, median } from "./stats.ts";

describe("median", () => {
  test("is the middle value, or the mean of the two in the middle", () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([9, 1, 5, 7])).toBe(6);
    expect(median([])).toBeNaN();
  });
});

describe("geometricMean", () => {
  test("is the root of the product", () => {
    expect(geometricMean([0.5, 2])).toBeCloseTo(1);
    expect(geometricMean([1, 8, 27])).toBeCloseTo(6);
  });
});
