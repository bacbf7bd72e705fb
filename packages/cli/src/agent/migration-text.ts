/** A migration for people: how far it is, and its report. */
import type { Progress } from "@dejavm/agent";
import {
  LIMITS,
  type MigrationOutcome,
  type MigrationReport,
  type Prediction,
} from "@dejavm/source-agent";

const PAUSE_PARTS = [
  ["freezeMs", "freeze"],
  ["copyMs", "copy"],
  ["wayMs", "way"],
  ["replayMs", "replay"],
  ["compareMs", "compare"],
  ["durableMs", "durable"],
  ["resumeMs", "resume"],
] as const;

/** How far it is, in one line without a newline. */
export function progressText(progress: Progress): string {
  const { phase, lagMs, share: left, bytesPerMs, sentBytes, pendingPages, pendingMs } = progress;
  const parts = [
    phase,
    `${(sentBytes / 1e6).toFixed(1)} MB sent`,
    `${((bytesPerMs * 8) / 1000).toFixed(0)} Mbit/s`,
  ];
  if (phase === "files") parts.push(progress.why);
  if (pendingPages > 0) {
    parts.push(`${pendingPages} pages left`);
    if (pendingMs !== undefined) parts.push(`ETA ${(pendingMs / 1000).toFixed(1)} s`);
  } else if (phase === "checkpoint" && pendingMs !== undefined) parts.push("all pages sent");
  if (lagMs !== undefined) parts.push(`lag ${lagMs.toFixed(0)} ms`);
  if (left < 1) parts.push(`guest at ${(left * 100).toFixed(0)} %`);
  if (progress.predictedDowntimeMs !== undefined) {
    parts.push(`pause ${progress.predictedDowntimeMs.toFixed(0)} ms`);
  }
  return parts.join(", ");
}

/** Lines, each with its newline. */
export function reportText(report: MigrationReport): string {
  const { name, outcome, totalMs, downtime, bytes, pages, checkpoints, leapfrogs } = report;
  const lines = [headOf(name, outcome, totalMs)];
  if (outcome.kind === "rehearsed") lines.push(...predictionLines(outcome.prediction));
  if (downtime !== undefined) {
    const parts = PAUSE_PARTS.map(([part, name]) => [name, downtime[part]] as const)
      .filter(([, ms]) => ms > 0)
      .map(([name, ms]) => `${name} ${ms.toFixed(1)}`);
    lines.push(`  pause      ${downtime.totalMs.toFixed(1)} ms: ${parts.join(", ")}`);
  }
  const kinds = Object.entries<number>({ ...bytes }).filter(([, count]) => count > 0);
  const total = kinds.reduce((sum, [, count]) => sum + count, 0);
  const split = kinds.map(([kind, count]) => `${kind} ${megabytes(count)}`).join(", ");
  lines.push(`  sent       ${megabytes(total)} MB: ${split}`);
  lines.push(
    `  pages      ${pages.sent} sent, ${pages.referenced} known there, ${pages.zero} zero, ` +
      `${pages.onDemand} on demand`,
    `  rounds     ${checkpoints} checkpoints, ${leapfrogs} leapfrogs, ` +
      `ended by ${report.endedBy ?? "-"}`,
    `  guest      at least ${(report.lowestShare * 100).toFixed(0)} % of its speed`,
    `  link       RTT ${report.rttMs?.toFixed(1) ?? "?"} ms, ` +
      `${((report.bytesPerMs * 8) / 1000).toFixed(1)} Mbit/s, ${report.resumes} resumed`,
    `  digests    ${report.digestsCompared} compared while both ran, ` +
      `at the hand-over ${report.digestAtCutover ?? "none"}`,
  );
  // Reports that were kept before this was measured do not have it.
  const { limitedByMs }: Partial<MigrationReport> = report;
  const limits = LIMITS.map((limit) => [limit, limitedByMs?.[limit] ?? 0] as const)
    .filter(([, ms]) => ms >= 10)
    .toSorted(([, a], [, b]) => b - a);
  if (limits.length > 0) {
    lines.push(`  limited    by ${limits.map(([by, ms]) => `${by} ${seconds(ms)}`).join(", ")}`);
  }
  const last = report.decisions.at(-1);
  if (last !== undefined) lines.push(`  decided    ${last.kind}: ${last.why}`);
  return lines.map((line) => `${line}\n`).join("");
}

function headOf(name: string, outcome: MigrationOutcome, totalMs: number): string {
  switch (outcome.kind) {
    case "moved":
      return `${name} has moved (epoch ${outcome.epoch}) in ${seconds(totalMs)}`;
    case "rehearsed":
      return `${name} runs on here; its move was rehearsed for ${seconds(totalMs)}`;
    case "stayed":
      return `${name} stayed: ${outcome.code} ${outcome.message} (phase: ${outcome.phase})`;
  }
}

function predictionLines({ totalMs, downtimeMs, bytes, converges, why }: Prediction): string[] {
  const takes = totalMs === undefined ? "longer than can be told" : seconds(totalMs);
  const pause = downtimeMs === undefined ? "unknown" : `${downtimeMs.toFixed(0)} ms`;
  return [
    `  predicted  ${takes}, ${megabytes(bytes)} MB, pause ${pause}`,
    converges
      ? "  predicted  the target keeps up with the guest"
      : "  predicted  the target does not keep up: the guest would be slowed down",
    `  next       ${why}`,
  ];
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(2);
}
