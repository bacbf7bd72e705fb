/** SiFive's test finisher, QEMU's `sifive_test`: one 32-bit register, code << 16 | command. */

/** Report failure with a code and stop. */
export const COMMAND_FAIL = 0x3333;
/** Report success and stop; Linux's `syscon-poweroff` writes it. */
export const COMMAND_PASS = 0x5555;
/** Reset; Linux's `syscon-reboot` writes it. */
export const COMMAND_RESET = 0x7777;
