#!/usr/bin/env node
/**
 * `dejavm`: parses the command line and hands over to a command, which is loaded only then. Exits
 * with the command's status; errors are one line on stderr, and no stack unless DEJAVM_DEBUG=1.
 */
import { CommanderError } from "commander";
import { describeError, statusOf } from "./errors.ts";
import { exitStatus } from "./exit-status.ts";
import { makeProgram } from "./program.ts";
import { flushed } from "./run/terminal.ts";

const debug = process.env["DEJAVM_DEBUG"] === "1";

function fail(error: unknown): void {
  process.stderr.write(describeError(error, debug));
  process.exitCode = statusOf(error);
}

/** A reader of our output that goes away (`dejavm ... | head`) ends us without a complaint. */
function endOnBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(exitStatus.ok);
  throw error;
}

process.stdout.on("error", endOnBrokenPipe);
process.stderr.on("error", endOnBrokenPipe);
process.on("uncaughtException", (error) => {
  fail(error);
  process.exit();
});

try {
  await makeProgram((status) => {
    process.exitCode = status;
  }).parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) fail(error);
  else process.exitCode = error.exitCode === 0 ? exitStatus.ok : exitStatus.usage;
}
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
// Whatever is still open (a silent standard input, a helper's socket) must not hold us.
process.exit();
