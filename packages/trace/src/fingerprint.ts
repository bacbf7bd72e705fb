/**
 * What a trace is of: the configuration of the machine, as far as the guest can tell it apart.
 * A trace replayed on anything else would lead elsewhere, so it is refused, and by name.
 */
import { CodedError } from "@dejavm/base";
import {
  type FieldReader,
  fields,
  type MachineConfig,
  SEMANTICS,
  type State,
} from "@dejavm/machine";
import type { TraceHasher } from "./codecs.ts";
import type { TraceErrorCode } from "./errors.ts";

/** What the hart executes first, by content. */
export interface BootFingerprint {
  readonly kind: "linux" | "firmware";
  /** sha256 in hex; empty where there is none. */
  readonly firmware: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
}

/** A disk: its base by content, its shape as the guest sees it. */
export interface DiskFingerprint {
  /** sha256 of the base in hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly serial: string;
}

/** See the head of this file. */
export interface Fingerprint {
  readonly semantics: number;
  readonly memoryBytes: number;
  /** Undefined for a machine that was made from a snapshot. */
  readonly boot: BootFingerprint | undefined;
  readonly disks: readonly DiskFingerprint[];
  /** The network card's address in hex; empty: it has none. */
  readonly mac: string;
}

const MAX_COMMAND_LINE = 65_536;
const MAX_DISKS = 64;

/** The fingerprint of a machine that this program makes; `diskSha256` in order of the disks. */
export function fingerprintOf(
  config: Omit<MachineConfig, "boot"> & Partial<Pick<MachineConfig, "boot">>,
  diskSha256: readonly Uint8Array[],
  hasher: TraceHasher,
): Fingerprint {
  const { boot, disks, net, memoryBytes } = config;
  const hash = (bytes: Uint8Array | undefined): string =>
    bytes === undefined ? "" : hex(hasher.sha256(bytes));
  return {
    semantics: SEMANTICS,
    memoryBytes,
    boot: boot && {
      kind: boot.kind,
      firmware: boot.kind === "firmware" ? hash(boot.image) : "",
      kernel: hash(boot.kernel),
      initrd: hash(boot.initrd),
      commandLine: boot.commandLine,
    },
    disks: disks.map(({ sizeBytes, readOnly, serial }, i) => ({
      sha256: hex(diskSha256[i] ?? new Uint8Array(0)),
      sizeBytes,
      readOnly,
      serial,
    })),
    mac: net === undefined ? "" : hex(net.mac),
  };
}

/** Throws E_TRACE_CONFIG with the name of the first field in which a machine is another one. */
export function checkFingerprint(trace: Fingerprint, machine: Fingerprint): void {
  const bootKnown = trace.boot !== undefined && machine.boot !== undefined;
  const [want, have] = [facts(trace, bootKnown), facts(machine, bootKnown)];
  for (const name of new Set([...want.keys(), ...have.keys()])) {
    const [expected, actual] = [want.get(name), have.get(name)];
    if (expected !== actual) throw mismatch(name, expected ?? "none", actual ?? "none");
  }
}

/** Everything that must be equal, by name; what was booted only where both sides know it. */
function facts({ boot, disks, ...rest }: Fingerprint, bootKnown: boolean): Map<string, string> {
  const all = new Map<string, string>();
  const add = (prefix: string, record: object): void => {
    for (const [name, value] of Object.entries(record)) all.set(`${prefix}${name}`, String(value));
  };
  add("", rest);
  add("", { disks: disks.length });
  for (const [i, disk] of disks.entries()) add(`disks.${i}.`, disk);
  if (boot !== undefined && bootKnown) add("boot.", boot);
  return all;
}

function mismatch(name: string, expected: string, actual: string): CodedError<TraceErrorCode> {
  return new CodedError(
    "E_TRACE_CONFIG",
    `cannot replay: the trace is of a machine with ${name} ${expected}, this one has ${actual}`,
    { hint: "give the image, memory size and options with which it was recorded" },
  );
}

/** As a tree, for the trace's header. */
export function encodeFingerprint({ boot, disks, ...rest }: Fingerprint): State {
  return {
    ...rest,
    boot: boot === undefined ? [] : [{ ...boot }],
    disks: disks.map((disk) => ({ ...disk })),
  };
}

/** Throws the reader's error with the name of the field that is wrong. */
export function decodeFingerprint(state: State): Fingerprint {
  const reader = fields(state, "fingerprint");
  const [boot] = reader.records("boot", 1);
  const fingerprint: Fingerprint = {
    semantics: reader.integer("semantics", { min: 0, max: 2 ** 31 }),
    memoryBytes: reader.integer("memoryBytes", { min: 0, max: 2 ** 36 }),
    boot: boot && decodeBoot(boot),
    disks: reader.records("disks", MAX_DISKS).map(decodeDisk),
    mac: reader.string("mac", 12),
  };
  reader.end();
  return fingerprint;
}

function decodeBoot(reader: FieldReader): BootFingerprint {
  const boot: BootFingerprint = {
    kind: reader.oneOf("kind", ["linux", "firmware"]),
    firmware: reader.string("firmware", 64),
    kernel: reader.string("kernel", 64),
    initrd: reader.string("initrd", 64),
    commandLine: reader.string("commandLine", MAX_COMMAND_LINE),
  };
  reader.end();
  return boot;
}

function decodeDisk(reader: FieldReader): DiskFingerprint {
  const disk: DiskFingerprint = {
    sha256: reader.string("sha256", 64),
    sizeBytes: reader.integer("sizeBytes", { min: 512, max: 2 ** 40 }),
    readOnly: reader.bool("readOnly"),
    serial: reader.string("serial", 20),
  };
  reader.end();
  return disk;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
