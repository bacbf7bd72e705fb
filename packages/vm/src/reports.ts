/**
 * What the machine's thread tells. Plain data that crosses by structured clone; the bytes of
 * bulk reports are transferred to the hearer. Reports come in the order in which things happened:
 * a segment before the outputs that wait for it.
 */
import type { ConsolePort, InputEvent, Output, StopReason } from "@dejavm/machine";
import type { Divergence, SegmentHeader, TraceEnd, TracePoint } from "@dejavm/trace";
import type { EngineReport } from "./engine-report.ts";
import type { CpuProfile } from "./guest-profile.ts";
import type { ChunkBatch, ChunkName, PageBatch, VmMode } from "./requests.ts";

/** Where the machine is. */
export interface Whereabouts {
  /** Instructions retired plus traps taken since power-on; a guest's reset does not set it back. */
  readonly position: bigint;
  /** Virtual time in ticks of 100 ns. */
  readonly ticks: bigint;
}

/** Why the execution loop came to its end. */
export type EndReason =
  | Extract<StopReason, { kind: "power-off" | "reset" }>
  /** `stop` was asked for at the position given as limit. */
  | { readonly kind: "limit" }
  /** `stop` was asked for elsewhere. */
  | { readonly kind: "stopped" };

/** How an execution ended. */
export interface EndReport extends Whereabouts {
  readonly reason: EndReason;
  /** Instructions retired since the machine was first switched on. */
  readonly instructions: bigint;
  /** How often the guest asked for a restart here and got it. */
  readonly restarts: number;
  /** Present where the loop was told to give it. */
  readonly digest: string | undefined;
  /** Present where the worker was told to watch: what the execution cost, and a profile. */
  readonly engine?: EngineReport | undefined;
  readonly profile?: CpuProfile | undefined;
}

/** An error as data. */
export interface ErrorReport {
  /** Undefined: a defect of ours, and `message` is its stack. */
  readonly code: string | undefined;
  readonly message: string;
  readonly hint: string | undefined;
}

/** A sealed run of records, ready to be stored or sent. */
export interface SegmentReport {
  readonly kind: "segment";
  readonly lastPosition: bigint;
  readonly header: SegmentHeader;
  /** Framed, as `feed` takes it; its buffer is its own. */
  readonly bytes: Uint8Array;
}

/** What a machine that runs tells. */
export type LiveReport =
  /**
   * Bytes and frames that leave the guest, in order. While recording they must not leave the
   * process before segment `after` is stored; undefined: nothing to wait for.
   */
  | ({
      readonly kind: "outputs";
      readonly after: number | undefined;
      readonly outputs: readonly Output[];
    } & Whereabouts)
  | { readonly kind: "console-taken"; readonly port: ConsolePort; readonly bytes: number }
  | ({
      readonly kind: "saved";
      readonly id: number;
      readonly fileBytes: number;
      readonly digest: string;
    } & Whereabouts)
  | ({ readonly kind: "digest"; readonly id: number; readonly digest: string } & Whereabouts)
  /** The request `id` could not be carried out and changed nothing; the machine goes on. */
  | { readonly kind: "refused"; readonly id: number; readonly error: ErrorReport }
  /** `digest`: of a machine that came from a snapshot file. */
  | ({
      readonly kind: "started";
      readonly mode: VmMode;
      readonly digest: string | undefined;
    } & Whereabouts)
  /** The position given as limit is reached: the machine waits for `save`, `digest`, `stop`. */
  | ({ readonly kind: "at-limit" } & Whereabouts)
  | ({ readonly kind: "ended" } & EndReport)
  /** The worker is gone; nothing more comes. */
  | { readonly kind: "failed"; readonly error: ErrorReport };

/** What recording and steering answer. */
export type ControlReport =
  | SegmentReport
  | ({ readonly kind: "recording-stopped"; readonly trace: TracePoint } & Whereabouts)
  /** At the interval asked for. */
  | ({
      readonly kind: "progress";
      readonly mode: VmMode;
      /** CPU time that the machine's thread has used since its start. */
      readonly cpuMs: number;
      /** Of that, time in which the guest itself was executing. */
      readonly runMs: number;
      /** Old pages that wait for readers of checkpoints. */
      readonly savedPages: number;
      /** Pages written since the checkpoint that began last; undefined: none has begun. */
      readonly changed: { readonly since: number; readonly pages: number } | undefined;
    } & Whereabouts)
  /** The place F: nothing more happens until `unfreeze` or `stop`. */
  | ({
      readonly kind: "frozen";
      readonly id: number;
      readonly digest: string;
      /** The guest's idea of the wall time, nanoseconds since 1970. */
      readonly guestWallNs: bigint;
      /** Undefined: not recorded. */
      readonly trace: TracePoint | undefined;
      /** Inputs that the guest has not been given, in order; they are kept for `unfreeze`. */
      readonly waiting: readonly InputEvent[];
    } & Whereabouts)
  /** An input that came while frozen: kept for `unfreeze`, and shown here for who follows F. */
  | { readonly kind: "late-input"; readonly event: InputEvent }
  | ({ readonly kind: "unfrozen"; readonly id: number } & Whereabouts);

/** What checkpoints answer. */
export type CheckpointReport =
  | ({
      readonly kind: "checkpoint-begun";
      readonly id: number;
      /** Everything but pages and chunks; opaque, at most MAX_STATE_BYTES of @dejavm/machine. */
      readonly state: Uint8Array;
      readonly guestWallNs: bigint;
      /** The trace from this checkpoint on begins here; undefined: not recorded. */
      readonly trace: TracePoint | undefined;
      /** The checkpoint that the lists below are relative to; undefined: to a machine of zeros. */
      readonly since: number | undefined;
      /**
       * Pages that may differ, ascending; `pages` says which of them turn out to be zero. All
       * others are equal to the base.
       */
      readonly pages: Uint32Array;
      /** Disk chunks with other content, ascending by disk and chunk. */
      readonly chunks: readonly ChunkName[];
      /** How long the guest stood still for it. */
      readonly pauseMs: number;
    } & Whereabouts)
  /** `pages` and `bytes`: those with content. `zeroPages`: the others of the same request. */
  | ({
      readonly kind: "pages";
      readonly id: number;
      readonly zeroPages: Uint32Array;
    } & PageBatch)
  /** `zeroChunks`: those of the request that were discarded or zeroed as a whole. */
  | ({
      readonly kind: "chunks";
      readonly id: number;
      readonly zeroChunks: readonly ChunkName[];
    } & ChunkBatch)
  /** Pages in the order in which the guest first touched them since the checkpoint; in parts. */
  | { readonly kind: "touched"; readonly id: number; readonly pages: Uint32Array }
  /** More old pages waited than allowed: what was not read is lost. It is closed. */
  | { readonly kind: "checkpoint-abandoned"; readonly id: number };

/** What a machine that replays tells. */
export type ReplayReport =
  /** It stands still for these; each is named once, and it goes on when it has them. */
  | {
      readonly kind: "missing";
      readonly pages: readonly number[];
      readonly blocks: readonly ChunkName[];
    }
  /** At intervals of about 50 ms while it replays, and whenever it comes to stand. */
  | ({
      readonly kind: "replayed";
      /** CPU time of the thread since the start. */
      readonly cpuMs: number;
      /** Wall time since the start in which it did not replay: it stood still, or took pages in. */
      readonly waitingMs: number;
      /** Segment that is being used; those before it are done with. */
      readonly sequence: number;
      /** Bytes fed and not used yet. */
      readonly fedBytes: number;
      /** Pages that are still absent. */
      readonly absentPages: number;
    } & Whereabouts)
  /** All that was fed is done: it stands exactly at its last record. */
  | ({
      readonly kind: "at-frontier";
      /** The guest's idea of the wall time there, nanoseconds since 1970. */
      readonly guestWallNs: bigint;
      /** Where the trace goes on. */
      readonly trace: TracePoint;
    } & Whereabouts)
  | ({ readonly kind: "digest-matched"; readonly digest: string } & Whereabouts)
  /** The executions differ; it stands still and cannot go live. */
  | ({ readonly kind: "diverged"; readonly divergence: Divergence } & Whereabouts)
  /** `applied` false: it was beyond the checkpoint already, and nothing has changed. */
  | ({ readonly kind: "jumped"; readonly id: number; readonly applied: boolean } & Whereabouts)
  /** Answer to `replay-to`: there, and equal. */
  | ({ readonly kind: "reached"; readonly id: number; readonly digest: string } & Whereabouts)
  /**
   * A stretch of the trace ends here, and why. What is fed afterwards, or going live, switches a
   * computer that is off on again.
   */
  | ({ readonly kind: "replay-ended"; readonly reason: TraceEnd } & Whereabouts)
  /** Answer to `go-live`. */
  | ({
      readonly kind: "live";
      readonly id: number;
      /** The checkpoint that the machine came from: what a later one's `since` can name. */
      readonly checkpoint: number;
    } & Whereabouts);

/** All that the machine's thread can tell. */
export type VmReport = LiveReport | ControlReport | CheckpointReport | ReplayReport;
