/**
 * What a migration would take, from what was measured while it was rehearsed: everything of it but
 * the hand-over. Pure; times are milliseconds.
 */
import type { Decision, Situation } from "./controller.ts";

/** What a rehearsal foretells. */
export interface Prediction {
  /** From the beginning to the machine living at the target; undefined: it cannot be told. */
  readonly totalMs: number | undefined;
  /** Undefined where the target would not come close at the guest's present speed. */
  readonly downtimeMs: number | undefined;
  readonly bytes: number;
  /** Whether the target keeps up with the guest as fast as it is now. */
  readonly converges: boolean;
  /** What it would wait for, or what it would do next, in words. */
  readonly why: string;
}

/** What a rehearsal has measured. */
export interface Rehearsed {
  readonly elapsedMs: number;
  readonly sentBytes: number;
  /** Undefined: the first checkpoint has not begun. */
  readonly situation: Situation | undefined;
  readonly downtimeMs: number | undefined;
  /** What the controller would do now. */
  readonly next: Decision | undefined;
}

/** See the head of this file. */
export function predict(rehearsed: Rehearsed): Prediction {
  const { elapsedMs, sentBytes, situation, downtimeMs, next } = rehearsed;
  if (situation === undefined) {
    const why = "the first checkpoint had not begun";
    return { totalMs: undefined, downtimeMs: undefined, bytes: sentBytes, converges: false, why };
  }
  const { pendingBytes, bytesPerMs, rttMs = 0, sourceSpeed, replaySpeed } = situation;
  const copyMs = pendingBytes === 0 ? 0 : pendingBytes / bytesPerMs + rttMs;
  // The lag shrinks by what the target is faster.
  const ratio = replaySpeed === 0 ? 0 : sourceSpeed / replaySpeed;
  const converges = next?.kind === "cutover" || ratio < 1;
  const lagMs = replaySpeed === 0 ? 0 : situation.lagPositions / replaySpeed;
  const chaseMs = next?.kind === "cutover" ? 0 : (lagMs + copyMs * ratio) / (1 - ratio);
  return {
    totalMs: converges ? elapsedMs + copyMs + chaseMs + rttMs : undefined,
    downtimeMs: converges ? downtimeMs : undefined,
    bytes: sentBytes + pendingBytes,
    converges,
    why: next?.why ?? "nothing was decided yet",
  };
}
