/** The files that a machine is made of, as they are on this host. */
import { hash } from "node:crypto";
import type { BootConfig } from "@dejavm/machine";
import {
  checkFingerprint,
  decodeTraceHeader,
  fingerprintOf,
  type TraceHasher,
} from "@dejavm/trace";
import { type DiskFile, fingerprint, inspectDiskFile } from "@dejavm/vm";
import { restoreConfigOf, type VmConfig } from "../vm-config.ts";
import { loadBoot } from "./boot-files.ts";

/** sha256 of Node. */
export const HASHER: TraceHasher = {
  sha256: (bytes: Uint8Array) => hash("sha256", bytes, "buffer"),
};

/** See the head of this file. */
export interface VmFiles {
  readonly disks: readonly DiskFile[];
  readonly sha256: readonly Uint8Array[];
  readonly boot: BootConfig | undefined;
}

/** Throws E_FILE_*, E_DISK_*, E_KERNEL_INVALID. */
export async function inspectVm(config: VmConfig): Promise<VmFiles> {
  const disks = config.disks.map(({ path }) => inspectDiskFile(path));
  const sha256 = await Promise.all(disks.map(({ path }) => fingerprint(path)));
  return { disks, sha256, boot: config.boot && loadBoot(config.boot) };
}

/** Throws E_TRACE_CONFIG where the files are not those of the machine that has this header. */
export function checkSameMachine(header: Uint8Array, config: VmConfig, files: VmFiles): void {
  const present = { ...restoreConfigOf(config), ...(files.boot && { boot: files.boot }) };
  checkFingerprint(
    decodeTraceHeader(header).fingerprint,
    fingerprintOf(present, files.sha256, HASHER),
  );
}
