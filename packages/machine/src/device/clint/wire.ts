/** The core-local interruptor (SiFive CLINT; RISC-V ACLINT 1.0 keeps its layout): hart 0's part. */

/** Software interrupt, bit 0. */
export const MSIP = 0x0;
/** Compare value, 64 bits in two words. */
export const MTIMECMP = 0x4000;
/** Time, 64 bits in two words. */
export const MTIME = 0xbff8;
