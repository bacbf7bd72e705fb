/**
 * What is where in memory at power-on, and how the hart starts. Addresses follow QEMU's `virt`
 * board (hw/riscv/boot.c):
 *
 *     RAM + 0         firmware, if any
 *     RAM + 2 MiB     kernel
 *     kernel + min(half of RAM, 512 MiB), or higher or lower where that does not fit:
 *                     initial RAM disk
 *     end of RAM      device tree, down to a 2 MiB boundary
 */
import { assert, CodedError } from "@dejavm/base";
import type { BootConfig, MachineConfig } from "../machine-types.ts";
import { buildDeviceTree } from "./device-tree.ts";
import { type ElfProgram, isElf, readElf, type Segment } from "./elf.ts";
import { readLinuxImage } from "./linux-image.ts";
import {
  MAX_MEMORY_BYTES,
  MEMORY_MAP,
  MEMORY_UNIT_BYTES,
  MIN_MEMORY_BYTES,
  RAM_BASE,
  type Region,
} from "./memory-map.ts";
import { FW_DYNAMIC_INFO_OFFSET, resetRom } from "./reset-rom.ts";
import { utf8 } from "./text.ts";

const MiB = 1024 * 1024;
/** Sv39 maps the kernel with megapages; kernels insist on this alignment. */
const KERNEL_ALIGN = 2 * MiB;
const FDT_ALIGN = 2 * MiB;
const INITRD_ALIGN = 4096;
/** The initial RAM disk goes no further than this above the kernel, so that it stays in reach. */
const INITRD_MAX_DISTANCE = 512 * MiB;

/** What RISC-V Linux keeps of its command line (COMMAND_LINE_SIZE), without the final NUL. */
const COMMAND_LINE_MAX_BYTES = 1023;

/** The machine at power-on. RAM that no segment covers is zero. */
export interface BootPlan {
  readonly segments: readonly Segment[];
  /** Content of the reset ROM. */
  readonly rom: Uint8Array;
  readonly privilege: "m" | "s";
  readonly pc: bigint;
  /** Integer registers at the start; the others are 0. */
  readonly registers: {
    readonly a0: bigint;
    readonly a1: bigint;
    readonly a2: bigint;
  };
  /** Symbols of an ELF firmware: `tohost` and its kin. */
  readonly symbols: ElfProgram["symbols"];
  /** Where an ELF firmware has its HTIF words, both in RAM and aligned; undefined: nowhere. */
  readonly htif: { readonly tohost: number; readonly fromhost: number | undefined } | undefined;
}

/**
 * Lays out RAM for a configuration. Pure; segments are views of the configuration's bytes.
 * Throws E_CONFIG_INVALID, E_KERNEL_INVALID, E_KERNEL_TOO_BIG, E_INITRD_TOO_BIG, E_ELF_INVALID,
 * E_ELF_OUTSIDE_RAM, E_FIRMWARE_TOO_BIG.
 */
export function planBoot(config: MachineConfig): BootPlan {
  checkMemory(config.memoryBytes);
  checkCommandLine(config.boot.commandLine);
  const { boot } = config;
  const ram = { base: RAM_BASE, size: config.memoryBytes };
  const firmware = boot.kind === "firmware" ? loadFirmware(boot.image, ram) : undefined;
  const firmwareEnd = endOf(firmware?.segments ?? [], RAM_BASE);
  const kernel =
    boot.kernel === undefined ? undefined : placeKernel(boot.kernel, firmwareEnd, boot);
  const taken = kernel?.end ?? firmwareEnd;

  // The tree's length does not depend on where the initrd is, so one pass finds its place.
  const draft = buildDeviceTree({
    config,
    initrd: boot.initrd && { base: RAM_BASE, size: 0 },
  });
  const fdtAddress = alignDown(ramEnd(ram) - draft.length, FDT_ALIGN);
  if (fdtAddress < taken) throw tooBig(boot, taken - fdtAddress);
  const initrd =
    boot.initrd === undefined
      ? undefined
      : placeInitrd(boot.initrd, {
          start: kernel?.start ?? firmwareEnd,
          taken,
          limit: fdtAddress,
          ram,
        });
  const fdt = buildDeviceTree({ config, initrd });
  assert(fdt.length === draft.length, "the device tree's length depends on the initrd's place");

  const segments: Segment[] = [...(firmware?.segments ?? [])];
  if (boot.kernel !== undefined && kernel !== undefined) {
    segments.push({ address: kernel.start, bytes: boot.kernel });
  }
  if (boot.initrd !== undefined && initrd !== undefined) {
    segments.push({ address: initrd.base, bytes: boot.initrd });
  }
  segments.push({ address: fdtAddress, bytes: fdt });
  const pc = firmware?.entry ?? BigInt(kernel?.start ?? RAM_BASE);
  return {
    segments,
    rom: resetRom({
      entry: pc,
      fdt: BigInt(fdtAddress),
      kernel: BigInt(kernel?.start ?? 0),
    }),
    privilege: firmware === undefined ? "s" : "m",
    pc,
    registers: {
      a0: 0n,
      a1: BigInt(fdtAddress),
      a2: firmware === undefined ? 0n : BigInt(MEMORY_MAP.resetRom.base + FW_DYNAMIC_INFO_OFFSET),
    },
    symbols: firmware?.symbols ?? {},
    htif: findHtif(firmware?.symbols ?? {}, ram),
  };
}

function findHtif(symbols: ElfProgram["symbols"], ram: Region): BootPlan["htif"] {
  const word = (name: "tohost" | "fromhost"): number | undefined => {
    const address = symbols[name];
    if (address === undefined) return undefined;
    const inside = address >= BigInt(ram.base) && address + 8n <= BigInt(ramEnd(ram));
    if (inside && address % 8n === 0n) return Number(address);
    throw new CodedError(
      "E_ELF_INVALID",
      `cannot load ELF program: its ${name} is at 0x${address.toString(16)}, ` +
        "expected an aligned word in RAM",
    );
  };
  const tohost = word("tohost");
  return tohost === undefined ? undefined : { tohost, fromhost: word("fromhost") };
}

function checkMemory(memoryBytes: number): void {
  const fits = memoryBytes >= MIN_MEMORY_BYTES && memoryBytes <= MAX_MEMORY_BYTES;
  if (fits && memoryBytes % MEMORY_UNIT_BYTES === 0) return;
  throw new CodedError(
    "E_CONFIG_INVALID",
    `cannot make a machine with ${memoryBytes / MiB} MiB of memory: it is out of range`,
    {
      hint:
        `want ${MIN_MEMORY_BYTES / MiB} to ${MAX_MEMORY_BYTES / MiB} MiB, ` +
        `a multiple of ${MEMORY_UNIT_BYTES / MiB} MiB`,
    },
  );
}

function checkCommandLine(commandLine: string): void {
  const { length } = utf8(commandLine);
  if (length <= COMMAND_LINE_MAX_BYTES && !commandLine.includes("\0")) return;
  throw new CodedError(
    "E_CONFIG_INVALID",
    `cannot pass a kernel command line of ${length} bytes: ` +
      `expected at most ${COMMAND_LINE_MAX_BYTES} without NUL`,
  );
}

/** An ELF goes where it says, anything else to the start of RAM. */
function loadFirmware(image: Uint8Array, ram: Region): ElfProgram {
  if (isElf(image)) return readElf(image, ram);
  if (image.length === 0 || image.length > ram.size) {
    throw new CodedError(
      "E_FIRMWARE_TOO_BIG",
      `cannot load firmware of ${image.length} bytes: expected 1..${ram.size} bytes`,
    );
  }
  const segments = [{ address: ram.base, bytes: image, memoryBytes: image.length }];
  return { entry: BigInt(ram.base), segments, symbols: {} };
}

/**
 * At the next boundary past the firmware; with the built-in SBI at the place where a kernel
 * under a firmware would be, which is what its `text_offset` asks for.
 */
function placeKernel(
  kernel: Uint8Array,
  firmwareEnd: number,
  boot: BootConfig,
): { readonly start: number; readonly end: number } {
  const { textOffset, imageBytes } = readLinuxImage(kernel);
  const start =
    boot.kind === "linux"
      ? RAM_BASE + textOffset
      : Math.max(alignUp(firmwareEnd, KERNEL_ALIGN), RAM_BASE + KERNEL_ALIGN);
  return { start, end: start + imageBytes };
}

/** QEMU's place if it fits there; else as high as possible above what the kernel takes. */
function placeInitrd(
  initrd: Uint8Array,
  room: {
    readonly start: number;
    readonly taken: number;
    readonly limit: number;
    readonly ram: Region;
  },
): Region {
  const size = initrd.length;
  const usual = alignUp(
    room.start + Math.min(room.ram.size / 2, INITRD_MAX_DISTANCE),
    INITRD_ALIGN,
  );
  if (usual >= room.taken && usual + size <= room.limit) return { base: usual, size };
  const highest = alignDown(room.limit - size, INITRD_ALIGN);
  if (highest >= room.taken) return { base: highest, size };
  throw new CodedError(
    "E_INITRD_TOO_BIG",
    `cannot place initial RAM disk of ${size} bytes: ` +
      `there are ${Math.max(0, room.limit - room.taken)} bytes of RAM beside the kernel`,
    { hint: "give the machine more memory" },
  );
}

function tooBig(boot: BootConfig, excess: number): CodedError {
  const [code, what] =
    boot.kernel === undefined
      ? (["E_FIRMWARE_TOO_BIG", "firmware"] as const)
      : (["E_KERNEL_TOO_BIG", "kernel"] as const);
  return new CodedError(code, `cannot place ${what}: it needs ${excess} bytes more RAM`, {
    hint: "give the machine more memory",
  });
}

function endOf(segments: ElfProgram["segments"], start: number): number {
  return segments.reduce((end, s) => Math.max(end, s.address + s.memoryBytes), start);
}

function ramEnd(ram: Region): number {
  return ram.base + ram.size;
}

function alignDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
