/** Collects what the report tells, while the migration goes on. */
import type { Decision } from "./controller.ts";
import type {
  BytesByKind,
  CourseSample,
  DowntimeSplit,
  Limit,
  LoggedDecision,
  MigrationOutcome,
  MigrationReport,
} from "./migration-report.ts";

/** Samples and decisions kept: an hour at the usual rate; beyond it every second one goes. */
const MAX_SAMPLES = 2000;
const MAX_DECISIONS = 1000;
/** Time between two samples at first. */
const SAMPLE_MS = 100;

/** What the report is about. */
export interface LogSubject {
  readonly migration: string;
  readonly lineage: string;
  readonly name: string;
}

/** See the head of this file. */
export class MigrationLog {
  readonly bytes: { -readonly [Kind in keyof BytesByKind]: number } = {
    checkpoint: 0,
    increments: 0,
    references: 0,
    onDemand: 0,
    chunks: 0,
    trace: 0,
    control: 0,
  };
  readonly pages = { sent: 0, referenced: 0, zero: 0, onDemand: 0 };
  checkpoints = 0;
  leapfrogs = 0;
  digestsCompared = 0;
  digestAtCutover: string | undefined;
  lowestShare = 1;
  downtime: DowntimeSplit | undefined;
  endedBy: "trace" | "copy" | undefined;
  readonly #limitedByMs: Record<Limit, number> = { outage: 0, path: 0, hosts: 0, replay: 0 };
  #limitedSince: number | undefined;
  readonly #subject: LogSubject;
  readonly #startedAt: number;
  #course: CourseSample[] = [];
  readonly #decisions: LoggedDecision[] = [];
  #sampleMs = SAMPLE_MS;
  #sampledAt = Number.NEGATIVE_INFINITY;

  constructor(subject: LogSubject, now: number) {
    this.#subject = subject;
    this.#startedAt = now;
  }

  elapsedMs(now: number): number {
    return now - this.#startedAt;
  }

  /** All bytes so far. */
  get sentBytes(): number {
    return Object.values(this.bytes).reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Notes a decision; one like the last is left out, waiting is noted once a second at most. */
  decided(decision: Decision, now: number): void {
    const atMs = Math.round(now - this.#startedAt);
    const last = this.#decisions.at(-1);
    if (decision.kind === "wait" && last?.kind === "wait" && atMs - last.atMs < 1000) return;
    if (this.#decisions.length >= MAX_DECISIONS) this.#decisions.splice(1, 1);
    this.#decisions.push({ atMs, kind: decision.kind, why: decision.why });
  }

  /** Notes what it has waited for since the last note; undefined: for nothing that counts. */
  limitedBy(limit: Limit | undefined, now: number): void {
    if (limit !== undefined) this.#limitedByMs[limit] += now - (this.#limitedSince ?? now);
    this.#limitedSince = now;
  }

  /** Notes how far it is, at intervals. */
  sample(sample: Omit<CourseSample, "atMs" | "sentBytes">, now: number): void {
    if (now - this.#sampledAt < this.#sampleMs) return;
    this.#sampledAt = now;
    const atMs = Math.round(now - this.#startedAt);
    this.#course.push({ atMs, ...sample, sentBytes: this.sentBytes });
    if (this.#course.length <= MAX_SAMPLES) return;
    this.#course = this.#course.filter((_, i) => i % 2 === 0);
    this.#sampleMs *= 2;
  }

  report(
    outcome: MigrationOutcome,
    link: { readonly rttMs: number | undefined; bytesPerMs: number; resumes: number },
    now: number,
  ): MigrationReport {
    return {
      ...this.#subject,
      outcome,
      totalMs: now - this.#startedAt,
      downtime: this.downtime,
      endedBy: this.endedBy,
      bytes: { ...this.bytes },
      pages: { ...this.pages },
      checkpoints: this.checkpoints,
      leapfrogs: this.leapfrogs,
      digestsCompared: this.digestsCompared,
      digestAtCutover: this.digestAtCutover,
      lowestShare: this.lowestShare,
      limitedByMs: { ...this.#limitedByMs },
      rttMs: link.rttMs,
      bytesPerMs: link.bytesPerMs,
      resumes: link.resumes,
      course: this.#course,
      decisions: this.#decisions,
    };
  }
}

/** The report of a migration that was given up before its session: the peer lacks files. */
export function notBegunReport(
  subject: LogSubject,
  reason: { readonly code: string; readonly message: string; readonly hint: string | undefined },
  elapsedMs: number,
): MigrationReport {
  const link = { rttMs: undefined, bytesPerMs: 0, resumes: 0 };
  return new MigrationLog(subject, 0).report(
    { kind: "stayed", phase: "files", ...reason },
    link,
    elapsedMs,
  );
}
