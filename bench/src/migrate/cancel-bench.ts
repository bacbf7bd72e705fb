/**
 * `dejavm bench cancel`: a guest's migration is cancelled in each phase before the commitment, and
 * how it goes on is measured the way `bench migrate` measures a move.
 *
 * Method: boot, start the workload and the 10 ms ticks, let it settle; then for each phase begin a
 * migration, cancel it when it says that it is in that phase, watch on for a while.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { WAN_PROFILES } from "@dejavm/wan";
import { buildWork } from "./build-work.ts";
import { withDejavm } from "./dejavm-subject.ts";
import { pick } from "./pick.ts";
import { startWorkload, WORKLOADS, type Workload } from "./workloads.ts";

/** What to measure. */
export interface CancelBenchOptions {
  /** None: all but redis, whose client is not watched here. */
  readonly workloads: readonly string[];
  /** A profile of the WAN rig. */
  readonly profile: string;
  /** Cancels in each phase. */
  readonly rounds: number;
}

/** One migration that was cancelled. */
export interface CancelRun {
  readonly workload: string;
  readonly profile: string;
  readonly phase: string;
  /** `missed`: the migration was over, or committed, before that phase could be cancelled. */
  readonly outcome: "stayed" | "missed";
  /** Longest time without a tick from the cancel on, one that reaches into it included. */
  readonly silentMs: number;
  /** From the cancel until the migration had ended at the source. */
  readonly endedMs: number;
}

/** What `--json` prints. */
export interface CancelBenchResult {
  readonly runs: readonly CancelRun[];
}

const PHASES = ["negotiate", "checkpoint", "chase", "cutover"] as const;
const SETTLE_MS = 4000;
const AFTER_MS = 3000;

/** `progress` gets lines for people. Throws E_TOOL_MISSING, E_IMAGE_*, E_USAGE. */
export async function runCancelBench(
  { workloads: names, profile, rounds }: CancelBenchOptions,
  progress: (line: string) => void,
): Promise<CancelBenchResult> {
  const workloads = pick("workload", WATCHED, names);
  pick("profile", WAN_PROFILES, [profile]);
  const program = readFileSync(await buildWork());
  const runs: CancelRun[] = [];
  for (const workload of workloads) {
    for (let round = 1; round <= rounds; round++) {
      progress(`${workload.name}, ${profile}: round ${round} of ${rounds}`);
      runs.push(...(await cancelledRuns(workload, profile, program)));
    }
  }
  return { runs };
}

/** One pair of agents; the same machine goes on after each cancel, as long as it stays. */
async function cancelledRuns(
  workload: Workload,
  profile: string,
  program: Uint8Array,
): Promise<readonly CancelRun[]> {
  return withDejavm(profile, async (subject, ticks) => {
    const runs: CancelRun[] = [];
    await startWorkload(subject, workload, program);
    await sleep(SETTLE_MS);
    for (const phase of PHASES) {
      const { moved, cancelledAtMs, endedAtMs } = await subject.moveAndCancel(phase);
      await sleep(AFTER_MS);
      const outcome = moved || cancelledAtMs === undefined ? "missed" : "stayed";
      const fromMs = cancelledAtMs ?? endedAtMs;
      const silentMs = Math.round(ticks.longestGapMs(fromMs, performance.now()));
      const endedMs = Math.round(endedAtMs - fromMs);
      runs.push({ workload: workload.name, profile, phase, outcome, silentMs, endedMs });
      if (moved) break;
    }
    return runs;
  });
}

const WATCHED = WORKLOADS.filter(({ name }) => name !== "redis");
