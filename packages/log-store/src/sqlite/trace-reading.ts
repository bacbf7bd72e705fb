/** A trace as a whole: what the database has of it, then its tail. */
import type { Segment } from "@dejavm/trace";
import type { LineageId } from "../log-store.ts";
import type { StoreDatabase } from "./database.ts";
import { readTraceRows, segmentOf, traceEndOf } from "./trace-table.ts";
import { following, readTail } from "./trace-tail.ts";

/** Segments from the one with unit `fromSequence` on, also those that are appended meanwhile. */
export function* readSegments(
  database: StoreDatabase,
  { key, lineage }: { readonly key: number; readonly lineage: LineageId },
  fromSequence: number,
): Generator<Segment> {
  let next = fromSequence;
  for (let isNew = true; isNew; ) {
    isNew = false;
    // The tail first: what is moved into the database meanwhile is then found there.
    const { segments } = readTail(database.directory, lineage);
    const tail = following(segments, traceEndOf(database, key)?.sequence);
    for (const row of readTraceRows(database, key, next)) {
      const segment = segmentOf(row);
      yield segment;
      next = endOf(segment);
      isNew = true;
    }
    for (const segment of tail) {
      if (endOf(segment) <= next) continue;
      yield segment;
      next = endOf(segment);
      isNew = true;
    }
  }
}

function endOf({ header }: Segment): number {
  return header.sequence + header.unitCount;
}
