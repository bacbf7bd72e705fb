/** Constants of the virtio network device (virtio 1.2, section 5.1). */

import { MAX_QUEUE_SIZE } from "../wire.ts";

/** Feature bit numbers. */
export const NET_FEATURE = {
  Checksum: 0,
  GuestChecksum: 1,
  Mtu: 3,
  Mac: 5,
  MergeReceiveBuffers: 15,
  Status: 16,
} as const;

/** Offsets in the configuration space. */
export const NET_CONFIG = { Mac: 0, Status: 6, Mtu: 10, Bytes: 12 } as const;
export const NET_STATUS_LINK_UP = 1;

/** Queue numbers. */
export const NET_QUEUE = { Receive: 0, Transmit: 1 } as const;
/** Entries of each queue. */
export const NET_QUEUE_SIZE = MAX_QUEUE_SIZE;

/**
 * ```
 * header | flags u8 | gso_type u8 | hdr_len u16 | gso_size u16 | csum_start u16 |
 *        | csum_offset u16 | num_buffers u16 |
 * ```
 */
export const NET_HEADER_BYTES = 12;
/** Offsets in the header. */
export const NET_HEADER = {
  Flags: 0,
  ChecksumStart: 6,
  ChecksumOffset: 8,
  NumBuffers: 10,
} as const;
/** Of a sent frame: complete its checksum. Of a received one: its checksum is known to be right. */
export const NET_HEADER_FLAG = { NeedsChecksum: 1, DataValid: 2 } as const;

/**
 * Largest packet behind the Ethernet header that drivers are told of. Large packets cost a guest
 * less per byte; what stands outside takes them or says so by its TCP's maximum segment size.
 */
export const NET_MTU = 65_520;

/** An Ethernet address. */
export const MAC_BYTES = 6;
/** An Ethernet header. */
export const MIN_FRAME_BYTES = 14;
/** 65,536 bytes behind an Ethernet header: what a virtio driver may send (section 5.1.6.2). */
export const MAX_FRAME_BYTES = 65_550;

/** Received frames that wait for a buffer; more are dropped, as a full network card drops them. */
export const MAX_WAITING_FRAMES = 256;
/** Bytes in frames that wait for a buffer. */
export const MAX_WAITING_BYTES = 1024 * 1024;
