/** What the recorded guest does, and what one run of it gave. */

/** idle: Debian with nothing to do. cpu: one process that computes. network: a server receives. */
export type WorkloadName = "idle" | "cpu" | "network";
/** All of them. */
export const WORKLOADS: readonly WorkloadName[] = ["idle", "cpu", "network"];

/** How much of it: several seconds of CPU time or of idleness, so that no beginning counts much. */
export const WORK = {
  idleSeconds: 20,
  cpuCommand: "python3 -c 'sum(i * i % 7 for i in range(4000000))'",
  networkBytes: 32 * 2 ** 20,
} as const;

/** One run. */
export interface RunFigures {
  /** CPU of the whole process and wall time, from the work's begin to its end. */
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly positions: number;
  /** Bytes of frames that the guest received. */
  readonly receivedBytes: number;
  /** Undefined: it was not recorded. */
  readonly recording:
    | {
        /** As the store keeps it, in its merged and compressed blocks. */
        readonly traceBytes: number;
        readonly replaySeconds: number;
        readonly replayCpuSeconds: number;
        /** Digests that were equal. */
        readonly digests: number;
        readonly checkpointPauseMs: readonly number[];
      }
    | undefined;
}
