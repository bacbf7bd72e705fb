/** The vocabulary of `TargetSession`: what it is told, what it wants done, its states. */
import type { BulkMessage, ControlMessageOf, Message, Reason } from "@dejavm/protocol";
import type { ChunkName, VmReport, VmRequest } from "@dejavm/vm";

/** What this host has and may take. */
export type Verdict =
  | {
      readonly kind: "accept";
      readonly has: Omit<ControlMessageOf<"accept">, "kind" | "migration">;
      /** sha256 prefixes of contents that are here, as `inventory` carries them. */
      readonly inventory?: readonly Uint8Array[];
    }
  | { readonly kind: "refuse"; readonly reason: Reason };

/** What the session needs to know of a trace segment. Throws a coded error for a bad one. */
export type ReadSegment = (bytes: Uint8Array) => {
  readonly sequence: number;
  /** The next segment's number. */
  readonly nextSequence: number;
  readonly lastPosition: bigint;
};

/** What a session is made with. */
export interface TargetOptions {
  readonly readSegment: ReadSegment;
  /** 32 fresh random bytes for the machine that goes live here. */
  readonly entropySeed: Uint8Array;
  /** Progress is told at this interval at least, milliseconds. */
  readonly progressMs: number;
  /** Bytes of the source's messages that may wait in the session. */
  readonly maxHeldBytes: number;
}

/** A bulk message unpacked: what it held. */
export interface Unpacked {
  readonly id: number;
  readonly checkpoint: number;
  readonly pages: readonly number[];
  readonly chunks: readonly ChunkName[];
  /** References to what is not here after all. */
  readonly unknownPages: readonly number[];
  readonly unknownChunks: readonly ChunkName[];
}

/** What happened. */
export type TargetEvent =
  | { readonly kind: "message"; readonly message: Message }
  | { readonly kind: "link-up" }
  | { readonly kind: "link-down" }
  | { readonly kind: "link-lost"; readonly reason: Reason }
  /** Answer to `judge`. */
  | { readonly kind: "judged"; readonly verdict: Verdict }
  /** Answer to `make`: the machine is there, all pages absent. */
  | { readonly kind: "made" }
  /** Anything that this host cannot do after all: no machine, no space, a bad message. */
  | { readonly kind: "unable"; readonly reason: Reason }
  | { readonly kind: "vm"; readonly report: VmReport }
  /** Answer to `unpack`. */
  | { readonly kind: "unpacked"; readonly unpacked: Unpacked }
  /** Segments before this one are stored. */
  | { readonly kind: "trace-stored"; readonly nextSequence: number }
  /** Answer to `store-checkpoint`. */
  | { readonly kind: "checkpoint-stored"; readonly checkpoint: number }
  /** Answer to `record-live`: durable, with everything that was stored before. */
  | { readonly kind: "recorded" }
  /** Answer to `record-live`: certainly not recorded. */
  | { readonly kind: "record-failed"; readonly reason: Reason }
  /** The source asks over another link what the records here say. */
  | { readonly kind: "ask-owner" }
  | { readonly kind: "cancel"; readonly reason: Reason }
  | { readonly kind: "tick" };

/** What the session wants done. */
export type TargetAction =
  | { readonly kind: "judge"; readonly offer: ControlMessageOf<"offer"> }
  | { readonly kind: "send"; readonly message: Message }
  /** Makes the machine of the first checkpoint, replaying, all pages absent: `made`. */
  | { readonly kind: "make"; readonly checkpoint: ControlMessageOf<"checkpoint"> }
  | { readonly kind: "vm"; readonly request: VmRequest }
  /** A checkpoint begins to arrive: the store opens it, too. */
  | { readonly kind: "open-checkpoint"; readonly checkpoint: ControlMessageOf<"checkpoint"> }
  /**
   * Unpack, put into the store's open checkpoint, and supply to the machine, or keep for `jump`.
   */
  | {
      readonly kind: "unpack";
      readonly id: number;
      readonly message: BulkMessage;
      readonly keep: boolean;
    }
  /** Put the machine into the state of a checkpoint whose contents were kept. */
  | { readonly kind: "jump"; readonly id: number; readonly checkpoint: number }
  /** What was kept for that checkpoint is of no use to the machine any more. */
  | { readonly kind: "drop-kept"; readonly checkpoint: number }
  | { readonly kind: "append"; readonly segment: Uint8Array }
  /** All of it is there: commit it in the store. */
  | { readonly kind: "store-checkpoint"; readonly checkpoint: number }
  /** Durably: everything stored so far, then ownership with this epoch. */
  | { readonly kind: "record-live"; readonly epoch: number }
  | { readonly kind: "answer-owner"; readonly state: "live-here" | "not-here" }
  /** The machine is live here: it belongs to the agent from now on. */
  | { readonly kind: "took-over"; readonly epoch: number }
  /** Nothing of it may stay: machine, checkpoints, trace. */
  | { readonly kind: "forget" }
  /** The last action. */
  | { readonly kind: "finished"; readonly outcome: TargetOutcome };

/** How it ended here. */
export type TargetOutcome =
  | { readonly kind: "live"; readonly epoch: number }
  | { readonly kind: "gone"; readonly phase: TargetPhase; readonly reason: Reason };

/** Words for people. */
export type TargetPhase = "negotiate" | "receive" | "cutover" | "live" | "ended";

/** A commitment that is being followed. */
export interface Commitment {
  readonly commit: ControlMessageOf<"commit">;
  readonly arrivedAt: number;
}

/** Where the session is. From `recording` on this side may own the machine: no refusal any more. */
export type TargetState =
  /** Nothing was offered yet. */
  | { readonly kind: "waiting" }
  | { readonly kind: "judging"; readonly offer: ControlMessageOf<"offer"> }
  /** Checkpoints and trace arrive, the machine replays. */
  | { readonly kind: "receiving"; readonly offer: ControlMessageOf<"offer"> }
  /** The commitment is here: the machine replays to F. */
  | ({ readonly kind: "reaching"; readonly offer: ControlMessageOf<"offer"> } & Commitment)
  /** At F, and equal: what the store has must bring the machine there. */
  | ({
      readonly kind: "securing";
      readonly offer: ControlMessageOf<"offer">;
      readonly reachedAt: number;
    } & Commitment)
  /** Ownership is being recorded. */
  | ({ readonly kind: "recording"; readonly reachedAt: number } & Commitment)
  | ({
      readonly kind: "going-live";
      readonly reachedAt: number;
      readonly recordedAt: number;
    } & Commitment)
  /** It lives here; the source has not said yet that it knows. */
  | { readonly kind: "live"; readonly epoch: number }
  | { readonly kind: "ended"; readonly outcome: TargetOutcome };

/** From which state which may follow. */
export const TARGET_TRANSITIONS: Readonly<
  Record<TargetState["kind"], readonly TargetState["kind"][]>
> = {
  waiting: ["judging", "ended"],
  judging: ["receiving", "ended"],
  receiving: ["reaching", "ended"],
  reaching: ["securing", "ended"],
  securing: ["recording", "ended"],
  recording: ["going-live", "ended"],
  "going-live": ["live", "ended"],
  live: ["ended"],
  ended: [],
};
