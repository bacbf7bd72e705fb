import { createJumpProbe, type JumpProbe, PROBE_CALLS } from "@dejavm/machine";
import { describe, expect, it } from "vitest";
import { dispatchFor } from "./dispatch.ts";

/** Loops whose calls take so many nanoseconds each on the clock beside them; `late` at first. */
function timed(directNs: number, indirectNs: number, late = 0): [JumpProbe, () => number] {
  let ms = 0;
  let lateMs = late;
  const loop = (ns: number) => (rounds: number) => {
    ms += (rounds * PROBE_CALLS * ns) / 1e6 + lateMs;
    lateMs = 0;
    return 0;
  };
  return [{ direct: loop(directNs), indirect: loop(indirectNs) }, () => ms];
}

describe("the way to dispatch", () => {
  it.each([
    ["branches", 18, 30],
    ["branches", 2, 12],
    ["table", 18, 20],
    ["table", 2, 3],
  ] as const)(
    "is %s where a direct call takes %d ns and an indirect one %d",
    (way, direct, indirect) => {
      expect(dispatchFor(...timed(direct, indirect))).toBe(way);
    },
  );

  it("does not depend on a measurement that was disturbed", () => {
    expect(dispatchFor(...timed(2, 3, 50))).toBe("table");
  });

  it("is measured by loops that make the calls", () => {
    const { direct, indirect } = createJumpProbe();
    // Targets add 1, 2, 3 and 4 in turn.
    expect([direct(1), indirect(1)]).toEqual([80, 80]);
    expect([direct(3), indirect(3)]).toEqual([240, 240]);
  });
});
