/** Divergences, differences and records in words. */
import { unreachable } from "@dejavm/base";
import type { Place } from "@dejavm/machine";
import type { Difference, Parting } from "./difference.ts";
import type { Divergence, DivergenceReason } from "./divergence.ts";
import type { TraceRecord } from "./record.ts";

/** A report of several lines: what, since when, and the records around. */
export function divergenceText(divergence: Divergence): string {
  const { reason, place, matched, before, after } = divergence;
  const since =
    matched === undefined ? "no digest was equal before" : `equal at ${placeText(matched)}`;
  return [
    `the replay departs from the trace at ${placeText(place)}: ${reasonText(reason)}`,
    `  ${since}`,
    ...before.map((record) => `    ${recordText(record)}`),
    ...after.map((record, i) => `  ${i === 0 ? ">" : " "} ${recordText(record)}`),
  ].join("\n");
}

function reasonText(reason: DivergenceReason): string {
  switch (reason.kind) {
    case "digest":
      return `digest ${reason.actual}, want ${reason.expected}`;
    case "beyond":
      return `the next record is at position ${reason.expected}, before the machine`;
    case "time":
      return `virtual time ${reason.actual}, want ${reason.expected}`;
    case "stopped":
      return `the machine stopped (${reason.stop.kind}) before position ${reason.expected}`;
    case "not-stopped":
      return `the machine goes on, want ${reason.expected}`;
    default:
      return unreachable(reason);
  }
}

/** Several lines: the step in which two executions came apart, and what differs after it. */
export function partingText({ low, high, differences }: Parting): string {
  const step = high - low === 1n ? `in the step from ${low}` : `between ${low} and ${high}`;
  const found = differences.map((difference) => `    ${differenceText(difference)}`);
  return [`  they come apart ${step} to ${high}:`, ...found].join("\n");
}

/** One line for one difference. */
export function differenceText(difference: Difference): string {
  if (difference.kind === "field") {
    return `${difference.path}: ${difference.actual}, want ${difference.expected}`;
  }
  const { page, offset } = difference;
  return offset === undefined ? `page ${page}` : `page ${page}, from byte ${offset} on`;
}

/** One line for one record. */
export function recordText(record: TraceRecord): string {
  const where = placeText(record);
  switch (record.kind) {
    case "frontier":
      return `${where} frontier`;
    case "digest":
      return `${where} digest ${record.digest}`;
    case "end":
      return `${where} end: ${record.end.kind}`;
    case "input": {
      const { event } = record;
      if (event.kind === "console") return `${where} ${event.port} ${event.bytes.length} bytes`;
      if (event.kind === "frame") return `${where} frame of ${event.bytes.length} bytes`;
      if (event.kind === "clock") return `${where} clock rate ${event.rate} step ${event.step}`;
      if (event.kind === "link") return `${where} link ${event.up ? "up" : "down"}`;
      return `${where} ${event.kind}`;
    }
    default:
      return unreachable(record);
  }
}

function placeText({ position, idleTicks }: Place): string {
  return idleTicks === undefined ? `${position}` : `${position} (idle, time ${idleTicks})`;
}
