import { CodedError } from "@dejavm/base";
import type { Reason } from "./messages.ts";

/** What an error tells the other side's people; `otherwise`: the code of one that has none. */
export function reasonOf(error: unknown, otherwise = "E_INTERNAL"): Reason {
  if (!(error instanceof CodedError)) return { code: otherwise, message: String(error) };
  const { message, hint } = error;
  return { code: String(error.code), message, ...(hint === undefined ? {} : { hint }) };
}
