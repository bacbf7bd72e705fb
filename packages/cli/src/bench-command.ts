/** `dejavm bench engine`: runs the benchmark of bench/, prints its table or JSON. */
import { CodedError } from "@dejavm/base";
import { exitStatus } from "./exit-status.ts";
import { parseCount } from "./parse.ts";

/** The benchmarks are a workspace member of their own, and not part of an installed dejavm. */
const BENCH_PACKAGE: string = "@dejavm/bench";

interface BenchOptions {
  readonly rounds?: number;
  readonly programs: readonly string[];
}

interface EngineBench {
  runEngineBench(options: BenchOptions, progress: (line: string) => void): Promise<unknown>;
  engineTable(report: unknown): string;
}

/** Gives the exit status. Throws E_FEATURE_MISSING where bench/ is absent. */
export async function benchEngine(options: {
  readonly rounds?: string;
  readonly program: readonly string[];
  readonly json?: boolean;
}): Promise<number> {
  const bench = await loadBench();
  const { rounds, program: programs, json } = options;
  const counted = rounds === undefined ? {} : { rounds: Number(parseCount(rounds, "--rounds")) };
  const report = await bench.runEngineBench({ ...counted, programs }, (line) => {
    process.stderr.write(`${line}\n`);
  });
  process.stdout.write(json === true ? `${JSON.stringify(report)}\n` : bench.engineTable(report));
  return exitStatus.ok;
}

async function loadBench(): Promise<EngineBench> {
  const loaded: unknown = await import(BENCH_PACKAGE).catch(() => undefined);
  if (isEngineBench(loaded)) return loaded;
  throw new CodedError("E_FEATURE_MISSING", "the engine benchmark is not part of this dejavm", {
    hint: "run it from a clone of the repository",
  });
}

function isEngineBench(value: unknown): value is EngineBench {
  return (
    typeof value === "object" &&
    value !== null &&
    "runEngineBench" in value &&
    "engineTable" in value
  );
}
