/**
 * Where a test program keeps what, in guest physical memory. All of it is one region that the
 * program image fills completely and that is compared at the end.
 *
 *     offset    size      what
 *     0         128 KiB   M-mode code: prologue, trap handlers, units, epilogue
 *     20000     4 KiB     context: what the trap handlers need
 *     21000     4 KiB     final dump: registers and CSRs
 *     22000     4 KiB     pool of special floating-point values
 *     23000     32 KiB    data pages, random bytes
 *     2b000     64 KiB    page tables
 *     3b000     64 KiB    S- and U-mode code
 *     60000     128 KiB   log of traps and observations, a ring (aligned to its size)
 */
export const PAGE_BYTES = 4096;

export const REGION_BASE = 0x8000_0000;
export const REGION_BYTES = 0x80000;

export const CODE_BYTES = 0x20000;
export const CONTEXT = REGION_BASE + 0x20000;
export const DUMP = REGION_BASE + 0x21000;
/** The final dump's instruction counter: reported, not compared. */
export const DUMP_INSTRET_OFFSET = 0xff0;
export const POOL = REGION_BASE + 0x22000;
export const POOL_ENTRIES = PAGE_BYTES / 8;
export const DATA = REGION_BASE + 0x23000;
export const DATA_PAGES = 8;
export const TABLES = REGION_BASE + 0x2b000;
export const TABLE_PAGES = 16;
export const BODIES = REGION_BASE + 0x3b000;
export const BODY_PAGES = 16;
export const LOG = REGION_BASE + 0x60000;
export const LOG_BYTES = 0x20000;
export const LOG_ENTRY_BYTES = 64;

/** Words of the context page, as offsets from its start. */
export const CONTEXT_WORD = {
  /** Address of the next log entry. */
  cursor: 0,
  /** Where the M-mode handler goes when it gives up on the code that trapped. */
  escape: 8,
  /** Traps left before a handler gives up. */
  budget: 16,
  /** Passes over all units still to come. */
  passes: 24,
  /** Rounds of the running loop unit still to come. */
  rounds: 32,
  /** Saved registers of the M-mode handler. */
  machineSave: 64,
  /** Saved registers of the S-mode handler. */
  supervisorSave: 96,
} as const;

/** QEMU's `virt` board. */
export const CLINT_BASE = 0x0200_0000;
export const CLINT_MTIMECMP = CLINT_BASE + 0x4000;
export const TEST_DEVICE = 0x0010_0000;
export const TEST_DEVICE_PASS = 0x5555;

/** Physical addresses with nothing behind them on the `virt` board. */
export const VOID_ADDRESSES: readonly bigint[] = [
  0x0n,
  0x0020_0000n,
  0x1f00_0000n,
  0x10_0000_0000_00n,
  0xff_ffff_ffff_f000n,
];
