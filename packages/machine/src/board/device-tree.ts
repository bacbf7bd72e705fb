/**
 * The device tree that the machine hands to its kernel or firmware. Node names, properties and
 * values follow QEMU's `virt` board where the hardware is the same.
 */
import { TIMEBASE_HZ } from "../device/device.ts";
import { LAST_SOURCE } from "../device/plic/wire.ts";
import { COMMAND_PASS, COMMAND_RESET } from "../device/syscon/wire.ts";
import { GENERATION_ID_BYTES } from "../device/vmgenid/device.ts";
import type { MachineConfig } from "../machine-types.ts";
import { type FdtNode, writeFdt } from "./fdt.ts";
import { IRQ, MEMORY_MAP, RAM_BASE, type Region, virtioSlots } from "./memory-map.ts";

/** The extensions that the hart has beyond RV64I, in the order of the ISA naming rules. */
export const ISA_EXTENSIONS: readonly string[] = [
  "i",
  "m",
  "a",
  "f",
  "d",
  "c",
  "zicboz",
  "zicntr",
  "zicsr",
  "zifencei",
  "zba",
  "zbb",
  "zbs",
  "sstc",
  "svadu",
];

/** Bytes that one `cbo.zero` clears. */
const CBOZ_BLOCK_BYTES = 64;

const HART_INTC = 1;
const HART = 2;
const PLIC = 3;
const SYSCON = 4;

/** Interrupt causes of the hart, as `interrupts-extended` names them. */
const CAUSE = { msoft: 3, mtimer: 7, sext: 9, mext: 11 } as const;

/** 3.6864 MHz, the clock of QEMU's UART. */
const UART_CLOCK_HZ = 3_686_400;

/** What the tree says beside the machine's configuration. */
export interface DeviceTreeOptions {
  readonly config: MachineConfig;
  /** Where the initial RAM disk was put; absent without one. */
  readonly initrd?: Region | undefined;
}

/** The blob for a machine. Throws E_CONFIG_INVALID as `virtioSlots` does. */
export function buildDeviceTree(options: DeviceTreeOptions): Uint8Array {
  return writeFdt(deviceTree(options));
}

/** The tree as nodes. */
export function deviceTree({ config, initrd }: DeviceTreeOptions): FdtNode {
  return {
    name: "",
    properties: {
      "#address-cells": 2,
      "#size-cells": 2,
      compatible: "riscv-virtio",
      model: "riscv-virtio,dejavm",
    },
    children: [
      chosen(config, initrd),
      {
        name: "aliases",
        properties: { serial0: `/soc/${unit("serial", MEMORY_MAP.uart)}` },
      },
      {
        name: `memory@${RAM_BASE.toString(16)}`,
        properties: {
          device_type: "memory",
          reg: [BigInt(RAM_BASE), BigInt(config.memoryBytes)],
        },
      },
      cpus(),
      power("poweroff", COMMAND_PASS),
      power("reboot", COMMAND_RESET),
      soc(config),
    ],
  };
}

function chosen(config: MachineConfig, initrd: Region | undefined): FdtNode {
  const initrdRange =
    initrd === undefined
      ? {}
      : {
          "linux,initrd-start": [BigInt(initrd.base)],
          "linux,initrd-end": [BigInt(initrd.base + initrd.size)],
        };
  return {
    name: "chosen",
    properties: {
      bootargs: config.boot.commandLine,
      "stdout-path": `/soc/${unit("serial", MEMORY_MAP.uart)}`,
      "rng-seed": config.entropySeed,
      ...initrdRange,
    },
  };
}

function cpus(): FdtNode {
  const letters = ISA_EXTENSIONS.filter((name) => name.length === 1).join("");
  const names = ISA_EXTENSIONS.filter((name) => name.length > 1);
  return {
    name: "cpus",
    properties: {
      "#address-cells": 1,
      "#size-cells": 0,
      "timebase-frequency": TIMEBASE_HZ,
    },
    children: [
      {
        name: "cpu@0",
        properties: {
          phandle: HART,
          device_type: "cpu",
          reg: 0,
          status: "okay",
          compatible: "riscv",
          "riscv,cboz-block-size": CBOZ_BLOCK_BYTES,
          "riscv,isa-extensions": ISA_EXTENSIONS,
          "riscv,isa-base": "rv64i",
          "riscv,isa": [`rv64${letters}`, ...names].join("_"),
          "mmu-type": "riscv,sv39",
        },
        children: [
          {
            name: "interrupt-controller",
            properties: {
              "#address-cells": 0,
              "#interrupt-cells": 1,
              "interrupt-controller": null,
              compatible: "riscv,cpu-intc",
              phandle: HART_INTC,
            },
          },
        ],
      },
      {
        name: "cpu-map",
        properties: {},
        children: [
          {
            name: "cluster0",
            properties: {},
            children: [{ name: "core0", properties: { cpu: HART } }],
          },
        ],
      },
    ],
  };
}

function power(name: string, value: number): FdtNode {
  return {
    name,
    properties: {
      value,
      offset: 0,
      regmap: SYSCON,
      compatible: `syscon-${name}`,
    },
  };
}

function soc(config: MachineConfig): FdtNode {
  return {
    name: "soc",
    properties: {
      "#address-cells": 2,
      "#size-cells": 2,
      compatible: "simple-bus",
      ranges: null,
    },
    children: [
      device("test", MEMORY_MAP.syscon, {
        phandle: SYSCON,
        compatible: ["sifive,test1", "sifive,test0", "syscon"],
      }),
      device("rtc", MEMORY_MAP.rtc, {
        ...interrupt(IRQ.rtc),
        compatible: "google,goldfish-rtc",
      }),
      device(
        "rng",
        { base: MEMORY_MAP.generationId.base, size: GENERATION_ID_BYTES },
        { ...interrupt(IRQ.generationId), compatible: "microsoft,vmgenid" },
      ),
      device("clint", MEMORY_MAP.clint, {
        "interrupts-extended": [HART_INTC, CAUSE.msoft, HART_INTC, CAUSE.mtimer],
        compatible: ["sifive,clint0", "riscv,clint0"],
      }),
      device("plic", MEMORY_MAP.plic, {
        phandle: PLIC,
        "riscv,ndev": LAST_SOURCE,
        "interrupts-extended": [HART_INTC, CAUSE.mext, HART_INTC, CAUSE.sext],
        "interrupt-controller": null,
        compatible: ["sifive,plic-1.0.0", "riscv,plic0"],
        "#address-cells": 0,
        "#interrupt-cells": 1,
      }),
      device("serial", MEMORY_MAP.uart, {
        ...interrupt(IRQ.uart),
        "clock-frequency": UART_CLOCK_HZ,
        compatible: "ns16550a",
      }),
      ...virtioSlots(config).map(({ irq, region }) =>
        device("virtio_mmio", region, {
          ...interrupt(irq),
          compatible: "virtio,mmio",
        }),
      ),
    ],
  };
}

function device(name: string, region: Region, properties: FdtNode["properties"]): FdtNode {
  return {
    name: unit(name, region),
    properties: {
      ...properties,
      reg: [BigInt(region.base), BigInt(region.size)],
    },
  };
}

function unit(name: string, region: Region): string {
  return `${name}@${region.base.toString(16)}`;
}

function interrupt(source: number): FdtNode["properties"] {
  return { interrupts: source, "interrupt-parent": PLIC };
}
