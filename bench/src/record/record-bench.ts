/** What recording costs: pairs of runs, recorded and not, one after the other in turns. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { median } from "../stats.ts";
import { RECORD_WORKLOADS, type RecordWorkload } from "./record-programs.ts";

/** What is measured how often. */
export interface RecordBenchOptions {
  readonly pairs?: number;
  /** Names; none: all of them. */
  readonly workloads: readonly string[];
}

/** One workload's figures: medians over the pairs. */
export interface RecordResult {
  readonly name: string;
  /** CPU time of the whole process, recorded over unrecorded, for the same work. */
  readonly overheadRatio: number;
  readonly traceBytesPerSecond: number;
  readonly bytesPerKiloInstruction: number;
  /** Speed of the replay, in positions a second, over that of the recorded run. */
  readonly replaySpeed: number;
  /** Every pair's ratio, in order. */
  readonly ratios: readonly number[];
}

/** All of it. */
export interface RecordBenchResult {
  readonly workloads: readonly RecordResult[];
}

const DEFAULT_PAIRS = 11;

const measurement = z.object({
  cpuSeconds: z.number(),
  wallSeconds: z.number(),
  positions: z.number(),
  traceBytes: z.number(),
  replayedPositions: z.number(),
  replaySeconds: z.number(),
});
type Measurement = z.infer<typeof measurement>;

/** Runs it; `progress` gets a line after each pair. */
export function runRecordBench(
  { pairs = DEFAULT_PAIRS, workloads }: RecordBenchOptions,
  progress: (line: string) => void,
): RecordBenchResult {
  const chosen = RECORD_WORKLOADS.filter(({ name }) => {
    return workloads.length === 0 || workloads.includes(name);
  });
  return { workloads: chosen.map((workload) => measureWorkload(workload, pairs, progress)) };
}

function measureWorkload(
  { name }: RecordWorkload,
  pairs: number,
  progress: (line: string) => void,
): RecordResult {
  const recorded: Measurement[] = [];
  const ratios: number[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    const order =
      pair % 2 === 0 ? (["plain", "recorded"] as const) : (["recorded", "plain"] as const);
    const [first, second] = order.map((mode) => runChild(name, mode));
    if (first === undefined || second === undefined) throw new Error("two runs make a pair");
    const [plain, kept] = pair % 2 === 0 ? [first, second] : [second, first];
    // The same work: an answer's guest spins between answers, others go to a position.
    ratios.push(kept.cpuSeconds / plain.cpuSeconds);
    recorded.push(kept);
    progress(`${name} ${pair + 1}/${pairs}: ${(ratios.at(-1) ?? 0).toFixed(4)}`);
  }
  const of = (figure: (run: Measurement) => number): number => median(recorded.map(figure));
  return {
    name,
    overheadRatio: median(ratios),
    traceBytesPerSecond: of(({ traceBytes, wallSeconds }) => traceBytes / wallSeconds),
    bytesPerKiloInstruction: of(({ traceBytes, positions }) => (traceBytes / positions) * 1000),
    replaySpeed: of(({ replayedPositions, replaySeconds, positions, wallSeconds }) => {
      return replayedPositions / replaySeconds / (positions / wallSeconds);
    }),
    ratios,
  };
}

function runChild(workload: string, mode: "plain" | "recorded"): Measurement {
  const directory = mkdtempSync(join(tmpdir(), "dejavm-bench-record-"));
  try {
    const fromSource = import.meta.url.endsWith(".ts");
    const file = new URL(`./record-child.${fromSource ? "ts" : "js"}`, import.meta.url);
    const flags = fromSource ? ["--conditions=source"] : [];
    const text = execFileSync(
      process.execPath,
      [...flags, fileURLToPath(file), workload, directory, mode],
      { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] },
    );
    return measurement.parse(JSON.parse(text));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** For people. */
export function recordTable({ workloads }: RecordBenchResult): string {
  const head = "workload    CPU recorded/not   trace B/s   B/1000 instr.   replay speed\n";
  const rows = workloads.map((row) =>
    [
      row.name.padEnd(12),
      row.overheadRatio.toFixed(4).padStart(16),
      row.traceBytesPerSecond.toFixed(0).padStart(12),
      row.bytesPerKiloInstruction.toExponential(2).padStart(16),
      row.replaySpeed.toFixed(2).padStart(15),
    ].join(""),
  );
  return `${head}${rows.join("\n")}\n`;
}
