/**
 * From options to something that can be started: reads files, finds the image, checks disks. All
 * that can be wrong with what the user gave shows here, before a machine exists.
 */
import { hash, randomBytes } from "node:crypto";
import { accessSync, constants, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { CodedError } from "@dejavm/base";
import {
  type NetworkPolicy,
  parseForward,
  parseNetAddress,
  parseResolver,
  parseRule,
  type Resolver,
  type StreamAddress,
} from "@dejavm/gateway";
import type { BootConfig, DiskConfig, MachineConfig } from "@dejavm/machine";
import { loadBoot, readBootFile, type VmBoot } from "@dejavm/source-agent";
import {
  type DescribedDisk,
  type DiskFile,
  fileError,
  fingerprint,
  inspectDiskFile,
  inspectSnapshot,
  type Keyboard,
  type MonitorSpec,
  type StartSpec,
} from "@dejavm/vm";
import { usageError } from "../errors.ts";
import { findImage } from "../images.ts";
import { parseCount, parseSize, parseWallTime } from "../parse.ts";
import { bootSource, type NetworkOptions, type RunOptions, refuse } from "./options.ts";

const DEFAULT_IMAGE = "debian";
const DEFAULT_MEMORY = "256M";
const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];
/** Locally administered, as QEMU's default card's neighbour. */
const MAC = Uint8Array.of(0x52, 0x54, 0x00, 0xde, 0x0a, 0x01);

/** A machine to be started and what is around it. */
export interface RunPlan {
  readonly spec: StartSpec;
  /** Files that it boots; undefined for a snapshot. */
  readonly boot: VmBoot | undefined;
  /** Name for messages and snapshots. */
  readonly image: string;
  readonly memoryBytes: number;
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
      /** The card of a guest that was running before; undefined: it says so itself. */
      readonly guestMac: Uint8Array | undefined;
      /** DNS servers; undefined: the host's own. */
      readonly resolvers: readonly Resolver[] | undefined;
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
  const network = planNetwork(options, { usual: source === "image" });
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
    boot: boot.files,
    image: boot.name,
    memoryBytes,
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
): Pick<StartSpec, "pace" | "engine" | "monitor" | "limit" | "digestAtEnd"> {
  const { maxInstructions } = options;
  const monitor = monitorOf(options);
  return {
    ...(monitor === undefined ? {} : { monitor }),
    pace: options.pace ?? usual,
    engine: options.engine ?? "auto",
    limit:
      maxInstructions === undefined
        ? undefined
        : origin + parseCount(maxInstructions, "--max-instructions"),
    digestAtEnd: options.json === true,
  };
}

function monitorOf({ engineStats, profile, symbols }: RunOptions): MonitorSpec | undefined {
  if (symbols !== undefined && profile === undefined) {
    throw usageError("cannot use --symbols alone", "give --profile FILE, too");
  }
  if (engineStats !== true && profile === undefined) return undefined;
  const text = symbols === undefined ? "" : readSymbols(symbols);
  return {
    statistics: engineStats === true,
    profileSymbols: profile === undefined ? undefined : text,
  };
}

function readSymbols(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw fileError(`read the symbols ${path}`, error);
  }
}

interface BootPlan {
  readonly name: string;
  readonly files: VmBoot;
  readonly config: BootConfig;
  /** Disks before those of `--disk`. */
  readonly disks: readonly string[];
}

async function planBoot(
  source: "image" | "kernel" | "firmware" | "elf",
  image: string,
  options: RunOptions,
): Promise<BootPlan> {
  if (source === "image") {
    const found = await findImage(image);
    const commandLine = [found.commandLine, options.append].filter(Boolean).join(" ");
    const { kernel, initrd } = found;
    return booting(image, { kind: "linux", firmware: "", kernel, initrd, commandLine }, [
      found.disk,
    ]);
  }
  const { kernel = "", initrd = "", append: commandLine = "" } = options;
  const firmware = source === "elf" ? options.elf : options.firmware;
  if (source === "elf") checkElf(firmware ?? "");
  const kind = source === "kernel" ? "linux" : "firmware";
  return booting("", { kind, firmware: firmware ?? "", kernel, initrd, commandLine }, []);
}

/** Whoever brings the machine back may stand in another directory. */
function booting(name: string, files: VmBoot, disks: readonly string[]): BootPlan {
  const absolute = (path: string): string => (path === "" ? "" : resolve(path));
  const { firmware, kernel, initrd } = files;
  const named = {
    ...files,
    firmware: absolute(firmware),
    kernel: absolute(kernel),
    initrd: absolute(initrd),
  };
  return { name, files: named, config: loadBoot(named), disks };
}

/** `usual`: whether there is a network where the options say nothing about it. */
export function planNetwork(
  options: NetworkOptions,
  { usual, guestMac }: { readonly usual: boolean; readonly guestMac?: Uint8Array | undefined },
): NetworkPlan | undefined {
  const { net, publish = [], netAllow = [], netDeny = [], dns = [], pcap } = options;
  const named = {
    "--publish": publish[0],
    "--net-allow": netAllow[0],
    "--net-deny": netDeny[0],
    "--dns": dns[0],
    "--pcap": pcap,
  };
  const asked = Object.values(named).some((value) => value !== undefined);
  if (net !== undefined && net !== "user") {
    refuse(`--net ${net}`, named);
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
  const resolvers = dns.length === 0 ? undefined : dns.map(parseResolver);
  return { kind: "gateway", policy, guestMac, resolvers, capturePath: pcap };
}

async function planFromSnapshot(options: RunOptions): Promise<RunPlan> {
  const path = options.from ?? "";
  const description = inspectSnapshot(path);
  const network = planNetwork(options, {
    usual: description.mac !== undefined,
    guestMac: description.mac,
  });
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
    boot: undefined,
    image: description.image,
    memoryBytes: description.memoryBytes,
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

/** The machine would take any file for a flat program; here an ELF was promised. */
function checkElf(path: string): void {
  const bytes = readBootFile(path);
  if (ELF_MAGIC.every((byte, i) => bytes[i] === byte)) return;
  throw new CodedError("E_ELF_INVALID", `cannot run ${path}: it is no ELF file`, {
    hint: "run a flat program with --firmware FILE",
  });
}
