/** What `dejavm replay` and `dejavm fork` do. */
import { randomBytes } from "node:crypto";
import { CodedError } from "@dejavm/base";
import { type LineageInfo, type LogStore, openLogStore } from "@dejavm/log-store";
import { type PositionedOutput, TIMEBASE_HZ } from "@dejavm/machine";
import {
  findReplayParting,
  forkVm,
  type ReplayGoal,
  StoredReplay,
  type StoredReplayOptions,
  type StoredReplayProgress,
  type StoredReplayResult,
} from "@dejavm/source-agent";
import { divergenceText, partingText } from "@dejavm/trace";
import type { EngineName } from "@dejavm/vm";
import { exitStatus } from "../exit-status.ts";
import { findIn, type LogOptions } from "../log/store-commands.ts";
import { BROKEN_OFF, longWork } from "../long-work.ts";
import { openStore, storeDirectory } from "../store.ts";
import { parseMoment } from "./moment.ts";

/** A replay tells how long it will take once it has run for so long. */
const MEASURED_SECONDS = 1;

/** Options of `dejavm replay`. */
export interface ReplayCommandOptions extends LogOptions {
  readonly until?: string;
  readonly console?: boolean;
  readonly verify?: boolean;
  readonly against?: string;
  readonly engine?: EngineName;
}

/** Options of `dejavm fork`. */
export interface ForkCommandOptions extends LogOptions {
  readonly at: string;
  readonly name?: string;
  readonly engine?: EngineName;
}

/** `dejavm replay`: the exit status. */
export async function replay(name: string, options: ReplayCommandOptions): Promise<number> {
  const { until = "end", engine, json = false } = options;
  const showConsole = options.console === true;
  const store = openLogStore(storeDirectory(options.stateDir), { mode: "read" });
  try {
    const lineage = findIn(store, name);
    const done = await runReplay({
      store,
      lineage,
      goal: goalOf(store, lineage, until, "--until"),
      whole: showConsole || options.verify === true,
      ...(engine === undefined ? {} : { engine }),
      ...(showConsole ? { onOutput: consoleTo(json ? process.stderr : process.stdout) } : {}),
    });
    if (done === BROKEN_OFF) return exitStatus.interrupted;
    const { result, replayed, seconds } = done;
    try {
      refuseDivergence(result, await partingOf(store, done, options));
    } finally {
      replayed.close();
    }
    const report = reportOf(result, replayed, seconds);
    if (json) process.stdout.write(`${JSON.stringify(report)}\n`);
    else tell(describe(report));
    return exitStatus.ok;
  } finally {
    store.close();
  }
}

/** `dejavm fork`: the exit status. */
export async function fork(name: string, options: ForkCommandOptions): Promise<number> {
  const { at, engine, json = false } = options;
  const store = openStore(options.stateDir);
  try {
    const from = findIn(store, name);
    const done = await runReplay({
      store,
      lineage: from,
      goal: goalOf(store, from, at, "--at"),
      whole: false,
      ...(engine === undefined ? {} : { engine }),
    });
    if (done === BROKEN_OFF) return exitStatus.interrupted;
    const { result, replayed } = done;
    try {
      refuseDivergence(result);
      const steps = forkVm({
        store,
        replay: replayed,
        from,
        name: options.name ?? freeName(store, from.name),
        entropySeed: new Uint8Array(randomBytes(32)),
        nowNs: BigInt(Date.now()) * 1_000_000n,
      });
      const made = await longWork(steps, inWords());
      if (made === BROKEN_OFF) return exitStatus.interrupted;
      store.syncNow();
      const { position, ticks } = replayed.machine;
      const report = { name: made.name, id: made.id, position: `${position}`, ticks: `${ticks}` };
      if (json) process.stdout.write(`${JSON.stringify(report)}\n`);
      else tell(`${made.name} begins at ${secondsOf(ticks)}; 'dejavm run --name ${made.name}'`);
      return exitStatus.ok;
    } finally {
      replayed.close();
    }
  } finally {
    store.close();
  }
}

/** What `runReplay` did. */
export interface ReplayDone {
  readonly result: StoredReplayResult;
  /** The machine where it came to; to be closed. */
  readonly replayed: StoredReplay;
  /** Wall time that it took. */
  readonly seconds: number;
}

/** Replays with progress and time left on stderr; SIGINT and SIGTERM break it off. */
export async function runReplay(
  options: StoredReplayOptions,
): Promise<ReplayDone | typeof BROKEN_OFF> {
  const replayed = await StoredReplay.open(options);
  const start = performance.now();
  try {
    const result = await longWork(replayed.run(), inWords());
    if (result !== BROKEN_OFF) {
      return { result, replayed, seconds: (performance.now() - start) / 1000 };
    }
  } catch (error) {
    replayed.close();
    throw error;
  }
  replayed.close();
  return BROKEN_OFF;
}

/** Throws E_USAGE. */
export function goalOf(
  store: LogStore,
  lineage: LineageInfo,
  text: string,
  option: string,
): ReplayGoal {
  const first = store.checkpoints(lineage.id)[0]?.position ?? 0n;
  const last = store.traceEnd(lineage.id)?.position ?? first;
  return parseMoment(text, option, { first, last });
}

/** Throws E_REPLAY_DIVERGED; all that is known about it goes to stderr before. */
export function refuseDivergence({ divergence }: StoredReplayResult, more?: string): void {
  if (divergence === undefined) return;
  const text = divergenceText(divergence);
  tell(more === undefined ? text : `${text}\n${more}`);
  const [summary = ""] = text.split("\n");
  throw new CodedError("E_REPLAY_DIVERGED", summary, {
    hint: "'dejavm log verify' tells damage from a defect of ours; report the latter",
  });
}

/** Where it parts from another execution, in words; undefined: it does not diverge. */
async function partingOf(
  store: LogStore,
  { result, replayed }: ReplayDone,
  { against }: ReplayCommandOptions,
): Promise<string | undefined> {
  const { divergence, from } = result;
  if (divergence === undefined) return undefined;
  const reference = against === undefined ? undefined : await openAt(store, against, from.position);
  const than = against === undefined ? "the interpreter" : `the recording of ${against}`;
  try {
    const search = findReplayParting({
      replay: replayed,
      divergence,
      from: from.position,
      expected: () => reference?.again() ?? replayed.again("interpreter"),
    });
    const parting = await longWork(search);
    if (parting === BROKEN_OFF) return undefined;
    if (parting !== undefined) return `  compared with ${than}:\n${partingText(parting)}`;
    return against === undefined
      ? "  the interpreter comes to the same state: what was recorded went another way"
      : `  ${than} comes to the same state`;
  } finally {
    reference?.close();
  }
}

function openAt(store: LogStore, name: string, position: bigint): Promise<StoredReplay> {
  const lineage = findIn(store, name);
  const goal = { kind: "position", position } as const;
  return StoredReplay.open({ store, lineage, goal, whole: false });
}

function consoleTo(stream: NodeJS.WriteStream): (output: PositionedOutput) => void {
  return ({ output }) => {
    if (output.kind === "console" && output.port !== "agent") stream.write(output.bytes);
  };
}

function inWords(): (progress: StoredReplayProgress) => string {
  let begun: { readonly at: number; readonly done: number } | undefined;
  return ({ phase, done, total }) => {
    if (phase !== "replay") return `${phase}: ${done} of ${total} pages`;
    const now = performance.now();
    begun ??= { at: now, done };
    const percent = total === 0 ? 100 : (100 * done) / total;
    const passed = (now - begun.at) / 1000;
    // The first moments replay cold code, and say nothing about the rest.
    if (passed < MEASURED_SECONDS || done === begun.done) return `replay: ${percent.toFixed(1)} %`;
    const left = (passed * (total - done)) / (done - begun.done);
    return `replay: ${percent.toFixed(1)} %, ${left.toFixed(0)} s left`;
  };
}

function reportOf(result: StoredReplayResult, { machine }: StoredReplay, seconds: number) {
  const { reached, digests, from } = result;
  const guestSeconds = Number(machine.ticks - from.ticks) / TIMEBASE_HZ;
  return {
    reached,
    digestsCompared: digests,
    from: { position: `${from.position}`, ticks: `${from.ticks}` },
    position: `${machine.position}`,
    ticks: `${machine.ticks}`,
    digest: machine.digest(),
    guestSeconds,
    seconds,
    /** Guest time per wall time. */
    speed: guestSeconds / seconds,
  };
}

function describe(report: ReturnType<typeof reportOf>): string {
  const { reached, digestsCompared, position, ticks, digest, guestSeconds, seconds } = report;
  const gap = reached === "gap" ? "; it was not recorded any further then" : "";
  return (
    `replayed ${guestSeconds.toFixed(1)} s in ${seconds.toFixed(1)} s, to ` +
    `${secondsOf(BigInt(ticks))}, position ${position}${gap}\n` +
    `${digestsCompared} digests equal; digest there ${digest}`
  );
}

function freeName(store: LogStore, name: string): string {
  for (let n = 1; ; n++) {
    const free = n === 1 ? `${name}-fork` : `${name}-fork-${n}`;
    if (store.findLineage(free) === undefined) return free;
  }
}

function secondsOf(ticks: bigint): string {
  return `${(Number(ticks) / TIMEBASE_HZ).toFixed(3)} s`;
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}
