/** Makes one big segment out of small ones, for keeping. */
import type { TraceCodecs } from "./codecs.ts";
import { traceGap } from "./errors.ts";
import { MAX_SEGMENT_PLAIN_BYTES, MAX_SEGMENT_UNITS } from "./limits.ts";
import { encodeSegment, openSegment, type Segment, type SegmentHeader } from "./segment.ts";

/** Where a segment belongs, and how big it is. */
export type SegmentPlace = Omit<SegmentHeader, "chain" | "compressed">;

/** Whether two neighbours may become one; a stretch's end keeps them apart. */
export function canMerge(before: SegmentPlace, after: SegmentPlace): boolean {
  return (
    follows(before, after) &&
    before.unitCount + after.unitCount <= MAX_SEGMENT_UNITS &&
    before.plainBytes + after.plainBytes <= MAX_SEGMENT_PLAIN_BYTES
  );
}

function follows(before: SegmentPlace, after: SegmentPlace): boolean {
  return (
    after.sequence === before.sequence + before.unitCount &&
    after.from.position === before.to.position &&
    after.from.ticks === before.to.ticks
  );
}

/**
 * One segment with the units of all of them, in order and compressed. The hash chain stays as it
 * is. Throws E_TRACE_CORRUPT and E_TRACE_VERSION for a bad one, E_TRACE_GAP where one does not
 * follow the other or the limits of a segment are passed.
 */
export function mergeSegments(
  segments: readonly Uint8Array[],
  codecs: Pick<TraceCodecs, "compress" | "decompress" | "crc32">,
): Segment {
  const open = segments.map((bytes) => openSegment(bytes, codecs));
  const headers = open.map(({ header }) => header);
  const units = open.flatMap((segment) => segment.units);
  const [first, last] = [headers[0], headers.at(-1)];
  if (first === undefined || last === undefined) throw traceGap("there is nothing to merge");
  for (const [i, after] of headers.entries()) {
    const before = headers[i - 1];
    if (before !== undefined && !follows(before, after)) {
      throw traceGap(`unit ${after.sequence} does not follow unit ${before.sequence}`);
    }
  }
  const plainBytes = headers.reduce((sum, header) => sum + header.plainBytes, 0);
  if (plainBytes > MAX_SEGMENT_PLAIN_BYTES || units.length > MAX_SEGMENT_UNITS) {
    throw traceGap(`${units.length} units of ${plainBytes} bytes are too many for one segment`);
  }
  const from = { sequence: first.sequence, ...first.from };
  return encodeSegment(from, { ...last.to, chain: last.chain }, units, codecs);
}
