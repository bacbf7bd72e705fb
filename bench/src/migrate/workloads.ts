/** What the guest does while it is moved. */
import { GUEST_GATEWAY, type Subject } from "./subject.ts";
import { TICK_PORT } from "./tick-log.ts";

/** A workload: how it is started in the guest, beside the ticks. */
export interface Workload {
  readonly name: "idle" | "cpu" | "redis" | "dirty";
  /** Shell; leaves the process that does the work in $! where `counted`. */
  readonly start: string;
  /** Progress is what that process reads. */
  readonly counted: boolean;
  /** QEMU's modes that are best at something with it, where none are asked for. */
  readonly qemuModes: readonly string[];
}

/** Where pre-copy converges: plain, and with threads that compress. */
const QUIET = ["precopy", "multifd-zstd"] as const;

/** In the order in which tables show them. */
export const WORKLOADS: readonly Workload[] = [
  { name: "idle", start: "true", counted: false, qemuModes: QUIET },
  { name: "cpu", start: "md5sum /dev/zero >/dev/null 2>&1 &", counted: true, qemuModes: QUIET },
  {
    name: "redis",
    start:
      "redis-server --save '' --appendonly no --protected-mode no --dir /tmp >/dev/null 2>&1 &",
    counted: false,
    qemuModes: QUIET,
  },
  {
    name: "dirty",
    start: "/tmp/work dirty 64 >/dev/null 2>&1 &",
    counted: false,
    qemuModes: ["postcopy", "postcopy-at-once"],
  },
];

/** Redis under one client, as the issue has it. */
export const REDIS_LOAD = {
  keyCount: 20_000,
  valueBytes: 1024,
  operationsPerSecond: 300,
  seed: 1,
} as const;

/** Puts the program into the guest and starts workload and ticks there. */
export async function startWorkload(
  subject: Subject,
  workload: Workload,
  program: Uint8Array,
): Promise<void> {
  await subject.run("cat >/tmp/work && chmod +x /tmp/work", program);
  const pid = workload.counted ? "$!" : "";
  const script = [
    workload.start,
    `/tmp/work tick ${GUEST_GATEWAY} ${TICK_PORT} ${pid} >/dev/null 2>&1 &`,
  ];
  await subject.run(`(${script.join("\n")}\n) </dev/null`);
}
