/** Makes machines for the worker: from a configuration, or from a snapshot file. */
import { CodedError, unreachable } from "@dejavm/base";
import {
  type BootConfig,
  DEFAULT_POLICY,
  decodeState,
  EAGER_JIT,
  type JitPolicy,
  Machine,
  type MachineConfig,
  type MachineOptions,
  NO_JIT,
  type RestoreConfig,
  SEMANTICS,
} from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";
import type { Description } from "../description.ts";
import type { DiskFile, FileBlockStore } from "./disk-file.ts";
import { dispatchHere } from "./dispatch.ts";
import type { MonitorSpec } from "./engine-monitor.ts";
import { loadSnapshot } from "./snapshot-file.ts";

/** What the worker starts from. Plain data: it crosses by structured clone. */
export type MachineSource =
  | { readonly kind: "create"; readonly config: MachineConfig }
  /** A snapshot file. */
  | { readonly kind: "restore"; readonly path: string }
  /** Begins to replay; RAM, chunks and trace come by requests. */
  | {
      readonly kind: "checkpoint";
      /** By which later checkpoints can be relative to it. */
      readonly id: number;
      readonly config: RestoreConfig;
      /** The checkpoint's `state`. */
      readonly state: Uint8Array;
      /** Where the trace from it on begins. */
      readonly trace: TracePoint;
    };

/** `auto`: hot code is translated. `interpreter`: none. `jit`: all of it, at once. */
export type EngineName = "auto" | "interpreter" | "jit";

const POLICIES: Readonly<Record<EngineName, JitPolicy>> = {
  auto: DEFAULT_POLICY,
  interpreter: NO_JIT,
  jit: EAGER_JIT,
};

/** A machine to be started, with all that belongs to it on this host. */
export interface StartSpec {
  readonly source: MachineSource;
  /** In the order of the configuration's disks. */
  readonly disks: readonly DiskFile[];
  /** `live`: virtual time follows the wall. `none`: it passes with positions alone. */
  readonly pace: "live" | "none";
  /** How code is executed; default: auto. The guest cannot tell. */
  readonly engine?: EngineName;
  /** What to watch of the execution, for the report of its end; default: nothing. */
  readonly monitor?: MonitorSpec;
  /** Position at which to stop. */
  readonly limit: bigint | undefined;
  /** Whether reports of the end have a digest. */
  readonly digestAtEnd: boolean;
  /** What the guest's reset boots; default: a reset is the end. */
  readonly restart?: BootConfig;
  /** Where the trace begins or goes on; default: unrecorded. A replay says it when it goes live. */
  readonly record?: TracePoint;
  /** Whether a replay reports its outputs; default: not. */
  readonly showReplay?: boolean;
  /** Rung by whoever posts requests to the machine's thread; see `Doorbell`. Default: nobody. */
  readonly doorbell?: SharedArrayBuffer;
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** What a machine is told about its engine and its reset. */
export function machineOptions({
  engine = "auto",
  restart,
}: Pick<StartSpec, "engine" | "restart">): MachineOptions {
  return {
    jit: { ...POLICIES[engine], now: threadCpuMs },
    dispatch: dispatchHere(),
    ...(restart === undefined ? {} : { restart }),
  };
}

/** A machine that may run. */
export interface MadeMachine {
  readonly machine: Machine;
  readonly config: RestoreConfig;
  /** Of a machine that came from a snapshot. */
  readonly restored: { readonly digest: string; readonly savedAtNs: bigint } | undefined;
}

/** Throws what is wrong with configuration or snapshot: E_KERNEL_*, E_ELF_*, E_SNAPSHOT_*, ... */
export function makeMachine(
  source: MachineSource,
  store: FileBlockStore,
  options: MachineOptions,
): MadeMachine {
  switch (source.kind) {
    case "create": {
      const { boot: _, ...config } = source.config;
      return { machine: Machine.create(source.config, options), config, restored: undefined };
    }
    case "checkpoint": {
      const { config, state } = source;
      const machine = Machine.restore(config, decodeState(state), options);
      return { machine, config, restored: undefined };
    }
    case "restore":
      return loadMachine(source.path, store, options);
    default:
      return unreachable(source);
  }
}

function loadMachine(path: string, store: FileBlockStore, options: MachineOptions): MadeMachine {
  return loadSnapshot(path, {
    store,
    restore: (reader, description) => {
      const config = restoreConfig(description);
      const machine = Machine.restore(config, reader.state, options);
      return {
        supplyPage: (page, bytes) => machine.supplyPage(page, bytes),
        finish: () => {
          machine.zeroAbsentPages();
          const digest = machine.digest();
          // Another number may have another digest for the same state.
          if (reader.header.semantics === SEMANTICS) compareDigests(digest, description.digest);
          return { machine, config, restored: { digest, savedAtNs: description.savedAtNs } };
        },
      };
    },
  });
}

function compareDigests(found: string, want: string): void {
  if (found === want) return;
  throw new CodedError(
    "E_SNAPSHOT_CORRUPT",
    `the snapshot is damaged: the machine has digest ${found}, want ${want}`,
    { hint: "save the machine again" },
  );
}

function restoreConfig(description: Description): RestoreConfig {
  const { memoryBytes, disks, mac, wallTimeNs } = description;
  return {
    memoryBytes,
    disks,
    net: mac === undefined ? undefined : { mac },
    // What it seeded at power-on is in the state.
    entropySeed: new Uint8Array(32),
    wallTimeNs,
  };
}
