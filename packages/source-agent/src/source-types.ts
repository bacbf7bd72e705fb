/** The vocabulary of `SourceSession`: what it is told, what it wants done, its states. */
import type {
  BulkMessage,
  ControlMessageOf,
  LinkMeasures,
  Message,
  Reason,
} from "@dejavm/protocol";
import type { TracePoint } from "@dejavm/trace";
import type { VmReport, VmRequest } from "@dejavm/vm";
import type { ControllerOptions } from "./controller.ts";
import type { MigrationOutcome, MigrationReport } from "./migration-report.ts";

/** What is to be moved, and how. */
export interface SourceOptions extends ControllerOptions {
  readonly offer: ControlMessageOf<"offer">;
  /** How to reach the peer again: kept in the ownership record. */
  readonly peer: string;
  /** Longest time that each step of the negotiation may take, in milliseconds. */
  readonly negotiateMs: number;
  /** Frontier interval once everything is sent, milliseconds; until then it is larger. */
  readonly frontierMs: number;
  /** Old pages that a checkpoint may keep in the machine's thread. */
  readonly maxSavedPages: number;
  /**
   * A rehearsal: everything but the hand-over, for so many milliseconds at most, then a prediction.
   * The guest is not slowed down.
   */
  readonly rehearseMs?: number;
}

/** What the link is like at a tick. */
export interface LinkView extends LinkMeasures {
  readonly isUp: boolean;
  /** Bulk messages that the link would take now. */
  readonly bulkRoom: number;
  /** What one bulk message had better not exceed. */
  readonly bulkMessageBytes: number;
}

/** Pages or chunks of one read, made into messages. */
export interface PreparedBatch {
  readonly id: number;
  readonly messages: readonly BulkMessage[];
  readonly zeroPages: number;
  readonly referenced: number;
}

/** Records of ownership that the session asks for. */
export type OwnershipWish =
  | { readonly state: "live"; readonly epoch: number }
  | { readonly state: "offering"; readonly epoch: number }
  | { readonly state: "moved"; readonly epoch: number };

/** What happened. */
export type SourceEvent =
  | { readonly kind: "vm"; readonly report: VmReport }
  | { readonly kind: "message"; readonly message: Message }
  | { readonly kind: "link-down" }
  | { readonly kind: "link-up" }
  /** The link is gone for good. Another one may be asked for. */
  | { readonly kind: "link-lost"; readonly reason: Reason }
  /** Answer to `read`. */
  | { readonly kind: "prepared"; readonly batch: PreparedBatch }
  /** Answer to `record`: it is durable. */
  | { readonly kind: "recorded"; readonly wish: OwnershipWish }
  /** Answer to `record`: it is not. */
  | { readonly kind: "record-failed"; readonly wish: OwnershipWish; readonly reason: Reason }
  | { readonly kind: "cancel"; readonly reason: Reason }
  /** A person says what the peer's record is; it cannot be asked. */
  | { readonly kind: "settle"; readonly live: "here" | "there" }
  /** Every few milliseconds, and after everything that the link did. */
  | { readonly kind: "tick"; readonly link: LinkView };

/** What the session wants done. */
export type SourceAction =
  | { readonly kind: "vm"; readonly request: VmRequest }
  | { readonly kind: "send"; readonly message: Message }
  | { readonly kind: "send-bulk"; readonly message: BulkMessage }
  /** Read these of an open checkpoint, make messages of them: answered by `prepared`. */
  | {
      readonly kind: "read";
      readonly id: number;
      readonly checkpoint: number;
      readonly what: "pages" | "chunks";
      /** Page numbers, or chunk keys as `chunkKey` makes them. */
      readonly items: readonly number[];
      readonly urgent: boolean;
      /** Pages of one message at most. */
      readonly groupPages: number;
      /** The path is so fast that little compression is best. */
      readonly isFast: boolean;
    }
  | { readonly kind: "record"; readonly wish: OwnershipWish }
  /** From now on the link is never given up. */
  | { readonly kind: "hold-link" }
  /** Make a new link and ask `ask-owner` over it, for ever. */
  | { readonly kind: "new-link" }
  /** For people and metrics. */
  | { readonly kind: "progress"; readonly progress: SourceProgress }
  /** The last action. `close-link` is included. */
  | { readonly kind: "finished"; readonly report: MigrationReport };

/** How far it is, for people. */
export interface SourceProgress {
  readonly phase: SourcePhase;
  /** How long the target needs for what it is behind; undefined: its speed is not known. */
  readonly lagMs: number | undefined;
  readonly share: number;
  readonly bytesPerMs: number;
  readonly sentBytes: number;
  /** Pages that are still to be sent. */
  readonly pendingPages: number;
  /** How long that will take; undefined: too little was sent to tell. */
  readonly pendingMs: number | undefined;
  /** The pause if it was handed over now; undefined: not known, or pages are under way. */
  readonly predictedDowntimeMs: number | undefined;
  readonly why: string;
}

/** Words for people; the states below are finer. */
export type SourcePhase =
  | "negotiate"
  | "checkpoint"
  | "chase"
  | "cutover"
  | "in-doubt"
  | "handing-over"
  | "going-on"
  | "ended";

/** The place F at which the machine stands. */
export interface Frozen {
  readonly position: bigint;
  readonly ticks: bigint;
  readonly digest: string;
  readonly trace: TracePoint;
  readonly at: number;
}

/** How a migration is to end. */
export type EndingBy = "trace" | "copy";

/** Where it is. Only `committed`, `asking` and `handing-over` are beyond the commitment. */
export type SourceState =
  /** The offer is sent, the target has not said whether it takes it. */
  | { readonly kind: "negotiating"; readonly since: number }
  /** Both machines run, or the first checkpoint is under way. */
  | { readonly kind: "moving" }
  /** `offering` is being recorded, then `digest` is awaited; the machine still runs. */
  | { readonly kind: "offering"; readonly by: EndingBy; readonly digest?: number }
  /** The machine is asked to stand still. */
  | { readonly kind: "freezing"; readonly by: EndingBy; readonly since: number }
  /** End by copy: it stands still and what changed is being sent. */
  | { readonly kind: "copying"; readonly frozen: Frozen; readonly since: number }
  /** The commitment is sent. Nobody here may run the machine until the target has answered. */
  | { readonly kind: "committed"; readonly frozen: Frozen; readonly since: number }
  /** The same, and the target's records are being asked. */
  | { readonly kind: "asking"; readonly frozen: Frozen; readonly since: number }
  /** The target lives; `moved` is being recorded. */
  | {
      readonly kind: "handing-over";
      readonly frozen: Frozen;
      readonly live: ControlMessageOf<"live"> | undefined;
    }
  /** `live` is being recorded again; afterwards the machine runs on. */
  | {
      readonly kind: "retracting";
      readonly stands: boolean;
      readonly reason: Reason;
      readonly phase: SourcePhase;
    }
  | { readonly kind: "ended"; readonly outcome: MigrationOutcome };

/** From which state which may follow. */
export const SOURCE_TRANSITIONS: Readonly<
  Record<SourceState["kind"], readonly SourceState["kind"][]>
> = {
  negotiating: ["moving", "ended"],
  moving: ["offering", "ended"],
  offering: ["freezing", "retracting", "ended"],
  freezing: ["committed", "copying", "retracting"],
  copying: ["committed", "retracting"],
  committed: ["handing-over", "retracting", "asking"],
  asking: ["handing-over", "retracting"],
  "handing-over": ["ended"],
  retracting: ["ended"],
  ended: [],
};
