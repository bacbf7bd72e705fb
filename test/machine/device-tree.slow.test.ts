/** The device tree that a kernel gets: good in dtc's eyes, and that of QEMU's `virt` board. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "@dejavm/base";
import { hostTool } from "@dejavm/debian";
import { Machine, PAGE_BYTES, RAM_BASE } from "@dejavm/machine";
import { expect, test } from "vitest";
import { findQemu } from "../support/qemu.ts";

const MEMORY_BYTES = 128 * 2 ** 20;
/** Properties that say where a device is and what it is. */
const SHARED = ["reg", "compatible", "interrupts", "device_type"] as const;

/** Properties by name, of nodes by path, as dtc prints them. */
type Tree = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** A kernel's header, and nothing behind it. */
function emptyKernel(): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(8, 0x20_0000n, true);
  view.setBigUint64(16, 4096n, true);
  view.setUint32(32, 2, true);
  bytes.set(new TextEncoder().encode("RISCV\0\0\0RSC\x05"), 48);
  return bytes;
}

/** The blob that a1 points to when the kernel starts. */
function ourBlob(): Uint8Array {
  const machine = Machine.create({
    memoryBytes: MEMORY_BYTES,
    boot: {
      kind: "linux",
      kernel: emptyKernel(),
      initrd: new Uint8Array(100),
      commandLine: "root=/dev/vda quiet",
    },
    disks: [0, 1].map((i) => ({ sizeBytes: 2 ** 20, readOnly: i === 1, serial: `disk${i}` })),
    net: { mac: Uint8Array.of(0x52, 0x54, 0, 1, 2, 3) },
    entropySeed: new Uint8Array(32),
    wallTimeNs: 0n,
  });
  const { x11 } = machine.save().hart as Record<string, bigint>;
  const offset = Number(x11) - RAM_BASE;
  assert(offset % PAGE_BYTES === 0, "the blob begins a page");
  const first = offset / PAGE_BYTES;
  const size = new DataView(machine.readPage(first).slice().buffer).getUint32(4);
  const pages = Array.from({ length: Math.ceil(size / PAGE_BYTES) }, (_, i) =>
    machine.readPage(first + i).slice(),
  );
  return Buffer.concat(pages).subarray(0, size);
}

/** dtc's text for a blob, and what it complains of. */
function decompile(
  dtc: string,
  blob: Uint8Array,
): { readonly text: string; readonly says: string } {
  const { stdout, stderr, status } = spawnSync(dtc, ["-I", "dtb", "-O", "dts"], { input: blob });
  expect(status, stderr.toString()).toBe(0);
  return { text: stdout.toString(), says: stderr.toString() };
}

function parse(text: string): Tree {
  const tree = new Map<string, Map<string, string>>();
  const path: string[] = [];
  for (const line of text.split("\n").map((each) => each.trim())) {
    const node = /^(\S+) \{$/.exec(line)?.[1];
    const property = /^(\S+?)(?: = (.*))?;$/.exec(line);
    if (node !== undefined) path.push(node === "/" ? "" : node);
    else if (line === "};") path.pop();
    else if (property?.[1] !== undefined) {
      const name = path.join("/");
      const properties = tree.get(name) ?? new Map<string, string>();
      tree.set(name, properties.set(property[1], property[2] ?? ""));
    }
  }
  return tree;
}

test("dtc finds nothing wrong with the device tree", async (context) => {
  const dtc = await hostTool("dtc");
  if (dtc.kind === "skipped") return context.skip(dtc.reason);
  const { text, says } = decompile(dtc.command, ourBlob());
  expect(says).toBe("");
  expect(parse(text).get("/chosen")?.get("bootargs")).toBe('"root=/dev/vda quiet"');
});

test("what QEMU's board has too is in the same place", async (context) => {
  const dtc = await hostTool("dtc");
  const qemu = await findQemu();
  if (dtc.kind === "skipped") return context.skip(dtc.reason);
  if (qemu.kind === "skipped") return context.skip(qemu.reason);
  const directory = mkdtempSync(join(tmpdir(), "dejavm-dtb-"));
  try {
    const file = join(directory, "virt.dtb");
    const args = ["-machine", `virt,dumpdtb=${file}`, "-m", `${MEMORY_BYTES}B`, "-display", "none"];
    expect(spawnSync(qemu.command, args).status).toBe(0);
    const theirs = parse(decompile(dtc.command, readFileSync(file)).text);
    const ours = parse(decompile(dtc.command, ourBlob()).text);
    const shared = [...ours.keys()].filter((path) => theirs.has(path));
    for (const device of [
      "serial@10000000",
      "rtc@101000",
      "plic@c000000",
      "virtio_mmio@10001000",
    ]) {
      expect(shared).toContain(`/soc/${device}`);
    }
    for (const path of shared) {
      for (const name of SHARED) {
        const [our, their] = [ours.get(path)?.get(name), theirs.get(path)?.get(name)];
        expect([path, name, our]).toEqual([path, name, their]);
      }
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
