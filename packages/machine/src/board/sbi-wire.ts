/** Numbers of the RISC-V Supervisor Binary Interface 2.0, by chapter. */

/** Chapter 3: errors, as they stand in a0. */
export const SBI_SUCCESS = 0;
export const SBI_FAILED = -1;
export const SBI_NOT_SUPPORTED = -2;
export const SBI_INVALID_PARAM = -3;
export const SBI_ALREADY_AVAILABLE = -6;

/** Extension ids: ASCII where the specification says so. */
export const EXTENSION = {
  base: 0x10,
  time: 0x54494d45,
  ipi: 0x735049,
  rfence: 0x52464e43,
  hsm: 0x48534d,
  srst: 0x53525354,
  dbcn: 0x4442434e,
} as const;

/** Chapter 5: each is an extension of its own, without functions. */
export const LEGACY = {
  setTimer: 0,
  putCharacter: 1,
  getCharacter: 2,
  clearIpi: 3,
  sendIpi: 4,
  fenceI: 5,
  sfenceVma: 6,
  sfenceVmaAsid: 7,
  shutdown: 8,
} as const;

/** Chapter 4. */
export const BASE = {
  specVersion: 0,
  implementationId: 1,
  implementationVersion: 2,
  probe: 3,
  vendorId: 4,
  architectureId: 5,
  machineImplementationId: 6,
} as const;

/** Major number in bits 30-24, minor below. */
export const SPEC_VERSION = 0x0200_0000n;
/** Not a registered number: "djvm" in ASCII. */
export const IMPLEMENTATION_ID = 0x646a_766dn;
export const IMPLEMENTATION_VERSION = 1n;

/** Chapter 8: the functions from here on are for the hypervisor extension. */
export const RFENCE_FIRST_HYPERVISOR = 3;

/** Chapter 9. */
export const HSM = { start: 0, stop: 1, status: 2, suspend: 3 } as const;
export const HSM_STARTED = 0n;
export const SUSPEND_RETENTIVE = 0x0000_0000n;
export const SUSPEND_NON_RETENTIVE = 0x8000_0000n;

/** Chapter 10. */
export const SRST_RESET = 0;
export const RESET = { shutdown: 0n, coldReboot: 1n, warmReboot: 2n } as const;
export const REASON = { none: 0n, systemFailure: 1n } as const;

/** Chapter 12. */
export const DBCN = { write: 0, read: 1, writeByte: 2 } as const;
