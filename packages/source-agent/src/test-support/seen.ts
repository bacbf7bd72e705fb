/** What sources are told in tests: a link that is up, and checkpoints that begin. */
import type { BegunReport } from "../checkpoints.ts";
import type { LinkView } from "../source-types.ts";

/** Up, and with room. */
export const LINK: LinkView = {
  isUp: true,
  bulkRoom: 4,
  bulkMessageBytes: 16_384,
  rttMs: 10,
  bytesPerMs: 1000,
  bulkUnderWayBytes: 0,
  isStarved: false,
  writtenBytes: 0,
  resumes: 0,
};

/** Where the trace from each of them on begins. */
export const POINT = {
  sequence: 3,
  position: 100n,
  ticks: 100n,
  chain: new Uint8Array(32),
} as const;

/** Checkpoint `id` begins, relative to the one before. */
export function begun(id: number, pages: Uint32Array): BegunReport {
  return {
    kind: "checkpoint-begun",
    id,
    state: new Uint8Array(1),
    guestWallNs: 0n,
    trace: POINT,
    since: id === 0 ? undefined : id - 1,
    pages,
    chunks: [],
    pauseMs: 0,
    position: 100n,
    ticks: 100n,
  };
}
