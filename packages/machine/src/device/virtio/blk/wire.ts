/** Constants of the virtio block device (virtio 1.2, section 5.2). */

import { MAX_QUEUE_SIZE } from "../wire.ts";

/** Feature bit numbers. */
export const BLK_FEATURE = {
  SizeMax: 1,
  SegMax: 2,
  ReadOnly: 5,
  BlkSize: 6,
  Flush: 9,
  Discard: 13,
  WriteZeroes: 14,
} as const;

/** Offsets in the configuration space. */
export const BLK_CONFIG = {
  Capacity: 0,
  SizeMax: 8,
  SegMax: 12,
  BlkSize: 20,
  MaxDiscardSectors: 36,
  MaxDiscardSeg: 40,
  DiscardSectorAlignment: 44,
  MaxWriteZeroesSectors: 48,
  MaxWriteZeroesSeg: 52,
  WriteZeroesMayUnmap: 56,
  Bytes: 60,
} as const;

/** Request types. */
export const BLK_TYPE = {
  In: 0,
  Out: 1,
  Flush: 4,
  GetId: 8,
  Discard: 11,
  WriteZeroes: 13,
} as const;

/** Values of the status byte that ends a request. */
export const BLK_STATUS = { Ok: 0, IoError: 1, Unsupported: 2 } as const;

/**
 * ```
 * request header | type u32 | reserved u32 | sector u64 |
 * ```
 */
export const BLK_HEADER_BYTES = 16;
export const BLK_HEADER = { Type: 0, SectorLow: 8, SectorHigh: 12 } as const;

/**
 * ```
 * discard or write-zeroes segment | sector u64 | num_sectors u32 | flags u32 |
 * ```
 */
export const BLK_SEGMENT_BYTES = 16;
export const BLK_SEGMENT = { SectorLow: 0, SectorHigh: 4, SectorCount: 8, Flags: 12 } as const;
export const BLK_SEGMENT_UNMAP = 1;

/** The unit of all positions and lengths, whatever the block size. */
export const SECTOR_BYTES = 512;
/** A GET_ID answer: ASCII, padded with zero bytes. */
export const BLK_ID_BYTES = 20;

/** Entries: enough for one request of BLK_SEG_MAX without an indirect table. */
export const BLK_QUEUE_SIZE = MAX_QUEUE_SIZE;
/** Data buffers in one request: a full chain less header and status. */
export const BLK_SEG_MAX = 254;
/** Bytes in one data buffer, so that BLK_SEG_MAX of them stay below MAX_CHAIN_BYTES. */
export const BLK_SIZE_MAX = 65_536;
/** Ranges in one discard or write-zeroes request. */
export const BLK_MAX_RANGES = 16;
/** Sectors in one such range (64 MiB): with BLK_MAX_RANGES bounds a request to 16,384 chunks. */
export const BLK_MAX_RANGE_SECTORS = 131_072;
/** What zeroing one chunk counts towards a batch, in bytes. */
export const BLK_ZERO_CHUNK_COST = 4096;
