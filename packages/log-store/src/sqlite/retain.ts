/** Retention in the database: which rows go, one victim to a commit. */
import type { RetentionLimits, RetentionReport } from "../log-store.ts";
import { nextVictim } from "../retention.ts";
import { checkpointRows, removeCheckpoint } from "./checkpoint-table.ts";
import type { StoreDatabase } from "./database.ts";
import { failPoint } from "./fail-point.ts";
import { traceBytes, traceKey } from "./trace-table.ts";

/** Thins out a lineage until `limits` hold; see retention.ts for what goes first. */
export function retainLineage(
  database: StoreDatabase,
  lineage: number,
  { maxBytes }: RetentionLimits,
): RetentionReport {
  let checkpointsRemoved = 0;
  let segmentsRemoved = dropTraceBefore(database, lineage);
  let ofTrace = traceBytes(database, lineage);
  for (;;) {
    const rows = checkpointRows(database, lineage);
    const ring = rows.filter(({ committed }) => committed !== 0n);
    const bytes = rows.reduce((sum, row) => sum + Number(row.stored_bytes), ofTrace);
    const entries = ring.map((row) => ({ createdAtMs: Number(row.created_at_ms) }));
    const victim = nextVictim(entries, bytes, maxBytes);
    const row = victim === undefined ? undefined : ring[victim];
    if (row === undefined) return { checkpointsRemoved, segmentsRemoved, bytes };
    database.writing("cannot remove a checkpoint", () => {
      removeCheckpoint(database, Number(row.id));
      failPoint("retain.before-commit");
    });
    failPoint("retain.removed");
    checkpointsRemoved++;
    if (victim === 0) {
      segmentsRemoved += dropTraceBefore(database, lineage);
      ofTrace = traceBytes(database, lineage);
    }
  }
}

/** Removes segments that lie wholly before the oldest checkpoint: nothing replays them. */
function dropTraceBefore(database: StoreDatabase, lineage: number): number {
  const oldest = checkpointRows(database, lineage).find(({ committed }) => committed !== 0n);
  if (oldest === undefined) return 0;
  return database.writing("cannot trim the trace", (sqlite) => {
    const { changes } = sqlite
      .prepare<[{ first: bigint; oldest: bigint }]>(
        "DELETE FROM trace WHERE id >= @first AND id < @oldest AND id + unit_count <= @oldest",
      )
      .run({
        first: traceKey(lineage, 0),
        oldest: traceKey(lineage, Number(oldest.trace_sequence)),
      });
    return changes;
  });
}

/** Stored bytes of a lineage: its trace, and what its checkpoints were the first to store. */
export function storedBytes(database: StoreDatabase, lineage: number): number {
  return checkpointRows(database, lineage).reduce(
    (sum, row) => sum + Number(row.stored_bytes),
    traceBytes(database, lineage),
  );
}
