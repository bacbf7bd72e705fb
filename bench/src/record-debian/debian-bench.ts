/**
 * What recording costs a Debian: pairs of runs of the same work, recorded and not, each in a
 * process of its own from one snapshot; how the trace grows; how fast it is replayed.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { requireHostTool } from "@dejavm/debian";
import { buildImage, imageSpec, type ResolvedImage } from "@dejavm/image";
import { runLogStoreBench } from "../log-store.ts";
import { median } from "../stats.ts";
import { bootToSnapshot, type GuestSnapshot } from "./guest.ts";
import { measureQemuRecord, type QemuRecorded } from "./qemu-record.ts";
import { type RunFigures, WORKLOADS, type WorkloadName } from "./workloads.ts";

/** What the log store is given: long enough that its threads' start does not count. */
const STORE = { guestMib: 1024, dirtyMib: 50, events: 100_000 } as const;

/** What is measured, and how often. */
export interface DebianRecordOptions {
  /** Pairs of runs of each workload; the medians count. */
  readonly pairs: number;
  /** Empty: all. */
  readonly workloads: readonly string[];
  /** Beside QEMU's record/replay. */
  readonly withQemu: boolean;
}

/** Medians over the pairs of one workload. */
export interface RecordedWorkload extends Partial<QemuRecorded> {
  readonly name: string;
  /** CPU time recorded / not recorded, for the same work. */
  readonly overheadRatio: number;
  readonly pairs: number;
  /** Stored bytes of trace per second of live execution. */
  readonly traceBytesPerSecond: number;
  readonly bytesPerKiloInstruction: number;
  /** Stored bytes of trace per byte of frames that the guest received. */
  readonly traceBytesPerReceivedByte: number | null;
  /** Recorded wall time / wall time of its replay. */
  readonly replaySpeed: number;
  /** CPU time of the recorded run / CPU time of its replay. */
  readonly replayCpuRatio: number;
  /** Digests of the recordings that the replays had, too. */
  readonly digestsCompared: number;
}

/** Everything that `dejavm bench record --debian` finds. */
export interface DebianRecordResult {
  readonly workloads: readonly RecordedWorkload[];
  readonly checkpointPauseMs: { readonly median: number; readonly max: number };
  /** Pages taken in by the store, and looked at by `verify`: MB (10^6) per second. */
  readonly appendMBps: number;
  readonly verifyMBps: number;
  /** Input events that the store takes in per second, 50 to a commit. */
  readonly eventsPerSecond: number;
}

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const CHILD = fileURLToPath(new URL(`./debian-child.${EXTENSION}`, import.meta.url));
const TIMEOUT_MS = 300_000;

/** Throws E_IMAGE_* and what the image's packages throw. */
export async function runDebianRecordBench(
  options: DebianRecordOptions,
  onProgress: (line: string) => void,
): Promise<DebianRecordResult> {
  const { image } = await buildImage(imageSpec());
  const folder = mkdtempSync(join(tmpdir(), "dejavm-bench-record-"));
  try {
    onProgress("booting Debian once");
    const snapshot = await bootToSnapshot(image, join(folder, "snapshot"));
    const names = WORKLOADS.filter((name) => {
      return options.workloads.length === 0 || options.workloads.includes(name);
    });
    const workloads: RecordedWorkload[] = [];
    const pauses: number[] = [];
    for (const name of names) {
      const pairs: Pair[] = [];
      for (let i = 0; i < options.pairs; i++) {
        pairs.push(await runPair({ folder, snapshot, name, recordedFirst: i % 2 === 1 }));
        onProgress(`${name}: pair ${i + 1} of ${options.pairs}`);
      }
      workloads.push(summary(name, pairs));
      pauses.push(...pairs.flatMap(({ recorded }) => recorded.recording?.checkpointPauseMs ?? []));
    }
    const qemu = options.withQemu ? await measureQemu(image, folder, onProgress) : undefined;
    onProgress("log store");
    const store = await runLogStoreBench(STORE);
    return {
      workloads: workloads.map((row, i) => ({ ...row, ...qemu?.get(names[i] ?? "idle") })),
      checkpointPauseMs: { median: median(pauses), max: Math.max(...pauses) },
      appendMBps: store.appendMBps,
      verifyMBps: store.verifyMBps,
      eventsPerSecond: store.eventsPerSecond,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function measureQemu(
  image: ResolvedImage,
  folder: string,
  onProgress: (line: string) => void,
): Promise<ReadonlyMap<WorkloadName, QemuRecorded>> {
  const qemu = await requireHostTool("qemu-system-riscv64", () => undefined);
  return measureQemuRecord({ qemu, image, folder }, onProgress);
}

interface Pair {
  readonly plain: RunFigures;
  readonly recorded: RunFigures;
}

/** One after the other, in turns first: what the host does meanwhile hits both. */
async function runPair(options: {
  readonly folder: string;
  readonly snapshot: GuestSnapshot;
  readonly name: WorkloadName;
  readonly recordedFirst: boolean;
}): Promise<Pair> {
  const { folder, snapshot, name, recordedFirst } = options;
  const store = join(folder, "store");
  const runs: Record<"plain" | "recorded", RunFigures | undefined> = {
    plain: undefined,
    recorded: undefined,
  };
  const order = recordedFirst ? (["recorded", "plain"] as const) : (["plain", "recorded"] as const);
  for (const kind of order) {
    runs[kind] = await runChild([JSON.stringify(snapshot), name, kind === "plain" ? "" : store]);
    rmSync(store, { recursive: true, force: true });
  }
  const { plain, recorded } = runs;
  if (plain === undefined || recorded === undefined) throw new Error("both have run");
  return { plain, recorded };
}

async function runChild(args: readonly string[]): Promise<RunFigures> {
  const child = spawn(process.execPath, [...process.execArgv, CHILD, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: TIMEOUT_MS,
  });
  let [output, errors] = ["", ""];
  child.stdout.on("data", (bytes: Buffer) => (output += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (errors += bytes.toString()));
  await once(child, "close");
  if (child.exitCode !== 0) throw new Error(`a run ended with ${child.exitCode}: ${errors}`);
  return JSON.parse(output) as RunFigures;
}

function summary(name: string, pairs: readonly Pair[]): RecordedWorkload {
  const of = (figure: (pair: Pair, recording: Recording) => number): number =>
    median(pairs.map((pair) => figure(pair, recordingOf(pair))));
  return {
    name,
    pairs: pairs.length,
    overheadRatio: of(({ plain, recorded }) => recorded.cpuSeconds / plain.cpuSeconds),
    traceBytesPerSecond: of(({ recorded }, { traceBytes }) => traceBytes / recorded.wallSeconds),
    bytesPerKiloInstruction: of(
      ({ recorded }, { traceBytes }) => traceBytes / (recorded.positions / 1000),
    ),
    traceBytesPerReceivedByte:
      name === "network"
        ? of(({ recorded }, { traceBytes }) => traceBytes / recorded.receivedBytes)
        : null,
    replaySpeed: of(({ recorded }, { replaySeconds }) => recorded.wallSeconds / replaySeconds),
    replayCpuRatio: of(({ recorded }, { replayCpuSeconds }) => {
      return recorded.cpuSeconds / replayCpuSeconds;
    }),
    digestsCompared: pairs.reduce((sum, pair) => sum + recordingOf(pair).digests, 0),
  };
}

type Recording = NonNullable<RunFigures["recording"]>;

function recordingOf({ recorded }: Pair): Recording {
  if (recorded.recording === undefined) throw new Error("it was recorded");
  return recorded.recording;
}

/** As a table for people. */
export function debianRecordTable(result: DebianRecordResult): string {
  const number = (value: number, digits: number): string => value.toFixed(digits).padStart(12);
  const head = ["workload", "overhead %", "trace B/s", "B/kinstr", "replay x", "CPU x"];
  const rows = result.workloads.map((row) =>
    [
      row.name.padEnd(12),
      number((row.overheadRatio - 1) * 100, 2),
      number(row.traceBytesPerSecond, 0),
      number(row.bytesPerKiloInstruction, 4),
      number(row.replaySpeed, 2),
      number(row.replayCpuRatio, 2),
      row.traceBytesPerReceivedByte === null
        ? ""
        : `  ${row.traceBytesPerReceivedByte.toFixed(3)} bytes of trace per byte received`,
    ].join(""),
  );
  const beside = result.workloads.flatMap((row) => {
    const {
      qemuOverheadRatio: ratio,
      qemuTraceBytesPerSecond: bytes,
      qemuReplaySpeed: speed,
    } = row;
    if (ratio === undefined || bytes === undefined || speed === undefined) return [];
    return [
      `QEMU ${row.name}`.padEnd(12) +
        number((ratio - 1) * 100, 2) +
        number(bytes, 0) +
        number(Number.NaN, 0).replace("NaN", "  -") +
        number(speed, 2),
    ];
  });
  const { median: usual, max } = result.checkpointPauseMs;
  return [
    `${head[0]?.padEnd(12)}${head
      .slice(1)
      .map((name) => name.padStart(12))
      .join("")}`,
    ...rows,
    ...beside,
    `checkpoint pause ${usual.toFixed(2)} ms, at most ${max.toFixed(2)} ms`,
    `log store: ${result.appendMBps.toFixed(0)} MB/s in, ` +
      `${result.verifyMBps.toFixed(0)} MB/s verified, ` +
      `${(result.eventsPerSecond / 1000).toFixed(0)} thousand events/s`,
    "",
  ].join("\n");
}
