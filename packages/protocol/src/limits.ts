/**
 * Every limit of the protocol, with its unit and its reason. A peer that breaks one is talking
 * another language or means harm; either way the connection ends.
 */

/** Versions of the protocol that this program speaks; a rise of `newest` keeps the one before. */
export const PROTOCOL_VERSIONS: VersionRange = { oldest: 1, newest: 1 };

/** A closed range of protocol versions. */
export interface VersionRange {
  readonly oldest: number;
  readonly newest: number;
}

/** One message of a connection, header included: a checkpoint's state and one page group fit. */
export const MAX_FRAME_BYTES = 8 * 1024 * 1024;
/** A `hello` comes before anything is known about the peer, so it is small. */
export const MAX_HELLO_BYTES = 4096;
/** An encoded control message; the largest carry a machine's state and page sets. */
export const MAX_CONTROL_BYTES = 6 * 1024 * 1024;
/** Arrays and maps within a control message: deeper ones are made to exhaust a stack. */
export const MAX_CONTROL_DEPTH = 8;
/** Values in a control message in all, so that a few bytes cannot become many objects. */
export const MAX_CONTROL_ITEMS = 65_536;
/** A sealed trace segment; the recorder seals at 64 KiB, and one event may be as large. */
export const MAX_SEGMENT_BYTES = 1024 * 1024;
/** Pages of one group: 1 MiB uncompressed, what one worker handles within a few milliseconds. */
export const MAX_GROUP_PAGES = 256;
/** Disk chunks of one group: 1 MiB uncompressed. */
export const MAX_GROUP_CHUNKS = 16;
/** A machine's RAM: 2 GiB of pages of 4 KiB. */
export const MAX_PAGES = 524_288;
/** Chunks of 64 KiB of one disk: 1 TiB. */
export const MAX_CHUNKS = 16_777_216;
/** Disks of a machine. */
export const MAX_DISKS = 8;
/** Files that a machine begins with: its disks' bases, firmware, kernel, initramfs. */
export const MAX_BASES = MAX_DISKS + 3;
/** Text for people in a message. */
export const MAX_TEXT_CHARS = 1024;
/** Names and identifiers. */
export const MAX_NAME_CHARS = 128;
/** Contents named by one `inventory`: 256 KiB. */
export const MAX_INVENTORY = 32_768;
/** Elements of a list in a control message: pages asked for, decisions told, ... */
export const MAX_LIST_ITEMS = 4096;
/** Bulk connections of one link beside the control connection. */
export const MAX_BULK_CHANNELS = 4;
/**
 * Bytes of one channel that wait for an acknowledgement or a connection. Enough for the trace of a
 * busy guest over a minute's cut; beyond it the link counts as lost and the source goes on.
 */
export const MAX_UNACKNOWLEDGED_BYTES = 64 * 1024 * 1024;
