/** What is told when a replay does not do what the trace says. */
import type { Place, Position, StopReason, Ticks } from "@dejavm/machine";
import type { TraceRecord } from "./record.ts";

/** How a replaying machine departed from the trace. */
export type DivergenceReason =
  /** The state is another one. */
  | { readonly kind: "digest"; readonly expected: string; readonly actual: string }
  /** The machine went beyond the next record, or was given a trace that begins before it. */
  | { readonly kind: "beyond"; readonly expected: Position }
  /** At the right position, virtual time is another one. */
  | { readonly kind: "time"; readonly expected: Ticks; readonly actual: Ticks }
  /** It waits for an interrupt that never comes, or stopped, and the trace goes on. */
  | { readonly kind: "stopped"; readonly expected: Position; readonly stop: StopReason }
  /** The trace says that the machine stopped, and it did not. */
  | { readonly kind: "not-stopped"; readonly expected: string };

/** Where and how; see `DivergenceReason`. */
export interface Divergence {
  readonly reason: DivergenceReason;
  /** Where the replaying machine stands. */
  readonly place: Place;
  /** The last place at which a digest was equal; undefined: none was, yet. */
  readonly matched: Place | undefined;
  /** Records around: those applied last, and those not applied, the one at fault first. */
  readonly before: readonly TraceRecord[];
  readonly after: readonly TraceRecord[];
}
