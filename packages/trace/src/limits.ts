/** Limits of a trace, each with its unit and reason. */

/** Bytes of one console input or frame: the largest frame that the network card takes. */
export const MAX_EVENT_BYTES = 65_550;
/** Bytes of an `entropy` seed. */
export const SEED_BYTES = 32;
/** Records of one segment, in bytes: bounds what a reader holds, and a bomb's size. */
export const MAX_SEGMENT_PLAIN_BYTES = 4 * 1024 * 1024;
/** Units of one block: as many as a store's merge collects; each costs a hash to verify. */
export const MAX_SEGMENT_UNITS = 65_536;
/** Bytes around the records: fixed fields, varints, lengths of units, chain, checksum. */
const MAX_SEGMENT_FRAME_BYTES = 128 + 4 * MAX_SEGMENT_UNITS;
/** Bytes of a whole segment. */
export const MAX_SEGMENT_BYTES = MAX_SEGMENT_PLAIN_BYTES + MAX_SEGMENT_FRAME_BYTES;
/** Bytes of sha256, which the chain is made of. */
export const CHAIN_BYTES = 32;
