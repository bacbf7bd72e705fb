/** Limits of the store, each with its unit and reason. */

/** A chain value: 32 bytes of sha256 today, room for a longer hash. */
export const MAX_CHAIN_BYTES = 64;
/** Configuration and fingerprint of a lineage: paths, disks, policies. */
export const MAX_CONFIG_BYTES = 1 << 20;
/** Encoded state of hart and devices: requests in flight and console queues included. */
export const MAX_STATE_BYTES = 64 << 20;
/** An address of the other side. */
export const MAX_PEER_CHARACTERS = 4096;
/** What the sessions keep with a transition. */
export const MAX_DETAIL_CHARACTERS = 64 << 10;
/** A migration's report: lag over time is the big part. */
export const MAX_REPORT_CHARACTERS = 4 << 20;
/** Disks of a machine are fewer. */
export const MAX_DISKS = 64;
/** Chunks of one disk: 1 TiB / 64 KiB. */
export const MAX_CHUNKS = 1 << 24;
/** Pages of RAM: 64 GiB / 4 KiB. */
export const MAX_PAGES = 1 << 24;
/** What is kept of one lineage where nothing else is said. */
export const DEFAULT_RETENTION_BYTES = 2 * 2 ** 30;
