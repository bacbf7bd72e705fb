/** Déjà VM's own migration of the benchmark's guest: two agents and the WAN rig, as processes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  agentSocket,
  ControlClient,
  runCommand,
  startMigration,
  tapFrames,
  vmSummarySchema,
} from "@dejavm/agent";
import { wholeCpuSecondsOf } from "../cpu-time.ts";
import { AgentProcess, RigProcess } from "./dejavm-process.ts";
import type { HostsCpu, MoveResult, Subject } from "./subject.ts";
import { parseTick, TickLog } from "./tick-log.ts";

/** What it is made from. */
export interface DejavmSubjectOptions {
  readonly profile: string;
  /** For state directories; its path is short. */
  readonly folder: string;
  readonly memoryMib: number;
  /** Added to the image's kernel command line. */
  readonly append: string;
  /** Hears of each frame as it leaves the live machine, in milliseconds since 1970. */
  readonly onFrame: (frame: Uint8Array, atMs: number) => void;
}

/** A move that was begun and cancelled; host times as of `performance.now()`. */
export interface CancelledMove {
  /** It was too late. */
  readonly moved: boolean;
  /** Undefined: it never was in that phase. */
  readonly cancelledAtMs: number | undefined;
  /** When its report came. */
  readonly endedAtMs: number;
}

/** RAM of the guests that are moved. */
export const GUEST_MIB = 256;
const NAME = "bench";

/** See the head of this file. */
export class DejavmSubject implements Subject {
  readonly system = "dejavm";
  readonly strategy = "replay";
  #redisPort: number;
  readonly #options: DejavmSubjectOptions;
  readonly #source: AgentProcess;
  readonly #target: AgentProcess;
  readonly #rig: RigProcess;
  #moved = false;

  private constructor(
    options: DejavmSubjectOptions,
    parts: {
      readonly source: AgentProcess;
      readonly target: AgentProcess;
      readonly rig: RigProcess;
    },
    redisPort: number,
  ) {
    this.#options = options;
    this.#source = parts.source;
    this.#target = parts.target;
    this.#rig = parts.rig;
    this.#redisPort = redisPort;
  }

  static async start(options: DejavmSubjectOptions): Promise<DejavmSubject> {
    const { profile, folder, memoryMib, append, onFrame } = options;
    const source = await AgentProcess.start("source", folder);
    const target = await AgentProcess.start("target", folder);
    const rig = await RigProcess.start(profile, await target.address(), folder);
    await source.pairWith(target, rig.address);
    const started = await source.client.ask({
      method: "POST",
      path: "/v1/vms",
      body: {
        name: NAME,
        image: "debian",
        memoryBytes: memoryMib * 2 ** 20,
        append,
        forwards: ["0:6379"],
      },
      answer: vmSummarySchema,
    });
    await tapFrames(source.client, NAME, onFrame);
    return new DejavmSubject(options, { source, target, rig }, portOf(started));
  }

  get redisPort(): number {
    return this.#redisPort;
  }

  cpuSeconds(): HostsCpu {
    return {
      source: wholeCpuSecondsOf(this.#source.pid),
      target: wholeCpuSecondsOf(this.#target.pid),
    };
  }

  async run(command: string, input?: Uint8Array): Promise<string> {
    const { client } = this.#moved ? this.#target : this.#source;
    const { status, output } = await runCommand(client, NAME, command, input);
    if (status !== 0) throw new Error(`'${command}' ended with ${status}: ${output}`);
    return output;
  }

  async move(): Promise<MoveResult> {
    const before = await this.#rig.bytes();
    const startMs = performance.now();
    const arrival = this.#watchArrival();
    const migration = await startMigration(this.#source.client, NAME, { to: "target" }, () => {
      // Nobody watches.
    });
    const report = await migration.report;
    const totalSeconds = (performance.now() - startMs) / 1000;
    this.#moved = report.outcome.kind === "moved";
    if (this.#moved) {
      await arrival.done;
      const path = `/v1/vms/${NAME}`;
      const arrived = await this.#target.client.ask({
        method: "GET",
        path,
        answer: vmSummarySchema,
      });
      // The host chose another one for the same forward.
      this.#redisPort = portOf(arrived);
    }
    arrival.giveUp();
    return {
      converged: this.#moved,
      totalSeconds,
      wireBytes: (await this.#rig.bytes()) - before,
      digestsEqual: this.#moved && report.digestAtCutover !== undefined,
      report,
    };
  }

  /** Begins to move the machine and cancels that as soon as it is said to be in `phase`. */
  async moveAndCancel(phase: string): Promise<CancelledMove> {
    let cancelledAtMs: number | undefined;
    const migration = await startMigration(
      this.#source.client,
      NAME,
      { to: "target" },
      (progress) => {
        if (progress.phase !== phase || cancelledAtMs !== undefined) return;
        cancelledAtMs = performance.now();
        migration.cancel();
      },
    );
    const { outcome } = await migration.report;
    const endedAtMs = performance.now();
    this.#moved = outcome.kind === "moved";
    return { moved: this.#moved, cancelledAtMs, endedAtMs };
  }

  async close(): Promise<void> {
    await Promise.all([this.#source.close(), this.#target.close(), this.#rig.close()]);
  }

  /** Taps the machine at the target as soon as it is there: it holds frames until it is plugged. */
  #watchArrival(): { readonly done: Promise<void>; readonly giveUp: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const client = new ControlClient(agentSocket(this.#target.stateDir));
    const giving = new AbortController();
    const attempt = async (): Promise<void> => {
      while (!giving.signal.aborted) {
        try {
          const path = `/v1/vms/${NAME}`;
          await client.ask({ method: "GET", path, answer: vmSummarySchema });
          await tapFrames(client, NAME, this.#options.onFrame);
          break;
        } catch {
          await new Promise((again) => {
            setTimeout(again, TAP_RETRY_MS);
          });
        }
      }
      resolve();
    };
    void attempt();
    return { done: promise, giveUp: () => giving.abort() };
  }
}

/** Does something with a guest behind a WAN and its ticks; both hosts are gone afterwards. */
export async function withDejavm<T>(
  profile: string,
  action: (subject: DejavmSubject, ticks: TickLog) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "dejavm-bench-"));
  const ticks = new TickLog();
  let subject: DejavmSubject | undefined;
  try {
    subject = await DejavmSubject.start({
      profile,
      folder,
      memoryMib: GUEST_MIB,
      append: "ro",
      onFrame: (frame, atMs) => {
        const tick = parseTick(frame, atMs - performance.timeOrigin);
        if (tick !== undefined) ticks.add(tick);
      },
    });
    return await action(subject, ticks);
  } finally {
    await subject?.close();
    rmSync(folder, { recursive: true });
  }
}

function portOf({ forwards }: { readonly forwards: readonly string[] }): number {
  return Number(forwards[0]?.split(":")[1]);
}

/** The machine's network keeps its last two hundred frames: nothing is missed. */
const TAP_RETRY_MS = 100;
