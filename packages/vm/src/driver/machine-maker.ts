/** Makes machines for the worker: from a configuration, or from a snapshot file. */
import { hash } from "node:crypto";
import { CodedError } from "@dejavm/base";
import {
  DEFAULT_POLICY,
  EAGER_JIT,
  type JitPolicy,
  Machine,
  type MachineConfig,
  type MachineOptions,
  NO_JIT,
  type RestoreConfig,
  SEMANTICS,
} from "@dejavm/machine";
import type { Description } from "../description.ts";
import type { DiskFile, FileBlockStore } from "./disk-file.ts";
import { loadSnapshot } from "./snapshot-file.ts";

const NS_PER_TICK = 100n;

/** What the worker starts from. Plain data: it crosses by structured clone. */
export type MachineSource =
  | { readonly kind: "create"; readonly config: MachineConfig }
  | { readonly kind: "restore"; readonly path: string };

/** `auto`: hot code is translated. `interpreter`: none. `jit`: all of it, at once. */
export type EngineName = "auto" | "interpreter" | "jit";

const POLICIES: Readonly<Record<EngineName, JitPolicy>> = {
  auto: DEFAULT_POLICY,
  interpreter: NO_JIT,
  jit: EAGER_JIT,
};

/** What a machine is told about its engine. */
export function engineOptions(engine: EngineName = "auto"): MachineOptions {
  return { jit: POLICIES[engine] };
}

/** A machine to be started, with all that belongs to it on this host. */
export interface StartSpec {
  readonly source: MachineSource;
  /** In the order of the configuration's disks. */
  readonly disks: readonly DiskFile[];
  /** `live`: virtual time follows the wall. `none`: it passes with positions alone. */
  readonly pace: "live" | "none";
  /** How code is executed; default: auto. The guest cannot tell. */
  readonly engine?: EngineName;
  /** Position at which to stop. */
  readonly limit: bigint | undefined;
  /** Whether reports of the end have a digest. */
  readonly digestAtEnd: boolean;
  /** Whether a machine that asks for a reset is switched on again, if it was not restored. */
  readonly restartOnReset?: boolean;
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
  engine: MachineOptions,
): MadeMachine {
  if (source.kind === "create") {
    const { boot: _, ...config } = source.config;
    return { machine: Machine.create(source.config, engine), config, restored: undefined };
  }
  return loadSnapshot(source.path, {
    store,
    restore: (reader, description) => {
      const config = restoreConfig(description);
      const machine = Machine.restore(config, reader.state, engine);
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

/**
 * The same machine switched on again, with the disks as `before` left them; the owner has taken
 * the dirty blocks. Its date goes on, and its entropy follows from the former seed.
 */
export function remakeMachine(
  before: { readonly machine: Machine; readonly config: RestoreConfig },
  boot: MachineConfig["boot"],
  engine: MachineOptions,
): MadeMachine {
  const config: RestoreConfig = {
    ...before.config,
    entropySeed: new Uint8Array(hash("sha256", before.config.entropySeed, "buffer")),
    wallTimeNs: before.config.wallTimeNs + before.machine.ticks * NS_PER_TICK,
  };
  const machine = Machine.create({ ...config, boot }, engine);
  machine.adoptDisks(before.machine);
  return { machine, config, restored: undefined };
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
