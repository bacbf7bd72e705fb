/**
 * The process of one run of the recording benchmark, so that runs do not share a heap:
 *
 *     debian-child SNAPSHOT_JSON WORKLOAD STORE      prints a `RunFigures` as JSON
 *
 * An empty STORE: it is not recorded. With a store the run is replayed afterwards, too.
 */
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import { parseForward } from "@dejavm/gateway";
import { HOST_CODECS, type LineageId, openLogStore, type SqliteLogStore } from "@dejavm/log-store";
import type { Machine } from "@dejavm/machine";
import { Replayer, type TracePoint, TraceReader } from "@dejavm/trace";
import { FileBlockStore, inspectDiskFile, makeMachine, setEngineFlags } from "@dejavm/vm";
import { freePort } from "../free-port.ts";
import { GUEST_PORT, type GuestSnapshot, RunningGuest, startSpec } from "./guest.ts";
import { type RunFigures, WORK, type WorkloadName } from "./workloads.ts";

setEngineFlags();

/** Quiet is a window in which the process has used less than this share of a processor. */
const QUIET = { windowMs: 500, share: 0.03, mostMs: 10_000 } as const;

interface RunPlan {
  readonly snapshot: GuestSnapshot;
  readonly workload: WorkloadName;
  /** Empty: unrecorded. */
  readonly storePath: string;
}

/** CPU seconds of this process, all threads. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function startOf({ position, ticks }: GuestSnapshot): TracePoint {
  const chain = new Uint8Array(32);
  return { sequence: 0, position: BigInt(position), ticks: BigInt(ticks), chain };
}

async function run(plan: RunPlan): Promise<RunFigures> {
  const { snapshot, workload, storePath } = plan;
  const store = storePath === "" ? undefined : openLogStore(storePath);
  const bytes = new Uint8Array(0);
  const lineage = store?.createLineage({ name: "bench", config: bytes, fingerprint: bytes }).id;
  const writer = lineage && store?.openLineage(lineage);
  const port = await freePort();
  const guest = await RunningGuest.start(
    {
      ...startSpec(snapshot.disk),
      source: { kind: "restore", path: snapshot.path },
      ...(store === undefined ? {} : { record: startOf(snapshot) }),
    },
    {
      forwards: [parseForward(`127.0.0.1:${port}:${GUEST_PORT}`)],
      onReport: (report) => {
        if (report.kind === "segment") writer?.append([report]);
      },
    },
  );
  // The first digest hashes all of RAM. Like the first checkpoint it belongs to the start; both
  // kinds of runs have it behind them.
  await guest.vm.digest();
  await quiet();
  const begin = await guest.vm.digest();
  const [cpuBefore, wallBefore] = [cpuSeconds(), performance.now()];
  await work(guest, workload, port);
  const [cpu, wall] = [cpuSeconds() - cpuBefore, (performance.now() - wallBefore) / 1000];
  const received = guest.receivedBytes;
  const { position } = await guest.vm.digest();
  await guest.stop();
  const positions = Number(position - begin.position);
  const figures = { cpuSeconds: cpu, wallSeconds: wall, positions };
  if (store === undefined || lineage === undefined || writer === undefined) {
    return { ...figures, receivedBytes: received, recording: undefined };
  }
  writer.compact();
  writer.release();
  const recording = replay(snapshot, store, lineage, begin.position);
  store.close();
  return { ...figures, receivedBytes: received, recording };
}

/**
 * V8 compiles what the start made hot for a second or two, which is most of the CPU time of an
 * idle guest's 20 seconds: it belongs to the start as well.
 */
async function quiet(): Promise<void> {
  for (let waited = 0; waited < QUIET.mostMs; waited += QUIET.windowMs) {
    const before = cpuSeconds();
    await setTimeout(QUIET.windowMs);
    if (cpuSeconds() - before < (QUIET.share * QUIET.windowMs) / 1000) return;
  }
}

async function work(guest: RunningGuest, workload: WorkloadName, port: number): Promise<void> {
  switch (workload) {
    case "idle":
      await setTimeout(WORK.idleSeconds * 1000);
      break;
    case "cpu":
      await guest.command(WORK.cpuCommand);
      break;
    case "network": {
      // The gateway is another one than before: it hears of the guest first.
      await guest.command("ping -c 1 -W 2 10.0.2.2");
      await guest.command(`(nc -l -p ${GUEST_PORT} > /dev/null; echo re""ceived) & sleep 1`);
      const socket = connect(port, "127.0.0.1");
      socket.end(randomBytes(WORK.networkBytes));
      await guest.says("received\r\n");
    }
  }
}

/**
 * From the snapshot, as fast as it goes; throws where it is not the same. Its time is from `begin`,
 * where the recorded run's time began: what was before, the first digest of all of RAM above all,
 * is the start's in both.
 */
function replay(
  snapshot: GuestSnapshot,
  store: SqliteLogStore,
  lineage: LineageId,
  begin: bigint,
): NonNullable<RunFigures["recording"]> {
  const segments = [...store.readTrace(lineage, 0)];
  const disks = new FileBlockStore([inspectDiskFile(snapshot.disk)]);
  const { machine } = makeMachine({ kind: "restore", path: snapshot.path }, disks, {});
  const replayer = new Replayer({ machine });
  const reader = new TraceReader({ codecs: HOST_CODECS, at: startOf(snapshot) });
  let digests = 0;
  let from: readonly [number, number] | undefined;
  for (const segment of segments) {
    replayer.feed(reader.read(segment.bytes));
    for (;;) {
      if (machine.position >= begin) from ??= [cpuSeconds(), performance.now()];
      const step = replayer.advance(1_000_000n);
      if (step.kind === "at-frontier" || step.kind === "ended") break;
      if (step.kind === "digest-matched") digests++;
      else if (step.kind === "missing-block") {
        for (const block of machine.takeDirtyBlocks()) disks.write(block);
        for (const block of step.blocks) {
          machine.supplyBlock(block, disks.read(block) ?? new Uint8Array(0));
        }
      } else if (step.kind !== "ran") throw new Error(`the replay came to ${step.kind}`);
    }
  }
  if (from === undefined) throw new Error("the replay ended before what was measured began");
  const replayed = {
    replayCpuSeconds: cpuSeconds() - from[0],
    replaySeconds: (performance.now() - from[1]) / 1000,
  };
  const traceBytes = segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const pauses = checkpointPauses(machine);
  disks.close();
  return { ...replayed, traceBytes, digests, checkpointPauseMs: pauses };
}

/** How long the guest stands still when a checkpoint begins; each after some work. */
function checkpointPauses(machine: Machine): number[] {
  return Array.from({ length: 5 }, () => {
    const start = performance.now();
    machine.checkpoint({ maxSavedPages: 1000 }).close();
    return performance.now() - start;
  });
}

const [snapshot = "", workload = "", storePath = ""] = process.argv.slice(2);
const figures = await run({
  snapshot: JSON.parse(snapshot) as GuestSnapshot,
  workload: workload as WorkloadName,
  storePath,
});
process.stdout.write(JSON.stringify(figures));
process.exit(0);
