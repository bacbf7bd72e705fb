/**
 * Constants of the virtio input device (virtio 1.2, section 5.8) and of the Linux input events
 * that it carries (input-event-codes.h), as far as a power button needs them.
 */

export const DEVICE_ID_INPUT = 18;

export const INPUT_QUEUE = { Event: 0, Status: 1 } as const;
/** Linux posts a buffer per event in the whole queue. */
export const INPUT_QUEUE_SIZE = 64;

/** Configuration space: the driver writes the first two bytes and reads what they select. */
export const INPUT_CONFIG = { Select: 0, Subselect: 1, Size: 2, Value: 8, Bytes: 136 } as const;
/** Values of Select; Subselect is an event type for `EventBits`, else 0. */
export const INPUT_SELECT = { Name: 0x01, DeviceIds: 0x03, EventBits: 0x11 } as const;

/** `struct virtio_input_devids`: bus type, vendor, product, version, 16 bits each. */
export const BUS_VIRTUAL = 0x06;

/** An event is | type u16 | code u16 | value u32 |. */
export const EVENT_BYTES = 8;
export const EVENT_TYPE = { Synchronize: 0x00, Key: 0x01 } as const;
export const KEY_POWER = 116;
