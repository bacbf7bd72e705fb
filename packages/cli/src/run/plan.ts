/**
 * From options to something that can be started: reads files, finds the image, checks disks. All
 * that can be wrong with what the user gave shows here, before a machine exists.
 */
import { hash, randomBytes } from "node:crypto";
import { accessSync, constants, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { CodedError } from "@dejavm/base";
import {
  type NetworkPolicy,
  parseForward,
  parseNetAddress,
  parseRule,
  type StreamAddress,
} from "@dejavm/gateway";
import type { BootConfig, DiskConfig, MachineConfig } from "@dejavm/machine";
import {
  type DescribedDisk,
  type DiskFile,
  fileError,
  fingerprint,
  inspectDiskFile,
  inspectSnapshot,
  type Keyboard,
  type StartSpec,
} from "@dejavm/vm";
import { usageError } from "../errors.ts";
import { findImage } from "../images.ts";
import { parseCount, parseSize, parseWallTime } from "../parse.ts";
import { bootSource, type RunOptions, refuse } from "./options.ts";

const DEFAULT_IMAGE = "debian";
const DEFAULT_MEMORY = "256M";
/** Largest kernel, initramfs or program file: RAM could not hold more. */
const MAX_FILE_BYTES = 2 ** 31;
const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];
/** Locally administered, as QEMU's default card's neighbour. */
const MAC = Uint8Array.of(0x52, 0x54, 0x00, 0xde, 0x0a, 0x01);

/** A machine to be started and what is around it. */
export interface RunPlan {
  readonly spec: StartSpec;
  /** Name for messages and snapshots. */
  readonly image: string;
  /** Console that the keyboard is connected to. */
  readonly keyboard: Keyboard;
  /** Where the guest's cable goes; undefined: it has none. */
  readonly network: NetworkPlan | undefined;
}

/** What the guest's network card is connected to. */
export type NetworkPlan =
  | { readonly kind: "stream"; readonly address: StreamAddress }
  | {
      readonly kind: "gateway";
      readonly policy: NetworkPolicy;
      /** A file for all frames. */
      readonly capturePath: string | undefined;
    };

/**
 * Throws E_USAGE, E_FILE_*, E_IMAGE_*, E_DISK_*, E_KERNEL_INVALID, E_ELF_INVALID, E_SNAPSHOT_* and
 * E_NET_ADDRESS: what can be told without making a machine.
 */
export async function planRun(image: string | undefined, options: RunOptions): Promise<RunPlan> {
  const source = bootSource(image, options);
  if (options.save !== undefined) checkSnapshotPath(options.save);
  if (source === "snapshot") return planFromSnapshot(options);
  const network = planNetwork(options, source === "image");
  // What needs no files comes first: a wrong number is one on a host without images, too.
  const memoryBytes = parseSize(options.memory ?? DEFAULT_MEMORY, "--memory");
  const wallTimeNs = parseWallTime(options.wallTime ?? "now", Date.now());
  const pace = pacing(options, { usual: source === "elf" ? "none" : "live", origin: 0n });
  const boot = await planBoot(source, image ?? DEFAULT_IMAGE, options);
  const disks = [...boot.disks, ...options.disk].map((path) => inspectDiskFile(path));
  const config: MachineConfig = {
    memoryBytes,
    boot: boot.config,
    disks: disks.map((disk, index) => diskConfig(disk, index)),
    net: network === undefined ? undefined : { mac: MAC },
    entropySeed: entropySeed(options.seed),
    wallTimeNs,
  };
  return {
    spec: {
      source: { kind: "create", config },
      disks,
      ...pace,
      ...(restarts(options) ? { restart: boot.config } : {}),
    },
    image: boot.name,
    keyboard: keyboardFor(boot.config.commandLine),
    network,
  };
}

/** Whether a guest that asks for a reset is switched on again. */
function restarts({ reboot, exec, elf }: RunOptions): boolean {
  return reboot !== false && exec === undefined && elf === undefined;
}

function pacing(
  options: RunOptions,
  { usual, origin }: { usual: "live" | "none"; origin: bigint },
): Pick<StartSpec, "pace" | "engine" | "limit" | "digestAtEnd"> {
  const { maxInstructions } = options;
  return {
    pace: options.pace ?? usual,
    engine: options.engine ?? "auto",
    limit:
      maxInstructions === undefined
        ? undefined
        : origin + parseCount(maxInstructions, "--max-instructions"),
    digestAtEnd: options.json === true,
  };
}

interface BootPlan {
  readonly name: string;
  readonly config: BootConfig;
  /** Disks before those of `--disk`. */
  readonly disks: readonly string[];
}

async function planBoot(
  source: "image" | "kernel" | "firmware" | "elf",
  image: string,
  options: RunOptions,
): Promise<BootPlan> {
  const append = options.append ?? "";
  const initrd = options.initrd === undefined ? {} : { initrd: readInput(options.initrd) };
  switch (source) {
    case "image": {
      const found = await findImage(image);
      const config: BootConfig = {
        kind: "linux",
        kernel: unpackKernel(readInput(found.kernel)),
        initrd: readInput(found.initrd),
        commandLine: [found.commandLine, append].filter(Boolean).join(" "),
      };
      return { name: image, config, disks: [found.disk] };
    }
    case "kernel": {
      const kernel = unpackKernel(readInput(options.kernel ?? ""));
      return {
        name: "",
        config: { kind: "linux", kernel, ...initrd, commandLine: append },
        disks: [],
      };
    }
    case "firmware": {
      const kernel =
        options.kernel === undefined ? {} : { kernel: unpackKernel(readInput(options.kernel)) };
      const firmware = readInput(options.firmware ?? "");
      return {
        name: "",
        config: { kind: "firmware", image: firmware, ...kernel, ...initrd, commandLine: append },
        disks: [],
      };
    }
    case "elf":
      return {
        name: "",
        config: { kind: "firmware", image: readElf(options.elf ?? ""), commandLine: append },
        disks: [],
      };
  }
}

/** `usual`: whether there is a network where the options say nothing about it. */
function planNetwork(options: RunOptions, usual: boolean): NetworkPlan | undefined {
  const { net, publish = [], netAllow = [], netDeny = [], pcap } = options;
  const named = { "--publish": publish[0], "--net-allow": netAllow[0], "--net-deny": netDeny[0] };
  const asked = Object.values({ ...named, pcap }).some((value) => value !== undefined);
  if (net !== undefined && net !== "user") {
    refuse(`--net ${net}`, { ...named, "--pcap": pcap });
    if (net === "none") return undefined;
    return { kind: "stream", address: parseNetAddress(net) };
  }
  if (net === undefined && !usual && !asked) return undefined;
  // Denials first: what is forbidden stays so, whatever else is allowed.
  const rules = [
    ...netDeny.map((text) => parseRule("deny", text)),
    ...netAllow.map((text) => parseRule("allow", text)),
  ];
  const policy = { rules, forwards: publish.map(parseForward) };
  return { kind: "gateway", policy, capturePath: pcap };
}

async function planFromSnapshot(options: RunOptions): Promise<RunPlan> {
  const path = options.from ?? "";
  const description = inspectSnapshot(path);
  const network = planNetwork(options, description.mac !== undefined);
  if (options.disk.length > 0 && options.disk.length !== description.disks.length) {
    throw usageError(
      `cannot use ${options.disk.length} --disk: the snapshot has ${description.disks.length}`,
      "name all disks in their order, or none to take them from where they were",
    );
  }
  const disks: DiskFile[] = [];
  for (const [index, described] of description.disks.entries()) {
    disks.push(await snapshotDisk(described, options.disk[index] ?? described.path));
  }
  if (network !== undefined && description.mac === undefined) {
    throw usageError(
      "cannot use a network: the machine was saved without a network card",
      "leave the options for it away",
    );
  }
  return {
    spec: {
      source: { kind: "restore", path },
      disks,
      ...pacing(options, { usual: "live", origin: description.position }),
    },
    image: description.image,
    keyboard: description.keyboard,
    network,
  };
}

/** The base of a saved disk; E_SNAPSHOT_DISK unless it is there and is the same, byte for byte. */
async function snapshotDisk(described: DescribedDisk, path: string): Promise<DiskFile> {
  const fail = (what: string, cause?: unknown): CodedError =>
    new CodedError("E_SNAPSHOT_DISK", `cannot use the disk image ${path}: ${what}`, {
      hint: "name the disk image that the machine had with --disk FILE",
      cause,
    });
  let disk: DiskFile;
  try {
    disk = inspectDiskFile(path);
  } catch (error) {
    throw fail(error instanceof Error ? error.message : "it cannot be read", error);
  }
  if (disk.sizeBytes !== described.sizeBytes) {
    throw fail(`it has ${disk.sizeBytes} bytes, want ${described.sizeBytes}`);
  }
  const sha256 = await fingerprint(path);
  if (Buffer.compare(sha256, described.sha256) !== 0) throw fail("its contents are others");
  return disk;
}

/** A run may be long: whether its end can be saved is known before. */
function checkSnapshotPath(path: string): void {
  try {
    accessSync(dirname(path), constants.W_OK);
  } catch (error) {
    throw fileError(`save a snapshot in ${dirname(path)}`, error);
  }
}

function diskConfig(disk: DiskFile, index: number): DiskConfig {
  return { sizeBytes: disk.sizeBytes, readOnly: false, serial: `dejavm-disk${index}` };
}

/** 32 bytes: from the host's generator, or always the same for the same `--seed`. */
function entropySeed(seed: string | undefined): Uint8Array {
  if (seed === undefined) return new Uint8Array(randomBytes(32));
  return new Uint8Array(hash("sha256", `dejavm entropy seed: ${seed}`, "buffer"));
}

/** The kernel's main console is the last one that its command line names. */
function keyboardFor(commandLine: string): Keyboard {
  const consoles = [...commandLine.matchAll(/(?:^|\s)console=(\w+)/g)];
  return consoles.at(-1)?.[1] === "hvc0" ? "hvc" : "uart";
}

function readInput(path: string): Uint8Array {
  try {
    const bytes = readFileSync(path);
    if (bytes.length > MAX_FILE_BYTES) {
      throw new CodedError("E_FILE_IO", `cannot read ${path}: it has ${bytes.length} bytes`, {
        hint: "want at most 2 GiB",
      });
    }
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  } catch (error) {
    throw fileError(`read ${path}`, error);
  }
}

/** The machine would take any file for a flat program; here an ELF was promised. */
function readElf(path: string): Uint8Array {
  const bytes = readInput(path);
  if (ELF_MAGIC.every((byte, i) => bytes[i] === byte)) return bytes;
  throw new CodedError("E_ELF_INVALID", `cannot run ${path}: it is no ELF file`, {
    hint: "run a flat program with --firmware FILE",
  });
}

/** Kernels come compressed, too. Anything that is not is the machine's to judge. */
function unpackKernel(bytes: Uint8Array): Uint8Array {
  const starts = (...magic: number[]): boolean => magic.every((byte, i) => bytes[i] === byte);
  try {
    if (starts(0x1f, 0x8b)) return gunzipSync(bytes, { maxOutputLength: MAX_FILE_BYTES });
    if (starts(0x28, 0xb5, 0x2f, 0xfd)) {
      return zstdDecompressSync(bytes, { maxOutputLength: MAX_FILE_BYTES });
    }
    return bytes;
  } catch (cause) {
    throw new CodedError("E_KERNEL_INVALID", "cannot decompress the kernel: it is damaged", {
      hint: "get the kernel again",
      cause,
    });
  }
}
