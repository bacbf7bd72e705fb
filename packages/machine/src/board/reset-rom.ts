/**
 * The reset ROM: where a hart with firmware would start, and what OpenSBI's `fw_dynamic` is told
 * (docs/firmware/fw_dynamic.md of OpenSBI).
 *
 *     0x00  auipc t0, 0          0x18  entry of the firmware, 64 bits
 *     0x04  addi  a2, t0, 0x28   0x20  address of the device tree, 64 bits
 *     0x08  csrr  a0, mhartid    0x28  magic "OSBI" | version | next address |
 *     0x0c  ld    a1, 0x20(t0)         next mode | options | boot hart, 64 bits each
 *     0x10  ld    t0, 0x18(t0)
 *     0x14  jr    t0
 */
import { ByteWriter } from "@dejavm/base";

const CODE: readonly number[] = [
  0x0000_0297, 0x0282_8613, 0xf140_2573, 0x0202_b583, 0x0182_b283, 0x0002_8067,
];

/** Where in the ROM `struct fw_dynamic_info` is; firmware is given its address in a2. */
export const FW_DYNAMIC_INFO_OFFSET = 0x28;

const FW_DYNAMIC_MAGIC = 0x4942_534fn;
const FW_DYNAMIC_VERSION = 2n;
const MODE_S = 1n;

/** Physical addresses that the ROM passes on. */
export interface ResetRomOptions {
  readonly entry: bigint;
  readonly fdt: bigint;
  /** Where the firmware jumps to in S-mode; 0 if there is no kernel. */
  readonly kernel: bigint;
}

/** The ROM's bytes. */
export function resetRom({ entry, fdt, kernel }: ResetRomOptions): Uint8Array {
  const out = new ByteWriter();
  for (const instruction of CODE) out.u32(instruction);
  out.u64(entry).u64(fdt);
  out.u64(FW_DYNAMIC_MAGIC).u64(FW_DYNAMIC_VERSION).u64(kernel).u64(MODE_S);
  const options = 0n;
  const bootHart = 0n;
  return out.u64(options).u64(bootHart).finish();
}
