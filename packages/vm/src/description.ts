/**
 * The description in a snapshot: what is needed, beside the state, to put the machine together
 * again on some host. Pure; the layout is in docs/SNAPSHOT_FORMAT.md.
 */
import { type DiskConfig, fields, type State } from "@dejavm/machine";

const DESCRIPTION_VERSION = 1;
const MAX_PATH_CHARACTERS = 4096;
const MAX_DISKS = 8;

/** A disk, and what its base must be. */
export interface DescribedDisk extends DiskConfig {
  /** Where the base was; empty where it is of no use elsewhere. */
  readonly path: string;
  /** sha256 of the base, 32 bytes. */
  readonly sha256: Uint8Array;
}

/** Who made a snapshot, of what, and what it needs. */
export interface Description {
  /** Program and version. */
  readonly creator: string;
  /** Name of the image; may be empty. */
  readonly image: string;
  /** Console that a keyboard belongs to. */
  readonly keyboard: "uart" | "hvc";
  readonly position: bigint;
  readonly ticks: bigint;
  /** The machine's digest; a reader with equal semantics compares. */
  readonly digest: string;
  readonly memoryBytes: number;
  readonly disks: readonly DescribedDisk[];
  /** Six bytes, or undefined: no network interface. */
  readonly mac: Uint8Array | undefined;
  /** Wall time at power-on, nanoseconds since 1970. */
  readonly wallTimeNs: bigint;
  /** The host's clock when the snapshot was made, nanoseconds since 1970. */
  readonly savedAtNs: bigint;
}

/** As a tree for the snapshot. */
export function encodeDescription(description: Description): State {
  const { disks, mac, ...plain } = description;
  return {
    version: DESCRIPTION_VERSION,
    ...plain,
    disks: disks.map(({ path, sizeBytes, readOnly, serial, sha256 }) => ({
      path,
      sizeBytes,
      readOnly,
      serial,
      sha256,
    })),
    mac: mac ?? new Uint8Array(0),
  };
}

/** Throws E_SNAPSHOT_INVALID with the name of the field that is wrong. */
export function decodeDescription(state: State): Description {
  const reader = fields(state, "description");
  reader.integer("version", { min: DESCRIPTION_VERSION, max: DESCRIPTION_VERSION });
  const mac = reader.bytes("mac", { maxLength: 6 });
  if (mac.length !== 0 && mac.length !== 6) throw reader.invalid("mac", "6 bytes or none");
  const description: Description = {
    creator: reader.string("creator", 100),
    image: reader.string("image", 200),
    keyboard: reader.string("keyboard", 4) === "hvc" ? "hvc" : "uart",
    position: reader.u64("position"),
    ticks: reader.u64("ticks"),
    digest: reader.string("digest", 64),
    memoryBytes: reader.integer("memoryBytes", { min: 0, max: 2 ** 36 }),
    disks: reader.records("disks", MAX_DISKS).map((disk) => ({
      path: disk.string("path", MAX_PATH_CHARACTERS),
      sizeBytes: disk.integer("sizeBytes", { min: 512, max: 2 ** 40 }),
      readOnly: disk.bool("readOnly"),
      serial: disk.string("serial", 20),
      sha256: disk.bytes("sha256", { length: 32 }),
    })),
    mac: mac.length === 0 ? undefined : mac,
    wallTimeNs: reader.u64("wallTimeNs"),
    savedAtNs: reader.u64("savedAtNs"),
  };
  reader.end();
  return description;
}
