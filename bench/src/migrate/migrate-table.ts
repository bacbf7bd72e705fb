/** The benchmark of migrations as a table for people. */
import type { MigrateBenchResult, MigrateRun } from "./migrate-bench.ts";

const TITLES = [
  ["workload", 9],
  ["profile", 17],
  ["system", 25],
  ["total s", 9],
  ["silent ms", 11],
  ["client ms", 11],
  ["MB", 8],
  ["work", 7],
  ["lost", 6],
] as const;

/** Lines without colours. */
export function migrateTable({ qemuVersion, runs }: MigrateBenchResult): string {
  const lines = [TITLES.map(([title]) => title), ...runs.map(cells)].map((row) =>
    row
      .map((cell, at) => {
        const width = TITLES[at]?.[1] ?? 0;
        return at < 3 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join("")
      .trimEnd(),
  );
  return `${lines.join("\n")}\nQEMU ${qemuVersion}\n`;
}

function cells(run: MigrateRun): string[] {
  return [
    run.workload,
    run.profile,
    `${run.system} ${run.strategy}`,
    run.converged ? run.totalSeconds.toFixed(1) : "no end",
    String(run.silentMs),
    run.clientLongestMs === null ? "" : String(run.clientLongestMs),
    (run.wireBytes / 1e6).toFixed(1),
    run.workDoneRatio === null ? "" : `${Math.round(run.workDoneRatio * 100)} %`,
    run.lostAcknowledged === null ? "" : String(run.lostAcknowledged),
  ];
}
