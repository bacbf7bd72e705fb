/** Constants of the virtio entropy device (virtio 1.2, section 5.4). */

export const RNG_QUEUE_SIZE = 64;
/** Bytes given for one request; a driver that wants more asks again. */
export const RNG_MAX_BYTES = 65_536;
