/**
 * What a migration's source has seen of both machines and of the link between them, and the
 * situation that decisions are made by.
 */
import type { ControlMessageOf } from "@dejavm/protocol";
import type { VmReport } from "@dejavm/vm";
import type { Checkpoints } from "./checkpoints.ts";
import type { Situation } from "./controller.ts";
import type { Limit } from "./migration-report.ts";
import type { LinkView } from "./source-types.ts";
import { Speed } from "./speeds.ts";

type TargetProgress = ControlMessageOf<"target-progress">;
type SourceProgress = Extract<VmReport, { kind: "progress" }>;

/** Of its time, in which replay waits for pages: above it its speed tells nothing. */
const STARVED_SHARE = 0.1;

/** See the head of this file. */
export class Observations {
  /** Share of the CPU that the guest has here. */
  share = 1;
  link: LinkView | undefined;
  readonly #sourceSpeed = new Speed();
  readonly #replaySpeed = new Speed();
  #position = 0n;
  #target: TargetProgress | undefined;
  #targetToldAt = Number.NaN;
  #isReplayStarved = true;
  /** The checkpoint from which replay began or to which it jumped last. */
  #base = 0;

  /** The source's machine has come so far. */
  cameTo(position: bigint): void {
    this.#position = max(this.#position, position);
  }

  /** A report of the machine here. */
  sourceProgress(report: SourceProgress, now: number): void {
    this.cameTo(report.position);
    if (report.mode === "live") this.#sourceSpeed.measure(report.position, now);
  }

  /** A target that says the same again and again has stopped as much as one that is silent. */
  isNews(progress: TargetProgress): boolean {
    const last = this.#target;
    return (
      last === undefined ||
      progress.position !== last.position ||
      progress.ticks !== last.ticks ||
      progress.durableSequence !== last.durableSequence ||
      progress.completeCheckpoint !== last.completeCheckpoint ||
      progress.durableCheckpoint !== last.durableCheckpoint
    );
  }

  /** What cannot be: it is further than the source, or has what was never announced. */
  isImpossible(progress: TargetProgress, newestCheckpoint: number | undefined): boolean {
    const newest = newestCheckpoint ?? -1;
    const { position, frontier, completeCheckpoint = -1, durableCheckpoint = -1 } = progress;
    const isAhead = position > this.#position || frontier > this.#position;
    return isAhead || completeCheckpoint > newest || durableCheckpoint > newest;
  }

  /** What the target has told, if it can be. */
  targetProgress(progress: TargetProgress, now: number): void {
    const { position, waitingMs } = progress;
    const waited = waitingMs - (this.#target?.waitingMs ?? 0);
    // Not known before there are two.
    this.#isReplayStarved = !(waited <= (now - this.#targetToldAt) * STARVED_SHARE);
    this.#targetToldAt = now;
    this.#target = progress;
    if (position > 0n) this.#replaySpeed.measure(position, now - waitingMs);
  }

  /** The target has come to that checkpoint, or was beyond it already. */
  targetJumped(checkpoint: number): void {
    this.#base = Math.max(this.#base, checkpoint);
    this.#replaySpeed.restart();
  }

  /** The checkpoint that the target's replay stands on. */
  get base(): number {
    return this.#base;
  }

  /** Whether the target has all of some checkpoint. */
  get hasComplete(): boolean {
    return this.#target?.completeCheckpoint !== undefined;
  }

  /** What the migration waits for. */
  limit(checkpoints: Checkpoints, now: number): Limit {
    const { link } = this;
    if (link?.isUp !== true) return "outage";
    if (this.situation(checkpoints, now)?.isComplete === true) return "replay";
    const isOnItsWay = checkpoints.isSent && link.bulkUnderWayBytes > 0;
    return isOnItsWay || !link.isStarved ? "path" : "hosts";
  }

  /** Undefined until link, target and the first checkpoint are known. */
  situation(checkpoints: Checkpoints, now: number): Situation | undefined {
    const [link, target, newest] = [this.link, this.#target, checkpoints.newest];
    if (link === undefined || target === undefined || newest === undefined) return undefined;
    return {
      now,
      sourceSpeed: this.#sourceSpeed.perMs,
      replaySpeed: this.#replaySpeed.perMs,
      lagPositions: Number(max(this.#position - target.position, 0n)),
      targetLagPositions: Number(max(target.frontier - target.position, 0n)),
      positionsSinceCheckpoint: Number(this.#position - (checkpoints.newestPosition ?? 0n)),
      share: this.share,
      rttMs: link.rttMs,
      bytesPerMs: link.bytesPerMs,
      pendingBytes: checkpoints.pendingBytes,
      incrementBytes: checkpoints.incrementBytes,
      incrementHostMs: checkpoints.incrementHostMs(now),
      // What the target claims counts only once everything has left.
      isComplete:
        !checkpoints.isAsked &&
        checkpoints.isSent &&
        target.completeCheckpoint === newest &&
        this.#base === newest,
      isDurable: target.durableCheckpoint === newest,
      isReplayStarved: this.#isReplayStarved,
      digestsMatched: target.digestsMatched,
    };
  }
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
