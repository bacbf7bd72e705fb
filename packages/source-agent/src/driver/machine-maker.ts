/** Makes machines for the worker: from a configuration, or from a snapshot file. */
import { CodedError } from "@dejavm/base";
import { Machine, type MachineConfig, type RestoreConfig, SEMANTICS } from "@dejavm/machine";
import type { Description } from "../description.ts";
import type { DiskFile, FileBlockStore } from "./disk-file.ts";
import { loadSnapshot } from "./snapshot-file.ts";

/** What the worker starts from. Plain data: it crosses by structured clone. */
export type MachineSource =
  | { readonly kind: "create"; readonly config: MachineConfig }
  | { readonly kind: "restore"; readonly path: string };

/** A machine to be started, with all that belongs to it on this host. */
export interface StartSpec {
  readonly source: MachineSource;
  /** In the order of the configuration's disks. */
  readonly disks: readonly DiskFile[];
  /** `live`: virtual time follows the wall. `none`: it passes with positions alone. */
  readonly pace: "live" | "none";
  /** Position at which to stop. */
  readonly limit: bigint | undefined;
  /** Whether reports of the end have a digest. */
  readonly digestAtEnd: boolean;
}

/** A machine that may run. */
export interface MadeMachine {
  readonly machine: Machine;
  readonly config: RestoreConfig;
  /** Of a machine that came from a snapshot. */
  readonly digest: string | undefined;
}

/** Throws what is wrong with configuration or snapshot: E_KERNEL_*, E_ELF_*, E_SNAPSHOT_*, ... */
export function makeMachine(source: MachineSource, store: FileBlockStore): MadeMachine {
  if (source.kind === "create") {
    const { boot: _, ...config } = source.config;
    return { machine: Machine.create(source.config), config, digest: undefined };
  }
  return loadSnapshot(source.path, {
    store,
    restore: (reader, description) => {
      const config = restoreConfig(description);
      const machine = Machine.restore(config, reader.state);
      return {
        supplyPage: (page, bytes) => machine.supplyPage(page, bytes),
        finish: () => {
          machine.zeroAbsentPages();
          const digest = machine.digest();
          // Another number may have another digest for the same state.
          if (reader.header.semantics === SEMANTICS) compareDigests(digest, description.digest);
          return { machine, config, digest };
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
