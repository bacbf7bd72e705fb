/** `dejavm migrate` and `dejavm migrations`. */
import {
  agentSocket,
  ControlClient,
  findVmNamed,
  type MigrationWish,
  migrationsSchema,
  startMigration,
  stateDirectory,
} from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import type { MigrationReport } from "@dejavm/source-agent";
import { usageError } from "../errors.ts";
import { exitStatus } from "../exit-status.ts";
import { textProgress } from "../progress.ts";
import { progressText, reportText } from "./migration-text.ts";

/** Options as commander gives them. */
export interface MigrateOptions {
  readonly to: string;
  readonly maxDowntime?: string;
  readonly minSpeed?: string;
  readonly bandwidth?: string;
  readonly ifNotConverging?: "slow" | "copy" | "cancel";
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly stateDir?: string;
}

/**
 * Moves a machine, shows how far it is; Ctrl-C cancels, and the machine goes on where it was.
 * Gives 0 once it has moved, or was rehearsed. Throws why it has not.
 */
export async function migrate(name: string, options: MigrateOptions): Promise<number> {
  const request = {
    to: options.to,
    maxDowntimeMs: milliseconds(options.maxDowntime ?? "100ms"),
    minSpeed: share(options.minSpeed ?? "50%"),
    ifNotConverging: options.ifNotConverging ?? "slow",
    dryRun: options.dryRun === true,
    ...(options.bandwidth === undefined ? {} : { bandwidthMbit: mbit(options.bandwidth) }),
  };
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  const output = options.json === true ? undefined : process.stderr;
  const report = await followMigration(client, name, request, output);
  if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
  else process.stdout.write(reportText(report));
  const { outcome } = report;
  if (outcome.kind !== "stayed") return exitStatus.ok;
  const { code, message, phase, hint } = outcome;
  const text = `${name} goes on here: ${message} (phase: ${phase})`;
  throw new CodedError(code, text, hint === undefined ? {} : { hint });
}

/** Begins a migration and shows it on `output` until it has ended; SIGINT cancels it. */
export async function followMigration(
  client: ControlClient,
  name: string,
  wish: MigrationWish,
  output: NodeJS.WriteStream | undefined,
): Promise<MigrationReport> {
  const line = output && textProgress(output);
  const migration = await startMigration(client, name, wish, (progress) => {
    line?.show(progress.phase, progressText(progress));
  });
  process.on("SIGINT", migration.cancel);
  try {
    return await migration.report;
  } finally {
    process.off("SIGINT", migration.cancel);
    line?.done();
  }
}

/** Lists what the agent remembers, the newest first; or shows one of them. */
export async function migrations(
  id: string | undefined,
  options: Pick<MigrateOptions, "json" | "stateDir">,
): Promise<void> {
  const client = new ControlClient(agentSocket(stateDirectory(options.stateDir)));
  const path = "/v1/migrations";
  const { migrations: all } = await client.ask({ method: "GET", path, answer: migrationsSchema });
  const reports = all.map(({ atMs, report }) => ({
    atMs,
    report: report as unknown as MigrationReport,
  }));
  if (id === undefined) {
    if (options.json === true) {
      process.stdout.write(`${JSON.stringify(reports)}\n`);
      return;
    }
    for (const { atMs, report } of reports) {
      const { migration, name, outcome, totalMs } = report;
      const when = new Date(atMs).toISOString().slice(0, 19);
      process.stdout.write(
        `${migration}  ${when}  ${name}  ${outcome.kind}  ${(totalMs / 1000).toFixed(1)} s\n`,
      );
    }
    return;
  }
  const found = reports.find(({ report }) => report.migration === id);
  if (found === undefined) {
    throw usageError(`there is no migration ${id}`, "`dejavm migrations ls` lists them");
  }
  const text =
    options.json === true ? `${JSON.stringify(found.report)}\n` : reportText(found.report);
  process.stdout.write(text);
}

function milliseconds(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s)$/.exec(text);
  const value = Number(match?.[1]) * (match?.[2] === "s" ? 1000 : 1);
  if (value >= 1 && value <= 60_000) return value;
  throw usageError(`cannot use --max-downtime ${text}`, "want 1ms to 60s, such as 100ms");
}

function share(text: string): number {
  const value = Number(/^(\d+(?:\.\d+)?)%$/.exec(text)?.[1]) / 100;
  if (value >= 0.01 && value <= 1) return value;
  throw usageError(`cannot use --min-speed ${text}`, "want 1% to 100%");
}

function mbit(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kMG])bit$/.exec(text);
  const factor = { k: 0.001, M: 1, G: 1000 }[match?.[2] ?? ""] ?? Number.NaN;
  const value = Number(match?.[1]) * factor;
  if (value >= 0.01) return value;
  throw usageError(`cannot use --bandwidth ${text}`, "want a rate such as 50Mbit");
}
