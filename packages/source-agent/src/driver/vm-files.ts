/** The files that a machine is made of, as they are on this host. */
import { hash } from "node:crypto";
import { existsSync } from "node:fs";
import { CodedError } from "@dejavm/base";
import { findImageFile } from "@dejavm/image";
import type { LineageInfo } from "@dejavm/log-store";
import type { BootConfig } from "@dejavm/machine";
import {
  checkFingerprint,
  decodeTraceHeader,
  fingerprintOf,
  type TraceHasher,
} from "@dejavm/trace";
import { type DiskFile, fingerprint, inspectDiskFile } from "@dejavm/vm";
import type { SourceAgentErrorCode } from "../errors.ts";
import { restoreConfigOf, type VmConfig, type VmDisk } from "../vm-config.ts";
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
 * The configuration of a machine that was recorded, as its files are now: one that is gone from
 * where it was is taken from the image that has it. `lineage` has the header of the trace, which
 * knows each file's sha256. The same object where nothing has moved. Throws E_VM_FILE_GONE.
 */
export async function locateVm(
  { name, fingerprint: header }: Pick<LineageInfo, "name" | "fingerprint">,
  config: VmConfig,
): Promise<VmConfig> {
  const { boot: known } = decodeTraceHeader(header).fingerprint;
  let isMoved = false;
  const here = async (path: string, sha256: string | undefined): Promise<string> => {
    if (path === "" || existsSync(path)) return path;
    isMoved = true;
    const found = sha256 === undefined ? undefined : await findImageFile(sha256);
    if (found === undefined) throw fileGone(name, { path, sha256, image: config.image });
    return found;
  };
  const disks: VmDisk[] = [];
  for (const disk of config.disks) {
    const sha256 = Buffer.from(disk.sha256).toString("hex");
    disks.push({ ...disk, path: await here(disk.path, sha256) });
  }
  const boot = config.boot && {
    ...config.boot,
    firmware: await here(config.boot.firmware, known?.firmware),
    kernel: await here(config.boot.kernel, known?.kernel),
    initrd: await here(config.boot.initrd, known?.initrd),
  };
  return isMoved ? { ...config, disks, boot } : config;
}

function fileGone(
  name: string,
  file: { readonly path: string; readonly sha256: string | undefined; readonly image: string },
): CodedError<SourceAgentErrorCode> {
  const { path, sha256, image } = file;
  const which = sha256 === undefined ? "" : `, the file with sha256 ${sha256}`;
  const build = image === "" ? "" : `, or build the image ${image} again: 'dejavm image build'`;
  return new CodedError("E_VM_FILE_GONE", `cannot put ${name} together: ${path} is gone`, {
    hint: `put it back${which}${build}`,
  });
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
