/**
 * What the machine's thread is told. Plain data that crosses by structured clone; byte arrays of
 * bulk requests are transferred, so whoever sends one gives it away. Requests are carried out in
 * order, between two slices of the guest. Those with an `id` are answered by a report with that
 * id; a request that does not fit the worker's mode (`VmMode`) is answered with `refused`.
 *
 * | request                              | live | replaying | frozen |
 * |--------------------------------------|------|-----------|--------|
 * | console, frame, link, power-button   | yes  | ignored   | kept, and told by `late-input` |
 * | written                              | yes  | yes       | yes    |
 * | save, digest                         | yes  | yes (while no page is absent) | yes |
 * | stop                                 | yes  | yes       | yes    |
 * | start-recording, stop-recording      | yes  | no        | no     |
 * | set-frontier-interval, throttle      | yes  | no        | yes    |
 * | report-progress                      | yes  | yes       | yes    |
 * | checkpoint                           | yes  | no        | yes    |
 * | read-pages, read-chunks, close-checkpoint | yes | no    | yes    |
 * | freeze                               | yes  | no        | no     |
 * | unfreeze                             | no   | no        | yes    |
 * | supply-*, feed, jump, replay-to, go-live | no | yes      | no     |
 */
import type { ConsolePort } from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";

/**
 * live: runs, takes inputs, emits outputs. replaying: does what a trace says; nothing leaves it.
 * frozen: stands still, and everything about it can be read.
 */
export type VmMode = "live" | "replaying" | "frozen";

/** Pages of one `read-pages`, and of one `pages` report: 1 MiB. */
export const MAX_PAGES_PER_READ = 256;
/** Chunks of one `read-chunks`, and of one `chunks` report: 1 MiB. */
export const MAX_CHUNKS_PER_READ = 16;
/** Reads that may wait in the worker; more are refused. Readers keep a few under way. */
export const MAX_WAITING_READS = 64;
/**
 * Bytes of segments fed that the replay has not used yet; a feeder waits for `replayed` above
 * this. Bounds what the worker holds when the target is slower than the link.
 */
export const MAX_FED_BYTES = 16 * 1024 * 1024;

/** The consoles on which a person can log in. */
export type Keyboard = Exclude<ConsolePort, "agent">;

/** Where a snapshot goes, and what only the asking side knows about the machine. */
export interface SaveTarget {
  readonly path: string;
  /** Names the image in messages; may be empty. */
  readonly image: string;
  /** Console that a keyboard belongs to. */
  readonly keyboard: Keyboard;
  /** sha256 of each disk's base, in order of the disks. */
  readonly diskSha256: readonly Uint8Array[];
}

/** A disk chunk: index of the disk, and number of the 64 KiB piece. */
export interface ChunkName {
  readonly disk: number;
  readonly chunk: number;
}

/** To a machine that runs. */
export type LiveRequest =
  /** Console input; taken as the guest has room, each part answered by `console-taken`. */
  | { readonly kind: "console"; readonly port: ConsolePort; readonly bytes: Uint8Array }
  /** Dropped where too many wait, as a network does. */
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  | { readonly kind: "link"; readonly up: boolean }
  | { readonly kind: "power-button" }
  /** So many bytes of console outputs have reached their reader; the guest waits for slow ones. */
  | { readonly kind: "written"; readonly bytes: number }
  /** `thenStop`: end the execution where the snapshot was made, if it could be made. */
  | {
      readonly kind: "save";
      readonly id: number;
      readonly target: SaveTarget;
      readonly thenStop: boolean;
    }
  /** While recording, a digest record is written at the same place. */
  | { readonly kind: "digest"; readonly id: number }
  | { readonly kind: "stop" };

/** How a live machine is recorded and steered. */
export type ControlRequest =
  /**
   * From here on inputs are recorded. A trace can be replayed from a checkpoint that was begun
   * after this, or from the machine's creation where it is recorded from the start. Positions
   * after a gap begin where the machine is.
   */
  | { readonly kind: "start-recording"; readonly from: Pick<TracePoint, "sequence" | "chain"> }
  /** What is recorded is sealed and reported; answered by `recording-stopped`. */
  | { readonly kind: "stop-recording" }
  /**
   * A segment is sealed, ended by a frontier record, at least every so often and also while the
   * guest idles: for a machine that is being followed. Undefined: back to what is usual, a seal
   * before each output and soon after each input.
   */
  | { readonly kind: "set-frontier-interval"; readonly intervalMs: number | undefined }
  /** Share of the time in which the guest may run, above 0 to 1. Its clock follows the wall. */
  | { readonly kind: "throttle"; readonly share: number }
  /** `progress` reports at this interval; undefined: none. */
  | { readonly kind: "report-progress"; readonly intervalMs: number | undefined }
  /** Ends the slice, seals the trace with a frontier, takes the digest: answered by `frozen`. */
  | { readonly kind: "freeze"; readonly id: number }
  /** Goes on exactly where it stood, with the inputs that came meanwhile. */
  | { readonly kind: "unfreeze"; readonly id: number };

/** How checkpoints are taken and read while the guest runs on. */
export type CheckpointRequest =
  /**
   * Begins a copy-on-write checkpoint here: answered by `checkpoint-begun`. At most four
   * are open at once.
   */
  | {
      readonly kind: "checkpoint";
      /** Names it from now on: also as `since` of a later one, long after it is closed. */
      readonly id: number;
      /** Only what changed since that checkpoint is listed; unknown or undefined: all of it. */
      readonly since: number | undefined;
      /** Old pages that may wait for the reader. */
      readonly maxSavedPages: number;
      /**
       * What happens beyond `maxSavedPages`. give-up: `checkpoint-abandoned`. wait: the guest
       * stands still until the reader has caught up.
       */
      readonly whenFull: "give-up" | "wait";
      /** Report pages in the order in which the guest first touches them (`touched`). */
      readonly recordFirstTouch: boolean;
    }
  /**
   * Pages of an open checkpoint, in the order wanted, at most MAX_PAGES_PER_READ; each page once.
   * Answered by one `pages`.
   */
  | { readonly kind: "read-pages"; readonly id: number; readonly pages: Uint32Array }
  /** At most MAX_CHUNKS_PER_READ; each chunk once. Answered by one `chunks`. */
  | { readonly kind: "read-chunks"; readonly id: number; readonly chunks: readonly ChunkName[] }
  /** Ends reading; nothing is kept any more. Harmless when repeated. */
  | { readonly kind: "close-checkpoint"; readonly id: number };

/** Pages one behind the other: `bytes` has 4,096 for each number in `pages`. */
export interface PageBatch {
  readonly pages: Uint32Array;
  readonly bytes: Uint8Array;
}

/** Chunks one behind the other: `bytes` has 65,536 for each of `chunks`. */
export interface ChunkBatch {
  readonly chunks: readonly ChunkName[];
  readonly bytes: Uint8Array;
}

/** To a machine that replays. */
export type ReplayRequest =
  /** Contents of pages as the checkpoint has them. One that is there already is ignored. */
  | ({ readonly kind: "supply-pages" } & PageBatch)
  | { readonly kind: "supply-zero-pages"; readonly pages: Uint32Array }
  /** Every page still absent is zero: the checkpoint is complete. */
  | { readonly kind: "supply-rest-zero" }
  | ({ readonly kind: "supply-chunks" } & ChunkBatch)
  /** Whole sealed segments, in order and without gaps; see MAX_FED_BYTES. */
  | { readonly kind: "feed"; readonly segments: readonly Uint8Array[] }
  /**
   * Leapfrog: puts the machine into the state of a later checkpoint in one go, if it is not
   * beyond it yet: answered by `jumped`. Pages and chunks not named stay as they are: present
   * ones equal the checkpoint's, absent ones stay absent and are supplied as before.
   */
  | {
      readonly kind: "jump";
      /** Names the checkpoint from now on, too: see `live`. */
      readonly id: number;
      /** The checkpoint's place. */
      readonly position: bigint;
      readonly ticks: bigint;
      /** The checkpoint's `state`. */
      readonly state: Uint8Array;
      /** The checkpoint's `trace`: segments before it are not needed any more. */
      readonly trace: TracePoint;
      readonly pages: readonly PageBatch[];
      readonly zeroPages: Uint32Array;
      readonly chunks: readonly ChunkBatch[];
    }
  /**
   * The cutover's place, of which the segment's last record is the frontier: replays exactly to it
   * and compares: answered by `reached` or `diverged`.
   */
  | {
      readonly kind: "replay-to";
      readonly id: number;
      readonly position: bigint;
      readonly ticks: bigint;
      readonly digest: string;
    }
  /** At its frontier the machine becomes live: answered by `live`. */
  | {
      readonly kind: "go-live";
      readonly id: number;
      /**
       * How far virtual time is behind the wall, in ticks of 100 ns (below 0: ahead): wall time
       * now minus `guestWallNs` of `at-frontier`, for a guest whose clock is to be right.
       */
      readonly behindTicks: number;
      /** Fresh randomness of this host, 32 bytes: given as the first input. */
      readonly entropySeed: Uint8Array | undefined;
      /** Where the trace goes on; undefined: unrecorded. */
      readonly record: TracePoint | undefined;
      /** Begin frozen: for who must still make something durable first. */
      readonly frozen: boolean;
    };

/** All that the machine's thread can be asked. */
export type VmRequest = LiveRequest | ControlRequest | CheckpointRequest | ReplayRequest;
