/** What the command line says when something fails: one line, and one with the remedy. */
import { CodedError } from "@dejavm/base";
import { exitStatus } from "./exit-status.ts";

/** Codes of this package; docs/errors.md has their causes and remedies. */
export type CliErrorCode = "E_USAGE" | "E_GUEST_ENDED" | "E_DEMO_FAILED" | "E_INTERNAL";

/** The command line itself is wrong. */
export function usageError(message: string, hint: string): CodedError<CliErrorCode> {
  return new CodedError("E_USAGE", message, { hint });
}

/**
 * `error` as lines for stderr. What is no `CodedError` is a defect of ours, and is said to be. With
 * `debug` the stack follows.
 */
export function describeError(error: unknown, debug: boolean): string {
  const coded: CodedError | undefined = error instanceof CodedError ? error : undefined;
  const code = coded?.code ?? "E_INTERNAL";
  const message = error instanceof Error ? error.message : String(error);
  const [firstLine = "no message"] = message.split("\n");
  const defect = "this is a defect of dejavm: DEJAVM_DEBUG=1 shows where";
  const hint = coded === undefined ? defect : coded.hint;
  const lines = [`dejavm: ${code} ${firstLine}`];
  if (hint !== undefined) lines.push(`  hint: ${hint}`);
  if (debug && error instanceof Error) lines.push(error.stack ?? "");
  return `${lines.join("\n")}\n`;
}

/** The exit status that `error` stands for. */
export function statusOf(error: unknown): number {
  const usage = error instanceof CodedError && error.code === "E_USAGE";
  return usage ? exitStatus.usage : exitStatus.error;
}
