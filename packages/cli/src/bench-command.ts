/** `dejavm bench engine`: runs the benchmark of bench/, prints its table or JSON. */
import { exitStatus } from "./exit-status.ts";
import { parseCount } from "./parse.ts";

/** Options as commander gives them. */
export interface BenchEngineOptions {
  readonly rounds?: string;
  readonly programs?: string;
  /** False: `--no-icount` was given. */
  readonly icount: boolean;
  readonly json?: boolean;
}

/** Gives the exit status. Throws E_TOOL_MISSING where QEMU or the cross compiler cannot be had. */
export async function benchEngine(options: BenchEngineOptions): Promise<number> {
  const { engineTable, runEngineBench } = await import("@dejavm/bench");
  const { rounds, icount, json } = options;
  const programs = options.programs?.split(",").filter((name) => name !== "") ?? [];
  const counted = rounds === undefined ? {} : { rounds: Number(parseCount(rounds, "--rounds")) };
  const report = await runEngineBench({ ...counted, programs, icount }, (line) => {
    process.stderr.write(`${line}\n`);
  });
  process.stdout.write(json === true ? `${JSON.stringify(report)}\n` : engineTable(report));
  return exitStatus.ok;
}
