/**
 * The one gate: format, lint, types, tidy, dead code, fast tests. Every step runs even when one
 * before it failed, so that one run tells everything; `--static` leaves the tests out.
 */
import { spawnSync } from "node:child_process";

interface Step {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

const STATIC_STEPS: readonly Step[] = [
  { name: "format", command: "biome", args: ["check", "."] },
  { name: "build", command: "tsc", args: ["-b"] },
  { name: "lint", command: "oxlint", args: ["--type-aware", "--deny-warnings"] },
  { name: "tidy", command: "node", args: ["tools/tidy.ts"] },
  { name: "knip", command: "knip", args: [] },
];
const TESTS: Step = { name: "tests", command: "vitest", args: ["run", "--project", "fast"] };

const steps = process.argv.includes("--static") ? STATIC_STEPS : [...STATIC_STEPS, TESTS];
const root = `${import.meta.dirname}/..`;
const failed: string[] = [];
for (const { name, command, args } of steps) {
  process.stdout.write(`\nok: ${name}\n`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error !== undefined) process.stdout.write(`cannot start ${command}: ${error.message}\n`);
  if (status !== 0) failed.push(name);
}
const verdict = failed.length === 0 ? "all well" : `failed: ${failed.join(", ")}`;
process.stdout.write(`\nok: ${verdict}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
