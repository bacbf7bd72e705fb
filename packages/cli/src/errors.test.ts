import { CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { describeError, statusOf, usageError } from "./errors.ts";

describe("errors on the command line", () => {
  test("a coded error is one line and its hint, without a stack", () => {
    const error = new CodedError("E_DISK_FULL", "cannot write: no space\nsecond", { hint: "free" });
    expect(describeError(error, false)).toBe(
      "dejavm: E_DISK_FULL cannot write: no space\n  hint: free\n",
    );
  });

  test("anything else is said to be our defect; the stack comes only when asked for", () => {
    const error = new Error("boom");
    expect(describeError(error, false)).toMatch(
      /^dejavm: E_INTERNAL boom\n {2}hint: .*DEJAVM_DEBUG=1.*\n$/,
    );
    expect(describeError(error, true)).toContain("errors.test.ts");
  });

  test("usage errors end with 2, others with 1", () => {
    expect(statusOf(usageError("a", "b"))).toBe(2);
    expect(statusOf(new CodedError("E_DISK_FULL", "x"))).toBe(1);
    expect(statusOf(new Error("x"))).toBe(1);
  });
});
