/** What an execution cost and where: the figures of `--engine-stats`. Pure. */
import type { EngineStatistics } from "@dejavm/machine";

/** Host seconds of the machine's thread by what it did, estimated by sampling. */
export interface EngineSeconds {
  readonly interpreter: number;
  /** In translated code, with what it calls of the engine's floating point. */
  readonly translated: number;
  /** Translation, and compilation as far as it is on this thread. */
  readonly translation: number;
  /** Page walks, traps, CSRs, the outer loop. */
  readonly system: number;
  /** Devices, inputs and outputs, garbage collection: everything else. */
  readonly other: number;
}

/** See the head of this file. Counts are since the machine began here. */
export interface EngineReport {
  readonly seconds: EngineSeconds;
  /** Instructions and traps by tier. */
  readonly positions: { readonly interpreter: number; readonly translated: number };
  readonly regions: number;
  readonly modules: number;
  readonly translatedInstructions: number;
  /** WebAssembly kept at the end. */
  readonly codeBytes: number;
  /** Seconds of translation by the clock. */
  readonly compileSeconds: number;
  /** Regions dropped because their code was written or moved, or memory for code was full. */
  readonly invalidations: number;
  /** Times that memory for code was full. */
  readonly evictions: number;
  /** Modules that the host could not compile. */
  readonly failures: number;
  readonly tlb: {
    readonly dataMisses: number;
    readonly fetchMisses: number;
    readonly flushes: number;
  };
  /** Instructions run alone: device accesses, writes to code and page tables in use. */
  readonly steps: number;
  readonly traps: number;
}

/** A node of V8's CPU profile, as far as it is looked at. */
export interface ProfileNode {
  readonly callFrame: { readonly functionName: string; readonly url: string };
  readonly hitCount?: number | undefined;
}

function kindOf({
  callFrame: { functionName, url },
}: ProfileNode): keyof EngineSeconds | undefined {
  if (functionName === "(idle)" || functionName === "(root)") return undefined;
  if (url.startsWith("wasm:")) {
    if (functionName.startsWith("region_") || functionName.startsWith("float."))
      return "translated";
    return functionName === "execute" ? "interpreter" : "system";
  }
  return /\/hart\/jit\/|\/wasm\//.test(url) ? "translation" : "other";
}

/** Splits samples taken every `intervalSeconds`. */
export function secondsByKind(
  nodes: readonly ProfileNode[],
  intervalSeconds: number,
): EngineSeconds {
  const seconds = { interpreter: 0, translated: 0, translation: 0, system: 0, other: 0 };
  for (const node of nodes) {
    const kind = kindOf(node);
    if (kind !== undefined) seconds[kind] += (node.hitCount ?? 0) * intervalSeconds;
  }
  return seconds;
}

/** The report from the machine's counters; `first` are those at the start. */
export function engineReport(
  now: EngineStatistics,
  first: EngineStatistics,
  seconds: EngineSeconds,
): EngineReport {
  const positions = Number(now.positions - first.positions);
  const translated = Number(now.translated - first.translated);
  return {
    seconds,
    positions: { interpreter: positions - translated, translated },
    regions: now.regions,
    modules: now.modules,
    translatedInstructions: now.instructions,
    codeBytes: now.codeBytes,
    compileSeconds: now.compileMs / 1000,
    invalidations: now.dropped,
    evictions: now.flushes,
    failures: now.failures,
    tlb: {
      dataMisses: Number(now.dataFills - first.dataFills),
      fetchMisses: Number(now.fetchFills - first.fetchFills),
      flushes: Number(now.flushesOfTlb - first.flushesOfTlb),
    },
    steps: Number(now.steps - first.steps),
    traps: Number(now.traps - first.traps),
  };
}

/** For people, without colours. */
export function engineLines(report: EngineReport): string[] {
  const { seconds, positions, tlb } = report;
  const tier = (name: string, count: number, time: number): string => {
    const millions = (count / 1e6).toFixed(1).padStart(10);
    return `${name.padEnd(12)}${millions} M instructions  ${time.toFixed(2)} s`;
  };
  return [
    tier("interpreter", positions.interpreter, seconds.interpreter),
    tier("translated", positions.translated, seconds.translated),
    `translation ${report.compileSeconds.toFixed(2)} s: ${report.regions} regions in ` +
      `${report.modules} modules, ${report.translatedInstructions} instructions; ` +
      `${(report.codeBytes / 1024).toFixed(0)} KiB now, ${report.invalidations} invalidated, ` +
      `${report.evictions} evictions, ${report.failures} failures`,
    `system ${seconds.system.toFixed(2)} s, other ${seconds.other.toFixed(2)} s; TLB misses: ` +
      `${tlb.dataMisses} data, ${tlb.fetchMisses} fetch, ${tlb.flushes} flushes; ` +
      `${report.steps} steps, ${report.traps} traps`,
  ];
}
