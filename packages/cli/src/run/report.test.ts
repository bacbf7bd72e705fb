import type { EndReason, EndReport } from "@dejavm/vm";
import { describe, expect, test } from "vitest";
import { guestStatus, type HostReason, runJson, runStatus } from "./report.ts";

function end(reason: EndReason): EndReport {
  return {
    reason,
    position: 1200n,
    ticks: 25_000_000n,
    instructions: 1100n,
    restarts: 1,
    digest: "ab",
  };
}

describe("exit status", () => {
  test.each([
    [0, 0],
    [1, 1],
    [255, 255],
    [256, 1],
    [0x1_0007, 7],
  ])("a guest's %i is %i", (status, expected) => {
    expect(guestStatus(status)).toBe(expected);
  });

  test.each([
    [{ kind: "power-off", status: 0 }, undefined, 0],
    [{ kind: "power-off", status: 9 }, { kind: "quit" }, 9],
    [{ kind: "reset" }, undefined, 0],
    [{ kind: "limit" }, { kind: "limit" }, 3],
    [{ kind: "stopped" }, { kind: "quit" }, 0],
    [{ kind: "stopped" }, { kind: "signal", name: "SIGINT" }, 130],
    [{ kind: "stopped" }, { kind: "signal", name: "SIGTERM" }, 143],
    [{ kind: "stopped" }, { kind: "exec", status: 5 }, 5],
  ] as [EndReason, HostReason | undefined, number][])(
    "%j with %j is %i",
    (reason, host, status) => {
      expect(runStatus(end(reason), host)).toBe(status);
    },
  );
});

test("the report is one line of JSON", () => {
  const text = runJson({
    end: end({ kind: "stopped" }),
    host: { kind: "exec", status: 4 },
    wallSeconds: 1.23456,
    startPosition: 200n,
  });
  expect(text.endsWith("}\n")).toBe(true);
  expect(JSON.parse(text)).toEqual({
    exitReason: "exec",
    status: 4,
    position: 1200,
    positionsRun: 1000,
    restarts: 1,
    instructions: 1100,
    virtualSeconds: 2.5,
    wallSeconds: 1.235,
    digest: "ab",
  });
});
