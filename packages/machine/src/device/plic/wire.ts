/**
 * The platform-level interrupt controller as software sees it (RISC-V PLIC Specification 1.0.0),
 * with the sizes of QEMU's `virt` board.
 */

/** Interrupt sources including source 0, which does not exist. */
export const SOURCES = 96;
/** `riscv,ndev`: the highest source number. */
export const LAST_SOURCE = SOURCES - 1;
/** 32-bit words that hold one bit per source. */
export const SOURCE_WORDS = SOURCES / 32;
/** Priorities are 0 (never) .. 7; higher bits do not exist. */
export const PRIORITY_MASK = 7;

/** Register blocks: offsets from the start of the PLIC. */
export const PRIORITY_BASE = 0x0;
export const PENDING_BASE = 0x1000;
export const ENABLE_BASE = 0x2000;
/** From one context's enable bits to the next's. */
export const ENABLE_STRIDE = 0x80;
export const CONTEXT_BASE = 0x20_0000;
/** From one context's threshold and claim registers to the next's. */
export const CONTEXT_STRIDE = 0x1000;
export const CONTEXT_THRESHOLD = 0x0;
export const CONTEXT_CLAIM = 0x4;
