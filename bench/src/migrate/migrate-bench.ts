/**
 * `dejavm bench migrate`: one guest under each workload is moved through each WAN by each system,
 * and what its clients saw is measured the same way for all.
 *
 * Method: boot, start the workload and the 10 ms ticks, let it settle, move, watch on for a while.
 * silentMs is the longest time without a tick, stamped where frames leave the live machine.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { requireHostTool } from "@dejavm/debian";
import { Gateway } from "@dejavm/gateway";
import { resolveImage } from "@dejavm/image";
import { WAN_PROFILES } from "@dejavm/wan";
import { buildWork } from "./build-work.ts";
import { CableSwitch } from "./cable-switch.ts";
import { GUEST_MIB, withDejavm } from "./dejavm-subject.ts";
import { pick } from "./pick.ts";
import type { GuestFiles } from "./qemu-guest.ts";
import { QEMU_MODES, type QemuMode, QemuSubject } from "./qemu-subject.ts";
import { RedisClient } from "./redis-client.ts";
import { forwardRedis, type HostsCpu, type MoveResult, type Subject } from "./subject.ts";
import { parseTick, TickLog } from "./tick-log.ts";
import { REDIS_LOAD, startWorkload, WORKLOADS, type Workload } from "./workloads.ts";

/** What to measure; empty lists: everything. */
export interface MigrateBenchOptions {
  readonly workloads: readonly string[];
  readonly profiles: readonly string[];
  /** Measure QEMU, too. */
  readonly withQemu: boolean;
  /** Modes of QEMU; none: those that are best at something with each workload. */
  readonly qemuModes: readonly string[];
  /** A folder for what each system reports of its moves; undefined: it is not kept. */
  readonly reports: string | undefined;
}

/** One move. */
export interface MigrateRun {
  readonly system: string;
  readonly workload: string;
  readonly profile: string;
  readonly strategy: string;
  readonly converged: boolean;
  readonly totalSeconds: number;
  readonly silentMs: number;
  /** Longest wait of the redis client; null: there was none. */
  readonly clientLongestMs: number | null;
  readonly wireBytes: number;
  /**
   * The guest's work per CPU second of the source's process during the move, over the same before
   * it; null: none is counted.
   */
  readonly workDoneRatio: number | null;
  readonly digestsEqual: boolean | null;
  /** Acknowledged writes that were not found again; null: there was no client. */
  readonly lostAcknowledged: number | null;
  /** CPU seconds that each host's process used during the move, its guest's included. */
  readonly cpuSeconds: HostsCpu;
}

/** What `--json` prints. */
export interface MigrateBenchResult {
  readonly qemuVersion: string;
  readonly runs: readonly MigrateRun[];
}

const CONSOLE = "console=ttyS0";
const SETTLE_MS = 4000;
const AFTER_MS = 3000;

/** `progress` gets lines for people. Throws E_TOOL_MISSING, E_IMAGE_*, E_USAGE. */
export async function runMigrateBench(
  options: MigrateBenchOptions,
  progress: (line: string) => void,
): Promise<MigrateBenchResult> {
  const workloads = pick("workload", WORKLOADS, options.workloads);
  const profiles = pick("profile", WAN_PROFILES, options.profiles);
  pick("QEMU mode", QEMU_MODES, options.qemuModes);
  const qemu = await requireHostTool("qemu-system-riscv64");
  const program = readFileSync(await buildWork());
  const files = await guestFiles();
  const { reports } = options;
  if (reports !== undefined) mkdirSync(reports, { recursive: true });
  const runs: MigrateRun[] = [];
  for (const workload of workloads) {
    const wanted = options.qemuModes.length > 0 ? options.qemuModes : workload.qemuModes;
    const modes = options.withQemu ? pick("QEMU mode", QEMU_MODES, wanted) : [];
    for (const { name: profile } of profiles) {
      progress(`${workload.name}, ${profile}: dejavm`);
      runs.push(await runDejavm({ workload, profile, program, reports }));
      for (const mode of modes) {
        progress(`${workload.name}, ${profile}: QEMU ${mode.name}`);
        runs.push(await runQemu({ qemu, files, mode, workload, profile, program, reports }));
      }
    }
  }
  return { qemuVersion: await versionOf(qemu), runs };
}

interface Measured {
  readonly workload: Workload;
  readonly profile: string;
  readonly program: Uint8Array;
  readonly reports: string | undefined;
}

interface QemuRun extends Measured {
  readonly qemu: string;
  readonly files: GuestFiles;
  readonly mode: QemuMode;
}

async function runQemu(run: QemuRun): Promise<MigrateRun> {
  const folder = mkdtempSync(join(tmpdir(), "dejavm-bench-"));
  const gateway = await Gateway.start({ policy: { rules: [], forwards: [] } });
  const ticks = new TickLog();
  const cables = new CableSwitch(gateway, (frame) => {
    const tick = parseTick(frame, performance.now());
    if (tick !== undefined) ticks.add(tick);
  });
  let subject: Subject | undefined;
  try {
    const paths = { source: join(folder, "cable-s"), target: join(folder, "cable-t") };
    await cables.listen(paths.source);
    await cables.listen(paths.target);
    const redisPort = await forwardRedis(gateway);
    subject = await QemuSubject.start({ ...run, folder, cables: paths, redisPort });
    return await measure(subject, run, ticks);
  } finally {
    await subject?.close();
    cables.close();
    await gateway.close();
    rmSync(folder, { recursive: true });
  }
}

async function runDejavm(run: Measured) {
  return withDejavm(run.profile, (subject, ticks) => measure(subject, run, ticks));
}

async function measure(
  subject: Subject,
  { workload, profile, program, reports }: Measured,
  ticks: TickLog,
): Promise<MigrateRun> {
  await startWorkload(subject, workload, program);
  const client =
    workload.name === "redis"
      ? await RedisClient.start({ host: "127.0.0.1", port: subject.redisPort, ...REDIS_LOAD })
      : undefined;
  client?.work();
  await sleep(SETTLE_MS / 2);
  const usual = workMeter(subject, ticks);
  await sleep(SETTLE_MS / 2);
  const workBefore = usual();
  const beforeMs = performance.now();
  const cpuBefore = subject.cpuSeconds();
  const meter = workMeter(subject, ticks);
  const moved = await subject.move();
  const workDuring = meter();
  const cpuSeconds = used(cpuBefore, subject.cpuSeconds());
  if (reports !== undefined && moved.report !== undefined) {
    const file = `${workload.name}-${profile}-${subject.system}-${subject.strategy}.json`;
    writeFileSync(join(reports, file), JSON.stringify(moved.report));
  }
  await sleep(AFTER_MS);
  await client?.stop();
  const lost = client === undefined ? null : await lostWrites(client, subject.redisPort);
  client?.close();
  return {
    system: subject.system,
    workload: workload.name,
    profile,
    strategy: subject.strategy,
    ...figures(moved),
    silentMs: Math.round(ticks.longestGapMs(beforeMs, performance.now())),
    clientLongestMs: client === undefined ? null : Math.round(client.report.longestMs),
    workDoneRatio: workBefore === 0 ? null : round(workDuring / workBefore),
    lostAcknowledged: lost,
    cpuSeconds,
  };
}

/**
 * Work from now on, per CPU second that the source's process uses: guest, recording and whatever a
 * move costs there. Both hosts share the processors here, so work per second of time would also
 * count what the target takes.
 */
function workMeter(subject: Subject, ticks: TickLog): () => number {
  const startMs = performance.now();
  const { source } = subject.cpuSeconds();
  return () => {
    const work = ticks.progressBetween(startMs, performance.now());
    const seconds = subject.cpuSeconds().source - source;
    return seconds === 0 ? 0 : work / seconds;
  };
}

function used(before: HostsCpu, after: HostsCpu): HostsCpu {
  return {
    source: round(after.source - before.source),
    target: round(after.target - before.target),
  };
}

/** Keys that are not what was acknowledged, through the old connection and a new one, or more. */
async function lostWrites(client: RedisClient, port: number): Promise<number> {
  const { wrong, connected } = client.report;
  // A connection that is gone has kept nothing.
  const same = connected ? await client.lost("same-connection") : REDIS_LOAD.keyCount;
  return wrong + Math.max(same, await client.lost("new-connection", port));
}

function figures({ converged, totalSeconds, wireBytes, digestsEqual }: MoveResult) {
  return { converged, totalSeconds: round(totalSeconds), wireBytes, digestsEqual };
}

/** The image's files; the root file system read-only, so that both hosts may share the disk. */
async function guestFiles(): Promise<GuestFiles> {
  const { kernel, initrd, disk, manifest } = await resolveImage("debian");
  const commandLine = `${manifest.commandLine} ro ${CONSOLE}`;
  return { kernel, initrd, disk, commandLine, memoryMib: GUEST_MIB };
}

async function versionOf(qemu: string): Promise<string> {
  const { runProcess } = await import("@dejavm/debian");
  const { stdout } = await runProcess(qemu, ["--version"]);
  return /version ([\d.]+)/.exec(stdout)?.[1] ?? "unknown";
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
