import { describe, expect, test } from "vitest";
import { parseCount, parseSize, parseWallTime } from "./parse.ts";

const usage: unknown = expect.objectContaining({ code: "E_USAGE" });

function attempt(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return error;
  }
}

describe("sizes", () => {
  test.each([
    ["256M", 2 ** 28],
    ["1g", 2 ** 30],
    ["98304KiB", 98304 * 1024],
    ["2GB", 2 ** 31],
  ])("%s is %i bytes", (text, bytes) => {
    expect(parseSize(text, "--memory")).toBe(bytes);
  });

  test.each(["", "256", "-1M", "1.5G", "1T", "M", "9999999999G", "1 M"])("%j is none", (text) => {
    expect(attempt(() => parseSize(text, "--memory"))).toEqual(usage);
  });
});

describe("counts", () => {
  test.each([
    ["1", 1n],
    ["5_000", 5000n],
    ["3e9", 3_000_000_000n],
  ])("%s is %s", (text, count) => {
    expect(parseCount(text, "--max-instructions")).toBe(count);
  });

  test.each(["0", "-1", "1.5", "", "e9", "1e99", "0x10", "9e18e1"])("%j is none", (text) => {
    expect(attempt(() => parseCount(text, "--max-instructions"))).toEqual(usage);
  });
});

describe("dates", () => {
  test("now and ISO dates are nanoseconds since 1970", () => {
    expect(parseWallTime("now", 1234)).toBe(1_234_000_000n);
    expect(parseWallTime("1970-01-02T00:00:00Z", 0)).toBe(86_400_000_000_000n);
  });

  test.each(["yesterday", "1960-01-01", ""])("%j is none", (text) => {
    expect(attempt(() => parseWallTime(text, 0))).toEqual(usage);
  });
});
