/** A guest whose memory shows in what it says: for tests that bring machines back. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bareVmConfig, type VmConfig } from "../vm-config.ts";

/** Echoes the UART, each byte with the count of all bytes so far behind it, kept in memory. */
const COUNTING_ECHO = [
  0x0000_0417, // auipc s0, 0
  0x0000_1337, // lui   t1, 1
  0x0064_0433, // add   s0, s0, t1: a page of its own
  0x1000_02b7, // lui   t0, 0x10000
  0x0052_c303, // lbu   t1, 5(t0)
  0x0013_7313, // andi  t1, t1, 1
  0xfe03_0ce3, // beqz  t1, -8
  0x0002_c303, // lbu   t1, 0(t0)
  0x0062_8023, // sb    t1, 0(t0)
  0x0004_3483, // ld    s1, 0(s0)
  0x0014_8493, // addi  s1, s1, 1
  0x0094_3023, // sd    s1, 0(s0)
  0x0304_8313, // addi  t1, s1, 48
  0x0062_8023, // sb    t1, 0(t0)
  0xfd9f_f06f, // j     -40
];
/** Says R, then waits for a byte: `o` switches the machine off, any other one resets it. */
export const RESTARTING: readonly number[] = [
  0x1000_02b7, // lui   t0, 0x10000
  0x0520_0313, // li    t1, 'R'
  0x0062_8023, // sb    t1, 0(t0)
  0x0052_c303, // lbu   t1, 5(t0)
  0x0013_7313, // andi  t1, t1, 1
  0xfe03_0ce3, // beqz  t1, -8
  0x0002_c303, // lbu   t1, 0(t0)
  0x0010_02b7, // lui   t0, 0x100
  0x06f0_0393, // li    t2, 'o'
  0x0073_0863, // beq   t1, t2, 16
  0x0000_7337, // lui   t1, 7
  0x7773_0313, // addi  t1, t1, 0x777
  0x00c0_006f, // j     12
  0x0000_5337, // lui   t1, 5
  0x5553_0313, // addi  t1, t1, 0x555
  0x0062_a023, // sw    t1, 0(t0)
  0x0000_006f, // j     .
];

/** A machine that runs it, or another program; its firmware is a file in `directory`. */
export function echoConfig(
  directory: string,
  more: Partial<VmConfig> = {},
  program: readonly number[] = COUNTING_ECHO,
): VmConfig {
  const firmware = join(directory, "firmware");
  writeFileSync(firmware, new Uint8Array(Uint32Array.from(program).buffer));
  return bareVmConfig(firmware, { originNs: BigInt(Date.now()) * 1_000_000n, ...more });
}
