/**
 * Constants of the virtio-mmio transport and of split virtqueues.
 * Source: Virtual I/O Device (VIRTIO) Version 1.2, sections 2.1, 2.7 and 4.2.
 */

/** Register offsets of virtio-mmio version 2 (section 4.2.2). */
export const REG = {
  MagicValue: 0x000,
  Version: 0x004,
  DeviceId: 0x008,
  VendorId: 0x00c,
  DeviceFeatures: 0x010,
  DeviceFeaturesSel: 0x014,
  DriverFeatures: 0x020,
  DriverFeaturesSel: 0x024,
  QueueSel: 0x030,
  QueueNumMax: 0x034,
  QueueNum: 0x038,
  QueueReady: 0x044,
  QueueNotify: 0x050,
  InterruptStatus: 0x060,
  InterruptAck: 0x064,
  Status: 0x070,
  QueueDescLow: 0x080,
  QueueDescHigh: 0x084,
  QueueDriverLow: 0x090,
  QueueDriverHigh: 0x094,
  QueueDeviceLow: 0x0a0,
  QueueDeviceHigh: 0x0a4,
  ShmLenLow: 0x0b0,
  ShmLenHigh: 0x0b4,
  ShmBaseLow: 0x0b8,
  ShmBaseHigh: 0x0bc,
  ConfigGeneration: 0x0fc,
  Config: 0x100,
} as const;

/** "virt" in little-endian ASCII. */
export const MAGIC_VALUE = 0x7472_6976;
export const MMIO_VERSION = 2;
/** "DJVM" in little-endian ASCII. */
export const VENDOR_ID = 0x4d56_4a44;

/** Device types (section 5). */
export const DEVICE_ID = { Net: 1, Block: 2, Console: 3, Entropy: 4 } as const;

/** Bits of the Status register (section 2.1). */
export const STATUS = {
  Acknowledge: 1,
  Driver: 2,
  DriverOk: 4,
  FeaturesOk: 8,
  NeedsReset: 64,
  Failed: 128,
} as const;

/** Bits of InterruptStatus and InterruptACK. */
export const INTERRUPT = { UsedBuffer: 1, ConfigChange: 2 } as const;

/** Feature bit numbers that every device offers (section 6). */
export const FEATURE = { IndirectDesc: 28, EventIdx: 29, Version1: 32 } as const;

/** Bits of a descriptor's `flags`. */
export const DESC_FLAG = { Next: 1, Write: 2, Indirect: 4 } as const;

/**
 * ```
 * descriptor  | address u64 | length u32 | flags u16 | next u16 |
 * ```
 */
export const DESC_BYTES = 16;
export const DESC = { AddressLow: 0, AddressHigh: 4, Length: 8, Flags: 12, Next: 14 } as const;

/**
 * ```
 * available (driver area)  | flags u16 | idx u16 | head u16 x size | used_event u16 |
 * used (device area)       | flags u16 | idx u16 | { id u32, len u32 } x size | avail_event u16 |
 * ```
 */
export const RING = { Flags: 0, Idx: 2, Entries: 4, EventBytes: 2 } as const;
export const AVAIL_ENTRY_BYTES = 2;
export const USED_ENTRY_BYTES = 8;
export const AVAIL_FLAG_NO_INTERRUPT = 1;

/** Largest queue that a driver may set up, in entries; Linux takes the largest there is. */
export const MAX_QUEUE_SIZE = 256;
/**
 * Most buffers in one chain. The specification's limit is the queue's size; we allow the largest
 * queue's, which also ends the walk round a loop.
 */
export const MAX_CHAIN_BUFFERS = 256;
/**
 * Most bytes in all buffers of one chain. Bounds what one request can move; more means that the
 * device needs a reset. The block device's SIZE_MAX and SEG_MAX keep honest drivers below it.
 */
export const MAX_CHAIN_BYTES = 16 * 1024 * 1024;
/**
 * A notification handles requests until their buffers come to this many bytes; the rest waits for
 * the driver's next InterruptACK, for which an interrupt is raised. Bounds the time that a guest
 * can spend inside one store, and the disk chunks that must be cached at once.
 */
export const MAX_BATCH_BYTES = 8 * 1024 * 1024;
