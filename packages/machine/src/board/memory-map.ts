/**
 * Where everything is: guest physical addresses and interrupt numbers, as on QEMU's `virt` board
 * (hw/riscv/virt.c), so that kernels, firmware and debugger scripts find what they expect.
 *
 *     0x0000_1000  reset ROM              0x0c00_0000  PLIC
 *     0x0010_0000  power switch (syscon)  0x1000_0000  UART
 *     0x0010_1000  real-time clock        0x1000_1000  8 virtio-mmio slots
 *     0x0200_0000  CLINT                  0x8000_0000  RAM
 *
 * The generation id has no place on QEMU's board; it stands where nothing else does.
 */
import { CodedError } from "@dejavm/base";
import type { MachineConfig } from "../machine-types.ts";

/** A range of guest physical addresses, in bytes. */
export interface Region {
  readonly base: number;
  readonly size: number;
}

/** The fixed regions of the board below RAM. */
export const MEMORY_MAP = {
  resetRom: { base: 0x1000, size: 0x1000 },
  syscon: { base: 0x10_0000, size: 0x1000 },
  rtc: { base: 0x10_1000, size: 0x1000 },
  generationId: { base: 0x10_2000, size: 0x1000 },
  clint: { base: 0x200_0000, size: 0x1_0000 },
  plic: { base: 0xc00_0000, size: 0x60_0000 },
  uart: { base: 0x1000_0000, size: 0x100 },
} as const satisfies { readonly [name: string]: Region };

/** Interrupt sources of the PLIC that are not virtio's. */
export const IRQ = { uart: 10, rtc: 11, generationId: 12 } as const;

/** Where RAM begins. */
export const RAM_BASE = 0x8000_0000;

/** The least RAM with which stock Debian comes up. */
export const MIN_MEMORY_BYTES = 64 * 1024 * 1024;
/** The most RAM: what one WebAssembly memory holds, less room for the engine's own tables. */
export const MAX_MEMORY_BYTES = 3 * 1024 * 1024 * 1024;
/** RAM comes in units of one Sv39 megapage. */
export const MEMORY_UNIT_BYTES = 2 * 1024 * 1024;

/** Of eight virtio-mmio slots, slot n is at 0x1000_1000 + n * 0x1000, interrupt n + 1. */
const VIRTIO_BASE = 0x1000_1000;
const VIRTIO_STRIDE = 0x1000;

/** Disks have the first slots, so that Linux names them vda, vdb, ... in configuration order. */
const MAX_DISKS = 4;

/** What stands in a virtio slot. */
export type VirtioRole =
  | { readonly kind: "blk"; readonly disk: number }
  | { readonly kind: "net" }
  | { readonly kind: "console" }
  | { readonly kind: "rng" }
  | { readonly kind: "power-button" };

/** A virtio slot in use. */
export interface VirtioSlot {
  readonly slot: number;
  readonly irq: number;
  readonly region: Region;
  readonly role: VirtioRole;
}

/** The region of virtio slot 0 .. VIRTIO_SLOTS-1. */
function virtioRegion(slot: number): Region {
  return { base: VIRTIO_BASE + slot * VIRTIO_STRIDE, size: VIRTIO_STRIDE };
}

/**
 * The virtio devices of a machine, by slot. A device keeps its slot whatever else is there: disks
 * 0-3, network 4, console 5, entropy 6, power button 7.
 * Throws E_CONFIG_INVALID if there are more disks than slots for them.
 */
export function virtioSlots(config: Pick<MachineConfig, "disks" | "net">): VirtioSlot[] {
  if (config.disks.length > MAX_DISKS) {
    throw new CodedError(
      "E_CONFIG_INVALID",
      `cannot attach ${config.disks.length} disks: the board has room for ${MAX_DISKS}`,
    );
  }
  const slots = config.disks.map((_, disk) => place(disk, { kind: "blk", disk }));
  if (config.net !== undefined) slots.push(place(MAX_DISKS, { kind: "net" }));
  return [
    ...slots,
    place(MAX_DISKS + 1, { kind: "console" }),
    place(MAX_DISKS + 2, { kind: "rng" }),
    place(MAX_DISKS + 3, { kind: "power-button" }),
  ];
}

function place(slot: number, role: VirtioRole): VirtioSlot {
  return { slot, irq: slot + 1, region: virtioRegion(slot), role };
}
