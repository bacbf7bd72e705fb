/** What a migration tells afterwards: plain data, made by the session, kept by the store. */
import type { ControlMessageOf } from "@dejavm/protocol";
import type { Prediction } from "./rehearsal.ts";

/** Where the pause went, in milliseconds. */
export interface DowntimeSplit {
  /** From the request to freeze to the machine standing still. */
  readonly freezeMs: number;
  /** End by copy only: from the freeze to the commitment. */
  readonly copyMs: number;
  /** The commitment's way: half of the round trip measured last. */
  readonly wayMs: number;
  /** At the target, from the commitment's arrival: replayed to F, compared, durable, running. */
  readonly replayMs: number;
  readonly compareMs: number;
  readonly durableMs: number;
  readonly resumeMs: number;
  readonly totalMs: number;
}

/** From what both sides measured; milliseconds. */
export function splitDowntime(measured: {
  readonly freezeMs: number;
  readonly copyMs: number;
  /** Undefined: not known. */
  readonly rttMs: number | undefined;
  readonly live: ControlMessageOf<"live">;
}): DowntimeSplit {
  const { freezeMs, copyMs, rttMs = 0, live } = measured;
  const { replayedMs, comparedMs, durableMs, runningMs } = live;
  const wayMs = rttMs / 2;
  return {
    freezeMs,
    copyMs,
    wayMs,
    replayMs: replayedMs,
    compareMs: comparedMs,
    durableMs,
    resumeMs: runningMs,
    totalMs: freezeMs + copyMs + wayMs + replayedMs + comparedMs + durableMs + runningMs,
  };
}

/** Bytes by what they were for, as handed to the link. */
export interface BytesByKind {
  readonly checkpoint: number;
  readonly increments: number;
  readonly references: number;
  readonly onDemand: number;
  readonly chunks: number;
  readonly trace: number;
  readonly control: number;
}

/** One sample of the migration's course. */
export interface CourseSample {
  readonly atMs: number;
  readonly phase: string;
  /** Time that the target needs to catch up; -1: unknown. */
  readonly lagMs: number;
  readonly share: number;
  readonly bytesPerMs: number;
  readonly sentBytes: number;
}

/**
 * What a migration waits for: a link that is down, room on the path, the hosts that read, pack,
 * unpack and store, or, once all pages are there, the replay that catches up.
 */
export const LIMITS = ["outage", "path", "hosts", "replay"] as const;
/** See `LIMITS`. */
export type Limit = (typeof LIMITS)[number];

/** A decision of the controller, repeated ones left out. */
export interface LoggedDecision {
  readonly atMs: number;
  readonly kind: string;
  readonly why: string;
}

/** How a migration ended. */
export type MigrationOutcome =
  | { readonly kind: "moved"; readonly epoch: number }
  /** It was a rehearsal; the machine has run on at the source all the time. */
  | { readonly kind: "rehearsed"; readonly prediction: Prediction }
  /** The machine runs on at the source. */
  | {
      readonly kind: "stayed";
      readonly phase: string;
      readonly code: string;
      readonly message: string;
      readonly hint: string | undefined;
    };

/** See the head of this file. */
export interface MigrationReport {
  readonly migration: string;
  readonly lineage: string;
  readonly name: string;
  readonly outcome: MigrationOutcome;
  readonly totalMs: number;
  /** Undefined where the machine never stood still. */
  readonly downtime: DowntimeSplit | undefined;
  readonly endedBy: "trace" | "copy" | undefined;
  readonly bytes: BytesByKind;
  readonly pages: {
    readonly sent: number;
    readonly referenced: number;
    readonly zero: number;
    readonly onDemand: number;
  };
  readonly checkpoints: number;
  readonly leapfrogs: number;
  readonly digestsCompared: number;
  readonly digestAtCutover: string | undefined;
  readonly lowestShare: number;
  /** How long each was what it waited for, milliseconds, until the hand-over began. */
  readonly limitedByMs: Readonly<Record<Limit, number>>;
  readonly rttMs: number | undefined;
  readonly bytesPerMs: number;
  readonly resumes: number;
  readonly course: readonly CourseSample[];
  readonly decisions: readonly LoggedDecision[];
}
