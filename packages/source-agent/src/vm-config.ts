/**
 * How a named machine is put together again: what a lineage's `config` holds. Pure; a tree in the
 * encoding of machine states, so that every field is checked by name.
 */
import {
  type BootConfig,
  type DiskConfig,
  decodeState,
  encodeState,
  type FieldReader,
  fields,
  type RestoreConfig,
  type State,
} from "@dejavm/machine";
import type { Keyboard } from "@dejavm/vm";

const CONFIG_VERSION = 1;
const MAX_PATH_CHARACTERS = 4096;
const MAX_NOTE_CHARACTERS = 65_536;
const MAX_COMMAND_LINE = 65_536;
const MAX_DISKS = 8;

/** A disk and its base file here. */
export interface VmDisk extends DiskConfig {
  readonly path: string;
  /** sha256 of the base, 32 bytes. */
  readonly sha256: Uint8Array;
}

/** What is booted, by the files that it is made from; empty: there is none. */
export interface VmBoot {
  readonly kind: BootConfig["kind"];
  readonly firmware: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
}

/** See the head of this file. */
export interface VmConfig {
  /** Name of the image; may be empty. */
  readonly image: string;
  readonly keyboard: Keyboard;
  readonly memoryBytes: number;
  readonly disks: readonly VmDisk[];
  /** Six bytes, or undefined: no network interface. */
  readonly mac: Uint8Array | undefined;
  /** Undefined: the machine came from a snapshot, and its reset is its end. */
  readonly boot: VmBoot | undefined;
  readonly pace: "live" | "none";
  /** Whether a guest that asks for a reset is switched on again. */
  readonly restarts: boolean;
  /** Whether outputs wait for the disk. */
  readonly durable: boolean;
  /** Wall time of this host at virtual time 0, nanoseconds since 1970: what the clock follows. */
  readonly originNs: bigint;
  /** What the machine's owner keeps with it, such as its network: its own text. */
  readonly note: string;
}

/** A machine with 64 MiB and this firmware, nothing else; `more` says what is otherwise. */
export function bareVmConfig(firmware: string, more: Partial<VmConfig> = {}): VmConfig {
  return {
    image: "",
    keyboard: "uart",
    memoryBytes: 64 * 2 ** 20,
    disks: [],
    mac: undefined,
    boot: { kind: "firmware", firmware, kernel: "", initrd: "", commandLine: "" },
    pace: "live",
    restarts: true,
    durable: false,
    originNs: 0n,
    note: "",
    ...more,
  };
}

/** The configuration as a lineage keeps it. */
export function encodeVmConfig({ disks, mac, boot, ...rest }: VmConfig): Uint8Array {
  return encodeState({
    version: CONFIG_VERSION,
    ...rest,
    disks: disks.map((disk) => ({ ...disk })),
    mac: mac ?? new Uint8Array(0),
    boot: boot === undefined ? [] : [{ ...boot }],
  } satisfies State);
}

/** Throws E_SNAPSHOT_* with the name of the field that is wrong. */
export function decodeVmConfig(bytes: Uint8Array): VmConfig {
  const reader = fields(decodeState(bytes), "config");
  reader.integer("version", { min: CONFIG_VERSION, max: CONFIG_VERSION });
  const mac = reader.bytes("mac", { maxLength: 6 });
  const [boot] = reader.records("boot", 1);
  const config: VmConfig = {
    image: reader.string("image", 200),
    keyboard: reader.oneOf("keyboard", ["uart", "hvc"]),
    memoryBytes: reader.integer("memoryBytes", { min: 0, max: 2 ** 36 }),
    disks: reader.records("disks", MAX_DISKS).map(decodeDisk),
    mac: mac.length === 0 ? undefined : mac,
    boot: boot && decodeBoot(boot),
    pace: reader.oneOf("pace", ["live", "none"]),
    restarts: reader.bool("restarts"),
    durable: reader.bool("durable"),
    originNs: reader.u64("originNs"),
    note: reader.string("note", MAX_NOTE_CHARACTERS),
  };
  reader.end();
  return config;
}

function decodeDisk(reader: FieldReader): VmDisk {
  const disk: VmDisk = {
    path: reader.string("path", MAX_PATH_CHARACTERS),
    sizeBytes: reader.integer("sizeBytes", { min: 512, max: 2 ** 40 }),
    readOnly: reader.bool("readOnly"),
    serial: reader.string("serial", 20),
    sha256: reader.bytes("sha256", { length: 32 }),
  };
  reader.end();
  return disk;
}

function decodeBoot(reader: FieldReader): VmBoot {
  const boot: VmBoot = {
    kind: reader.oneOf("kind", ["linux", "firmware"]),
    firmware: reader.string("firmware", MAX_PATH_CHARACTERS),
    kernel: reader.string("kernel", MAX_PATH_CHARACTERS),
    initrd: reader.string("initrd", MAX_PATH_CHARACTERS),
    commandLine: reader.string("commandLine", MAX_COMMAND_LINE),
  };
  reader.end();
  return boot;
}

/**
 * The files that a machine begins with, as references to their blocks count them: the disks' bases,
 * firmware, kernel, initramfs. Empty: there is none.
 */
export function basesOf({ disks, boot }: VmConfig): readonly string[] {
  const booted = boot === undefined ? [] : [boot.firmware, boot.kernel, boot.initrd];
  return [...disks.map(({ path }) => path), ...booted];
}

/** What a machine of this configuration is restored with. */
export function restoreConfigOf(config: VmConfig): RestoreConfig {
  const { memoryBytes, disks, mac } = config;
  return {
    memoryBytes,
    disks: disks.map(({ sizeBytes, readOnly, serial }) => ({ sizeBytes, readOnly, serial })),
    net: mac === undefined ? undefined : { mac },
    // What they gave at power-on is in the state.
    entropySeed: new Uint8Array(32),
    wallTimeNs: 0n,
  };
}
