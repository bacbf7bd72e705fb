/** How long an agent is tried that has not been reached yet. */
import { CodedError } from "@dejavm/base";

/** Where something says that there is no agent: it may be about to start. */
const REFUSED_MS = 10_000;
/** Where nothing answers: so long a path may be cut, and somebody may wait who would rather not. */
const SILENT_MS = 90_000;
/** What hosts say of an address at which nobody listens, and of a name that is none. */
const REFUSALS: readonly unknown[] = ["ECONNREFUSED", "ENOTFOUND"];

/**
 * For so many milliseconds after the first try another one is worth it; 0: what went wrong is not
 * that nobody answers.
 */
export function reachMs(error: unknown): number {
  if (!(error instanceof CodedError) || error.code !== "E_PEER_UNREACHABLE") return 0;
  return REFUSALS.includes(hostCodeOf(error.cause)) ? REFUSED_MS : SILENT_MS;
}

/** The host's own code; of several tries for one name, of the first. */
function hostCodeOf(cause: unknown): unknown {
  if (cause instanceof AggregateError) return hostCodeOf(cause.errors[0]);
  return cause instanceof Error && "code" in cause ? cause.code : undefined;
}
