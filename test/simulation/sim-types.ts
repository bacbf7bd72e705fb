/** What simulated hosts are made of: stores, conditions, defects, and the world that hears them. */
import type { Prng } from "@dejavm/base";
import type { IfNotConverging, MigrationReport, OwnershipWish } from "@dejavm/source-agent";
import type { TargetOutcome } from "@dejavm/target-agent";
import type { ModelOutput, ModelState } from "./model.ts";
import type { SimHost } from "./sim-host.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { SimPoint, SimSegment } from "./sim-trace.ts";

/** What survives a crash. */
export interface SimStore {
  readonly ownership: { state: OwnershipWish["state"] | "receiving"; epoch: number }[];
  checkpoints: { readonly state: ModelState; readonly point: SimPoint }[];
  segments: SimSegment[];
}

/** What may go wrong at a host, and how fast it is. */
export interface SimConditions {
  /** Positions per millisecond that it replays. */
  readonly replaySpeed: number;
  readonly wrongAt: number | undefined;
  /** Milliseconds that a write takes. */
  readonly writeMs: number;
  /** Until then ownership cannot be recorded. */
  readonly fullUntil: number;
  readonly ifNotConverging: IfNotConverging;
  /** Page groups arrive unpacked after so long. */
  readonly unpackMs: number;
}

/** Rules that a host can be made to break, to see that the simulation notices. */
export type Defect =
  | "offers without a record"
  | "goes live without a record"
  | "runs on after the commitment"
  | "guesses who owns it"
  | "loses the end of the trace"
  | "lets outputs out early"
  | "takes inputs twice"
  | "compares no digests"
  | "takes any offer"
  | "believes anybody"
  | "stands still after nonsense"
  | "holds without a bound";

/** What a target may hold of what its source sends: little, so that floods come to it. */
export const MAX_HELD_BYTES = 12_000;

/** What the world around hears. */
export interface SimWorld {
  readonly network: SimNetwork;
  readonly prng: Prng;
  readonly defect: Defect | undefined;
  /** A machine stands still at F. */
  frozen(host: SimHost, state: ModelState): void;
  /** A machine that has come runs. */
  cameLive(host: SimHost, state: ModelState): void;
  /** The machine that has come and runs is given an input that its source passed on. */
  passedOn(host: SimHost, input: number): void;
  /** A migration to here is over. */
  received(host: SimHost, outcome: TargetOutcome): void;
  /** Something is about to be done: here a crash may come. */
  step(host: SimHost): void;
  outputs(host: SimHost, outputs: readonly ModelOutput[]): void;
  finished(host: SimHost, report: MigrationReport): void;
  /** Named places between durable writes and what follows: here a crash may come. */
  failPoint(host: SimHost, name: string): void;
}

/** What a full disk says. */
export const FULL = { code: "E_STORE_FULL", message: "full", hint: undefined };
