/** Constants of TCP (RFC 9293) and of its options (RFC 7323). */

export const TCP_BYTES = 20;
export const TCP_MAX_BYTES = 60;
export const FLAG = { Fin: 1, Syn: 2, Rst: 4, Psh: 8, Ack: 16 } as const;

/** Offsets in the header. */
export const FIELD = {
  Source: 0,
  Target: 2,
  Sequence: 4,
  Acknowledgement: 8,
  DataOffset: 12,
  Flags: 13,
  Window: 14,
  Checksum: 16,
} as const;

export const OPTION = { End: 0, Nop: 1, Mss: 2, WindowScale: 3 } as const;
export const MSS_BYTES = 4;
export const WINDOW_SCALE_BYTES = 3;
/** What a peer that does not say can take (RFC 9293, section 3.7.1). */
export const DEFAULT_MSS = 536;
/** RFC 7323, section 2.3. */
export const MAX_WINDOW_SCALE = 14;
export const MAX_WINDOW = 65_535;
