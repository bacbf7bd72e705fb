/**
 * The host-target interface of Berkeley's simulators: a program stores a command into the 64-bit
 * word `tohost` and reads answers from `fromhost`.
 *
 *     63      56 55      48 47                       0
 *     | device  | command  | payload                 |
 */

export const DEVICE_SHIFT = 56n;
export const COMMAND_SHIFT = 48n;
export const BYTE_MASK = 0xffn;
export const PAYLOAD_MASK = (1n << 48n) - 1n;

/** Payload bit 0 set: exit with the status in the bits above; clear: a system call block. */
export const DEVICE_SYSCALL = 0n;
export const DEVICE_CONSOLE = 1n;
export const COMMAND_PUT_CHARACTER = 1n;

/** A system call block: number and arguments a0-a6, 64 bits each; the result goes in front. */
export const SYSCALL_BLOCK_BYTES = 64;
/** What `fromhost` says when a system call is done. */
export const SYSCALL_DONE = 1;

/** Linux's numbers, which the interface borrows. */
export const SYS_WRITE = 64n;
export const SYS_EXIT = 93n;
/** -ENOSYS and -EFAULT. */
export const ERROR_NO_SYSCALL = -38n;
export const ERROR_FAULT = -14n;
