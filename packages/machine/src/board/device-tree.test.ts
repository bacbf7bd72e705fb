import { describe, expect, test } from "vitest";
import { deviceTree, ISA_EXTENSIONS } from "./device-tree.ts";
import type { FdtNode, FdtValue } from "./fdt.ts";
import { testConfig } from "./test-support/config.ts";

const DISK = { sizeBytes: 512, readOnly: false, serial: "d" };
const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const FULL = testConfig({ disks: [DISK, DISK, DISK, DISK], net: { mac: MAC } });

/** All nodes by path. */
function nodes(node: FdtNode, path = ""): Map<string, FdtNode> {
  const found = new Map([[path === "" ? "/" : path, node]]);
  for (const child of node.children ?? []) {
    for (const [at, inner] of nodes(child, `${path}/${child.name}`)) found.set(at, inner);
  }
  return found;
}

/** Numbers as the cells they become; whatever names a phandle is compared through `refer`. */
function cells(value: FdtValue | undefined): unknown {
  if (typeof value === "number") return [value];
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) return value;
  return value.flatMap((item: string | number | bigint) =>
    typeof item === "bigint" ? [Number(item >> 32n), Number(item & 0xffff_ffffn)] : [item],
  );
}

/**
 * QEMU 10.0's tree of `-M virt -m 128`, where it has a node of the same name: properties without
 * phandles. `riscv,isa*`, `mmu-type` and the model differ by intent.
 */
const QEMU: {
  readonly [path: string]: { readonly [property: string]: readonly unknown[] | null };
} = {
  "/": { "#address-cells": [2], "#size-cells": [2], compatible: ["riscv-virtio"] },
  "/poweroff": { value: [0x5555], offset: [0], compatible: ["syscon-poweroff"] },
  "/reboot": { value: [0x7777], offset: [0], compatible: ["syscon-reboot"] },
  "/memory@80000000": { device_type: ["memory"], reg: [0, 0x8000_0000, 0, 0x800_0000] },
  "/cpus": { "#address-cells": [1], "#size-cells": [0], "timebase-frequency": [0x98_9680] },
  "/cpus/cpu@0": {
    device_type: ["cpu"],
    reg: [0],
    status: ["okay"],
    compatible: ["riscv"],
    "riscv,cboz-block-size": [0x40],
    "riscv,isa-base": ["rv64i"],
  },
  "/cpus/cpu@0/interrupt-controller": {
    "#interrupt-cells": [1],
    "interrupt-controller": null,
    compatible: ["riscv,cpu-intc"],
  },
  "/aliases": { serial0: ["/soc/serial@10000000"] },
  "/chosen": { "stdout-path": ["/soc/serial@10000000"] },
  "/soc": { "#address-cells": [2], "#size-cells": [2], compatible: ["simple-bus"], ranges: null },
  "/soc/rtc@101000": {
    interrupts: [0x0b],
    reg: [0, 0x10_1000, 0, 0x1000],
    compatible: ["google,goldfish-rtc"],
  },
  "/soc/serial@10000000": {
    interrupts: [0x0a],
    "clock-frequency": [0x38_4000],
    reg: [0, 0x1000_0000, 0, 0x100],
    compatible: ["ns16550a"],
  },
  "/soc/test@100000": {
    reg: [0, 0x10_0000, 0, 0x1000],
    compatible: ["sifive,test1", "sifive,test0", "syscon"],
  },
  "/soc/plic@c000000": {
    "riscv,ndev": [0x5f],
    reg: [0, 0xc00_0000, 0, 0x60_0000],
    "interrupt-controller": null,
    compatible: ["sifive,plic-1.0.0", "riscv,plic0"],
    "#address-cells": [0],
    "#interrupt-cells": [1],
  },
  "/soc/clint@2000000": {
    reg: [0, 0x200_0000, 0, 0x1_0000],
    compatible: ["sifive,clint0", "riscv,clint0"],
  },
  ...Object.fromEntries(
    [1, 2, 3, 4, 5, 6, 7, 8].map((irq) => [
      `/soc/virtio_mmio@1000${irq}000`,
      {
        interrupts: [irq],
        reg: [0, 0x1000_0000 + irq * 0x1000, 0, 0x1000],
        compatible: ["virtio,mmio"],
      },
    ]),
  ),
};

describe("device tree", () => {
  test.each(Object.entries(QEMU))("%s has what QEMU's virt board says", (path, properties) => {
    const node = nodes(deviceTree({ config: FULL })).get(path);
    for (const [name, value] of Object.entries(properties)) {
      expect([name, cells(node?.properties[name])]).toEqual([name, value]);
    }
  });

  test("interrupts lead to the hart's causes that QEMU uses", () => {
    const all = nodes(deviceTree({ config: FULL }));
    const intc = all.get("/cpus/cpu@0/interrupt-controller")?.properties.phandle;
    const plic = all.get("/soc/plic@c000000")?.properties;
    const clint = all.get("/soc/clint@2000000")?.properties;
    expect(plic?.["interrupts-extended"]).toEqual([intc, 11, intc, 9]);
    expect(clint?.["interrupts-extended"]).toEqual([intc, 3, intc, 7]);
    for (const path of ["/soc/rtc@101000", "/soc/serial@10000000", "/soc/rng@102000"]) {
      expect(all.get(path)?.properties["interrupt-parent"]).toBe(plic?.phandle);
    }
    const syscon = all.get("/soc/test@100000")?.properties.phandle;
    expect(all.get("/poweroff")?.properties.regmap).toBe(syscon);
  });

  test("every phandle is given once", () => {
    const handles = [...nodes(deviceTree({ config: FULL })).values()]
      .map(({ properties }) => properties.phandle)
      .filter((phandle) => phandle !== undefined);
    expect(new Set(handles).size).toBe(handles.length);
  });

  test("only the virtio devices that the machine has are there, each in its own slot", () => {
    const slots = (config: typeof FULL): string[] =>
      [...nodes(deviceTree({ config })).keys()].flatMap(
        (path) => /virtio_mmio@1000(\d)/.exec(path)?.[1] ?? [],
      );
    expect(slots(testConfig())).toEqual(["6", "7", "8"]);
    expect(slots(testConfig({ net: { mac: MAC } }))).toEqual(["5", "6", "7", "8"]);
    expect(slots(testConfig({ disks: [DISK, DISK] }))).toEqual(["1", "2", "6", "7", "8"]);
  });

  test("the kernel finds command line, seed and initrd under chosen", () => {
    const initrd = { base: 0x8420_0000, size: 0x1001 };
    const chosen = nodes(deviceTree({ config: FULL, initrd })).get("/chosen")?.properties;
    expect(chosen?.bootargs).toBe("console=ttyS0");
    expect(chosen?.["rng-seed"]).toEqual(FULL.entropySeed);
    expect(chosen?.["linux,initrd-start"]).toEqual([0x8420_0000n]);
    expect(chosen?.["linux,initrd-end"]).toEqual([0x8420_1001n]);
    const without = nodes(deviceTree({ config: FULL })).get("/chosen")?.properties ?? {};
    expect(Object.keys(without)).not.toContain("linux,initrd-start");
  });

  test("the extensions are the same in old and new style, single letters first", () => {
    const cpu = nodes(deviceTree({ config: FULL })).get("/cpus/cpu@0")?.properties;
    expect(cpu?.["riscv,isa-extensions"]).toEqual(ISA_EXTENSIONS);
    const isa = String(cpu?.["riscv,isa"]);
    const [letters = "", ...names] = isa.slice("rv64".length).split("_");
    expect([...letters.split(""), ...names]).toEqual(ISA_EXTENSIONS);
  });
});
