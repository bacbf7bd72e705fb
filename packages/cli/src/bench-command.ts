/** `dejavm bench`: runs a benchmark of bench/, prints its table or JSON. */
import { usageError } from "./errors.ts";
import { exitStatus } from "./exit-status.ts";
import { parseCount } from "./parse.ts";
import { textTable } from "./text-table.ts";

/** Options as commander gives them. */
export interface BenchEngineOptions {
  readonly rounds?: string;
  readonly programs?: string;
  /** False: `--no-icount` was given. */
  readonly icount: boolean;
  readonly engine: "auto" | "interpreter";
  readonly interpreter?: boolean;
  readonly again?: boolean;
  readonly json?: boolean;
}

/** Gives the exit status. Throws E_TOOL_MISSING where QEMU or the cross compiler cannot be had. */
export async function benchEngine(options: BenchEngineOptions): Promise<number> {
  const { engineTable, runEngineBench } = await import("@dejavm/bench");
  const { rounds, icount, engine, interpreter = false, again = false, json } = options;
  process.env["DEJAVM_BENCH_ENGINE"] = engine;
  const programs = options.programs?.split(",").filter((name) => name !== "") ?? [];
  const counted = rounds === undefined ? {} : { rounds: Number(parseCount(rounds, "--rounds")) };
  const wanted = { ...counted, programs, icount, interpreter, again };
  const report = await runEngineBench(wanted, (line) => {
    process.stderr.write(`${line}\n`);
  });
  process.stdout.write(json === true ? `${JSON.stringify(report)}\n` : engineTable(report));
  return exitStatus.ok;
}

/** Options of `bench network` as commander gives them. */
export interface BenchNetworkOptions {
  readonly rounds?: string;
  readonly row: readonly string[];
  readonly quick?: boolean;
  readonly json?: boolean;
}

/** Gives the exit status. Throws E_TOOL_MISSING, E_IMAGE_*. */
export async function benchNetwork(options: BenchNetworkOptions): Promise<number> {
  const { networkTable, runNetworkBench } = await import("@dejavm/bench");
  const { rounds, row: rows, quick = false, json } = options;
  const counted = rounds === undefined ? {} : { rounds: Number(parseCount(rounds, "--rounds")) };
  // As this very program was started, from sources or not.
  const dejavm = [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
  const report = await runNetworkBench({ ...counted, quick, rows, dejavm }, (line) => {
    process.stderr.write(`${line}\n`);
  });
  process.stdout.write(json === true ? `${JSON.stringify(report)}\n` : networkTable(report));
  return exitStatus.ok;
}

/** Options of `bench migrate` as commander gives them. */
export interface MigrateBenchCommand {
  readonly workload: readonly string[];
  readonly profile: readonly string[];
  readonly mode: readonly string[];
  readonly vs?: string;
  readonly reports?: string;
  readonly json?: boolean;
}

/** Gives the exit status. Throws E_TOOL_MISSING, E_IMAGE_*, E_USAGE. */
export async function benchMigrate(options: MigrateBenchCommand): Promise<number> {
  const { workload: workloads, profile: profiles, mode: qemuModes, vs, reports, json } = options;
  if (vs !== undefined && vs !== "qemu") {
    throw usageError(`cannot measure ${vs}`, "want --vs qemu");
  }
  const withQemu = vs === "qemu";
  const { migrateTable, runMigrateBench } = await import("@dejavm/bench");
  const wanted = { workloads, profiles, qemuModes, withQemu, reports };
  const result = await runMigrateBench(wanted, (line) => {
    process.stderr.write(`${line}\n`);
  });
  process.stdout.write(json === true ? `${JSON.stringify(result)}\n` : migrateTable(result));
  return exitStatus.ok;
}

/** Options of `bench cancel` as commander gives them. */
export interface CancelBenchCommand {
  readonly workload: readonly string[];
  readonly profile: string;
  readonly rounds: string;
  readonly json?: boolean;
}

/** Gives the exit status. Throws E_TOOL_MISSING, E_IMAGE_*, E_USAGE. */
export async function benchCancel(options: CancelBenchCommand): Promise<number> {
  const { runCancelBench } = await import("@dejavm/bench");
  const { workload: workloads, profile, json } = options;
  const rounds = Number(parseCount(options.rounds, "--rounds"));
  const result = await runCancelBench({ workloads, profile, rounds }, (line) => {
    process.stderr.write(`${line}\n`);
  });
  const rows = result.runs.map(({ silentMs, endedMs, ...run }) => [
    run.workload,
    run.profile,
    run.phase,
    run.outcome,
    String(silentMs),
    String(endedMs),
  ]);
  const titles = ["workload", "profile", "phase", "outcome", "silent ms", "ended ms"];
  process.stdout.write(
    json === true ? `${JSON.stringify(result)}\n` : textTable([titles, ...rows]),
  );
  return exitStatus.ok;
}

/** Options of `bench record` as commander gives them. */
export interface RecordBenchCommand {
  readonly pairs?: string;
  readonly workload: readonly string[];
  readonly json?: boolean;
  readonly debian?: boolean;
  readonly bare?: boolean;
  readonly vs?: string;
}

/** Gives the exit status. Throws E_USAGE; but for `bare` E_IMAGE_* and what building one throws. */
export async function benchRecord(options: RecordBenchCommand): Promise<number> {
  const bench = await import("@dejavm/bench");
  const { pairs, workload: workloads, json, bare, vs } = options;
  if (vs !== undefined && vs !== "qemu") throw usageError(`cannot measure ${vs}`, "want --vs qemu");
  const counted = pairs === undefined ? {} : { pairs: Number(parseCount(pairs, "--pairs")) };
  const tell = (line: string): void => void process.stderr.write(`${line}\n`);
  if (bare !== true) {
    const wanted = { pairs: 11, ...counted, workloads, withQemu: vs === "qemu" };
    const result = await bench.runDebianRecordBench(wanted, tell);
    const text = json === true ? `${JSON.stringify(result)}\n` : bench.debianRecordTable(result);
    process.stdout.write(text);
    return exitStatus.ok;
  }
  const result = bench.runRecordBench({ ...counted, workloads }, tell);
  process.stdout.write(json === true ? `${JSON.stringify(result)}\n` : bench.recordTable(result));
  return exitStatus.ok;
}
