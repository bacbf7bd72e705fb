/** The files that a machine is made of, as they are on this host. */
import { hash } from "node:crypto";
import { existsSync } from "node:fs";
import { CodedError } from "@dejavm/base";
import type { BootConfig } from "@dejavm/machine";
import {
  checkFingerprint,
  decodeTraceHeader,
  fingerprintOf,
  type TraceHasher,
} from "@dejavm/trace";
import { type DiskFile, fingerprint, inspectDiskFile } from "@dejavm/vm";
import type { SourceAgentErrorCode } from "../errors.ts";
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

/**
 * The same for a machine that was recorded: says of a file that is gone what it must be and how to
 * get it again. Throws E_VM_FILE_GONE, and what `inspectVm` throws.
 */
export async function inspectRecordedVm(name: string, config: VmConfig): Promise<VmFiles> {
  const { boot, disks, image } = config;
  const files = [
    ...disks.map(({ path, sha256 }) => ({ path, sha256: Buffer.from(sha256).toString("hex") })),
    ...[boot?.firmware, boot?.kernel, boot?.initrd].map((path) => ({ path, sha256: undefined })),
  ];
  for (const { path, sha256 } of files) {
    if (path === undefined || path === "" || existsSync(path)) continue;
    const which = sha256 === undefined ? "" : `, the file with sha256 ${sha256}`;
    const build = image === "" ? "" : `, or build the image ${image} again: 'dejavm image build'`;
    throw new CodedError<SourceAgentErrorCode>(
      "E_VM_FILE_GONE",
      `cannot put ${name} together: ${path} is gone`,
      { hint: `put it back${which}${build}` },
    );
  }
  return inspectVm(config);
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
