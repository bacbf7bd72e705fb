/** Watches one machine's execution on its thread, for `--engine-stats` and `--profile`. */
import { Session } from "node:inspector";
import { assert } from "@dejavm/base";
import type { EngineStatistics } from "@dejavm/machine";
import {
  type EngineReport,
  engineReport,
  type ProfileNode,
  secondsByKind,
} from "../engine-report.ts";
import { type CpuProfile, GuestProfile, SymbolTable } from "../guest-profile.ts";

/** What is wanted. Plain data. */
export interface MonitorSpec {
  readonly statistics: boolean;
  /** Text of a symbol file, or empty; undefined: no profile. */
  readonly profileSymbols: string | undefined;
}

/** What was seen. */
export interface MonitorReport {
  readonly engine: EngineReport | undefined;
  readonly profile: CpuProfile | undefined;
}

const SAMPLE_MICROSECONDS = 1000;
/** A shorter gap between two slices is the loop's own work. */
const IDLE_MICROSECONDS = 50;

interface Watched {
  readonly pc: bigint;
  readonly statistics: EngineStatistics;
}

/** See the head of this file. */
export class EngineMonitor {
  readonly #machine: Watched;
  readonly #first: EngineStatistics;
  readonly #sampler: Session | undefined;
  readonly #profile: GuestProfile | undefined;
  #lastEnd = microseconds();

  constructor(machine: Watched, { statistics, profileSymbols }: MonitorSpec) {
    this.#machine = machine;
    this.#first = machine.statistics;
    if (statistics) this.#sampler = startSampler();
    if (profileSymbols !== undefined) {
      this.#profile = new GuestProfile(SymbolTable.parse(profileSymbols), this.#lastEnd);
    }
  }

  /** A slice that began at `start` has just ended. */
  sliceEnded(start: number): void {
    const profile = this.#profile;
    if (profile === undefined) return;
    if (start - this.#lastEnd > IDLE_MICROSECONDS) profile.waited(this.#lastEnd);
    profile.ran(this.#machine.pc, start);
    this.#lastEnd = microseconds();
  }

  /** The end: what was seen. */
  finish(): MonitorReport {
    const engine =
      this.#sampler === undefined
        ? undefined
        : engineReport(
            this.#machine.statistics,
            this.#first,
            secondsByKind(stopSampler(this.#sampler), SAMPLE_MICROSECONDS / 1e6),
          );
    return { engine, profile: this.#profile?.finish(microseconds()) };
  }
}

/** The clock of `sliceEnded`. */
export function microseconds(): number {
  return performance.now() * 1000;
}

function startSampler(): Session {
  const session = new Session();
  session.connect();
  session.post("Profiler.enable");
  session.post("Profiler.setSamplingInterval", { interval: SAMPLE_MICROSECONDS });
  session.post("Profiler.start");
  return session;
}

function stopSampler(session: Session): readonly ProfileNode[] {
  let nodes: readonly ProfileNode[] | undefined;
  // The answer comes before `post` returns: the session is on its own thread.
  session.post("Profiler.stop", (error, { profile }) => {
    if (error === null) ({ nodes } = profile);
  });
  session.disconnect();
  assert(nodes !== undefined, "the profiler answers at once");
  return nodes;
}
