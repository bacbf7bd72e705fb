/** `dejavm bench engine`: runs the benchmark of bench/, prints its table or JSON. */
import { exitStatus } from "./exit-status.ts";
import { parseCount } from "./parse.ts";

/** Gives the exit status. Throws E_TOOL_MISSING where QEMU or the cross compiler cannot be had. */
export async function benchEngine(options: {
  readonly rounds?: string;
  readonly program: readonly string[];
  readonly engine: "auto" | "interpreter";
  readonly json?: boolean;
}): Promise<number> {
  const { engineTable, runEngineBench } = await import("@dejavm/bench");
  const { rounds, program: programs, engine, json } = options;
  process.env["DEJAVM_BENCH_ENGINE"] = engine;
  const counted = rounds === undefined ? {} : { rounds: Number(parseCount(rounds, "--rounds")) };
  const report = await runEngineBench({ ...counted, programs }, (line) => {
    process.stderr.write(`${line}\n`);
  });
  process.stdout.write(json === true ? `${JSON.stringify(report)}\n` : engineTable(report));
  return exitStatus.ok;
}
