/**
 * The snapshot file's constants: header, sections and limits. docs/SNAPSHOT_FORMAT.md draws them.
 * Writer and reader both lean on this file and on nothing else for the layout.
 */
import { CHUNK_BYTES, PAGE_BYTES } from "../device/device.ts";
import { MAX_STATE_BYTES } from "./state-codec.ts";

/** First bytes of every snapshot; the line ends tell of transfers that mangle text. */
export const MAGIC = Uint8Array.of(0x89, 0x44, 0x56, 0x4d, 0x0d, 0x0a, 0x1a, 0x0a);
/** Rises when a reader of the former version would misread the file. */
export const FORMAT_VERSION = 1;
/** Feature bits that this version knows; none so far. An unknown bit is refused. */
export const KNOWN_FEATURES = 0;
export const HEADER_BYTES = 32;
export const SECTION_HEAD_BYTES = 44;
export const SHA256_BYTES = 32;

/** Section kinds, in the order in which they stand in the file. */
export const section = { description: 1, state: 2, pages: 3, chunks: 4, end: 5 } as const;
export type SectionKind = (typeof section)[keyof typeof section];

/** How a section's payload is stored. */
export const encoding = { plain: 0, compressed: 1 } as const;

/** RAM pages of one section: 1 MiB compresses well and bounds what a reader holds. */
export const PAGES_PER_SECTION = 256;
/** Disk chunks of one section: 1 MiB. */
export const CHUNKS_PER_SECTION = 16;
/** RAM that the format can describe: 64 GiB, far above what a machine takes. */
export const MAX_SNAPSHOT_MEMORY_BYTES = 2 ** 36;
/** Disks that the format can describe. */
export const MAX_SNAPSHOT_DISKS = 64;
const MAX_DESCRIPTION_BYTES = 1024 * 1024;
/** Bytes of a section of pages or chunks before its entries. */
export const COUNT_BYTES = 4;
export const PAGE_ENTRY_BYTES = 4 + PAGE_BYTES;
export const CHUNK_ENTRY_BYTES = 8 + CHUNK_BYTES;
/** Sections, pages, chunks, chain digest. */
export const END_BYTES = 4 + 8 + 8 + SHA256_BYTES;

/** Upper limits for the plain size of each kind of section. */
export const MAX_PLAIN_BYTES: Readonly<Record<SectionKind, number>> = {
  [section.description]: MAX_DESCRIPTION_BYTES,
  [section.state]: MAX_STATE_BYTES,
  [section.pages]: COUNT_BYTES + PAGES_PER_SECTION * PAGE_ENTRY_BYTES,
  [section.chunks]: COUNT_BYTES + CHUNKS_PER_SECTION * CHUNK_ENTRY_BYTES,
  [section.end]: END_BYTES,
};

/** What the host's libraries do for a snapshot; the machine has none of its own. */
export interface SnapshotCodecs {
  /** sha256: 32 bytes. */
  sha256(bytes: Uint8Array): Uint8Array;
  compress(bytes: Uint8Array): Uint8Array;
  /** Gives exactly `plainBytes` bytes or throws; never allocates more. */
  decompress(bytes: Uint8Array, plainBytes: number): Uint8Array;
}

/** The fixed fields at the start of the file. */
export interface SnapshotHeader {
  /** The machine's semantics number; a snapshot is portable across them, a trace is not. */
  readonly semantics: number;
  /** RAM in bytes, a multiple of 4,096. */
  readonly memoryBytes: number;
}

/** A piece of the machine that travels beside its state. */
export type SnapshotItem =
  | { readonly kind: "page"; readonly page: number; readonly bytes: Uint8Array }
  | {
      readonly kind: "chunk";
      readonly disk: number;
      readonly chunk: number;
      readonly bytes: Uint8Array;
    };
