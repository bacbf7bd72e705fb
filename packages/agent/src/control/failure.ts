/** Errors on their way through the control socket: coded ones arrive as what they were. */
import { CodedError } from "@dejavm/base";
import type { Failure } from "./api.ts";

/** What is answered for `error`. What is no `CodedError` is a defect of ours. */
export function toFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof CodedError)) return { error: { code: "E_INTERNAL", message } };
  const hint: string | undefined = error.hint;
  const code = String(error.code);
  return { error: hint === undefined ? { code, message } : { code, message, hint } };
}

/** The error that `toFailure` was given. */
export function fromFailure({ error: { code, message, hint } }: Failure): CodedError {
  return new CodedError(code, message, hint === undefined ? {} : { hint });
}

/** The HTTP status that goes with an error's code. */
export function httpStatus(error: unknown): number {
  if (!(error instanceof CodedError)) return 500;
  const code = String(error.code);
  if (code.endsWith("_UNKNOWN") || code === "E_AGENT_ABSENT") return 404;
  if (code.endsWith("_EXISTS") || code === "E_VM_STATE") return 409;
  return 400;
}
