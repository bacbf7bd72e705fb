import { type MigrationReport, notBegunReport } from "@dejavm/source-agent";
import { expect, test } from "vitest";
import { progressText, reportText } from "./migration-text.ts";

const PROGRESS = {
  phase: "checkpoint",
  share: 1,
  bytesPerMs: 6000,
  sentBytes: 1_500_000,
  pendingPages: 2000,
  why: "a checkpoint is under way",
};

test.each([
  [PROGRESS, "checkpoint, 1.5 MB sent, 48 Mbit/s, 2000 pages left"],
  [
    { ...PROGRESS, pendingMs: 2340 },
    "checkpoint, 1.5 MB sent, 48 Mbit/s, 2000 pages left, ETA 2.3 s",
  ],
  [{ ...PROGRESS, pendingPages: 0 }, "checkpoint, 1.5 MB sent, 48 Mbit/s"],
  [
    { ...PROGRESS, pendingPages: 0, pendingMs: 0 },
    "checkpoint, 1.5 MB sent, 48 Mbit/s, all pages sent",
  ],
  [
    {
      ...PROGRESS,
      phase: "chase",
      pendingPages: 0,
      share: 0.5,
      lagMs: 12,
      predictedDowntimeMs: 90.4,
    },
    "chase, 1.5 MB sent, 48 Mbit/s, lag 12 ms, guest at 50 %, pause 90 ms",
  ],
  [
    { ...PROGRESS, phase: "files", pendingPages: 0, why: "base 0, 7 %" },
    "files, 1.5 MB sent, 48 Mbit/s, base 0, 7 %",
  ],
])("progress in one line", (progress, text) => {
  expect(progressText(progress)).toBe(text);
});

test("a report says what the migration waited for, the longest first", () => {
  const reason = { code: "E_TEST", message: "no", hint: undefined };
  const report = notBegunReport({ migration: "m", lineage: "l", name: "web" }, reason, 5000);
  const { limitedByMs: _, ...kept } = report;
  for (const without of [report, kept as MigrationReport]) {
    expect(reportText(without)).not.toContain("limited");
  }
  const limitedByMs = { outage: 0, path: 400, hosts: 3210, replay: 9 };
  expect(reportText({ ...report, limitedByMs })).toContain(
    "\n  limited    by hosts 3.21 s, path 0.40 s\n",
  );
});
