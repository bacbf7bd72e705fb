/** What the builder reads out of Debian's kernel, modules and busybox. */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { busyboxApplets } from "./busybox.ts";
import { flatKernelImage } from "./kernel.ts";
import { type KernelModule, moduleDependencies, modulesDep } from "./kernel-modules.ts";
import { stripModule } from "./strip-module.ts";

describe("kernel", () => {
  const image = Buffer.alloc(4096, 0x13);
  image.write("RSC\x05", 56, "latin1");

  test.each([
    ["plain", image],
    ["gzip", gzipSync(image)],
    ["zstd", zstdCompressSync(image)],
  ])("a %s Image comes out flat", (_how, file) => {
    expect(Buffer.from(flatKernelImage(file)).equals(image)).toBe(true);
  });

  test.each([
    ["an ELF file", Buffer.from("\x7fELF".padEnd(100, "\0"), "latin1")],
    ["nothing", Buffer.alloc(0)],
    ["half an Image", image.subarray(0, 59)],
  ])("%s is refused", (_what, file) => {
    expect(() => flatKernelImage(file)).toThrow(expect.objectContaining({ code: "E_APT" }));
  });
});

describe("busybox", () => {
  const names = ["[", "[[", ...Array.from({ length: 160 }, (_, index) => `a${1000 + index}`)];
  const table = `\0${[...names, "init", "sh", "zcat"].join("\0")}\0`;

  test("its applets are the sorted table that begins with [", () => {
    const applets = busyboxApplets(Buffer.from(`\0x[\0y${table}aardvark\0`, "latin1"));
    expect(applets.slice(0, 3)).toEqual(["[", "[[", "a1000"]);
    expect(applets.at(-1)).toBe("zcat");
  });

  test.each([
    ["no table", "nothing here"],
    ["a short table", "\0[\0[[\0init\0sh\0"],
    ["a table without init", `\0${[...names, "sh"].join("\0")}\0`],
  ])("%s is an error", (_what, text) => {
    expect(() => busyboxApplets(Buffer.from(text, "latin1"))).toThrow(
      expect.objectContaining({ code: "E_APT" }),
    );
  });
});

describe("kernel modules", () => {
  const content = new Uint8Array(0);
  const modules: readonly KernelModule[] = [
    { name: "crc", path: "kernel/crc.ko", content, dependsOn: [] },
    { name: "journal", path: "kernel/journal.ko", content, dependsOn: ["crc"] },
    { name: "fs", path: "kernel/fs.ko", content, dependsOn: ["journal", "crc"] },
  ];

  test("dependencies come from .modinfo, with underscores", () => {
    const info = Buffer.from("license=GPL\0depends=net-failover,virtio\0name=x\0");
    expect(moduleDependencies(info)).toEqual(["net_failover", "virtio"]);
    expect(moduleDependencies(Buffer.from("depends=\0"))).toEqual([]);
  });

  test("modules.dep lists all that a module needs, once", () => {
    expect(modulesDep(modules)).toBe(
      "kernel/crc.ko:\nkernel/journal.ko: kernel/crc.ko\n" +
        "kernel/fs.ko: kernel/journal.ko kernel/crc.ko\n",
    );
  });

  test("stripping drops unused labels, keeps functions and what relocations name", () => {
    const stripped = Buffer.from(stripModule(sampleModule()));
    expect(symbolNames(stripped)).toEqual(["", "", ".Lused", "helper", "init_module"]);
    const [relocations] = sectionsOf(stripped, 4);
    expect(relocations?.readUInt32LE(12)).toBe(2);
    expect(relocations?.readUInt32LE(24 + 12)).toBe(4);
    const [text] = sectionsOf(stripped, 1);
    expect(text?.toString()).toBe("code");
    expect(stripped.includes("signature")).toBe(false);
    expect(sectionsOf(stripped, 1)[1]?.length).toBe(0);
  });

  test("stripping a stripped module changes nothing", () => {
    const once = stripModule(sampleModule());
    expect(Buffer.from(stripModule(once)).equals(once)).toBe(true);
  });

  test.each([0, 10, 63, 64, 200, 400])("a module cut off after %i bytes is refused", (length) => {
    expect(() => stripModule(sampleModule().subarray(0, length))).toThrow(
      expect.objectContaining({ code: "E_APT" }),
    );
  });
});

const SECTION_NAMES = "\0.text\0.rela.text\0.symtab\0.strtab\0.shstrtab\0.BTF\0";

/** A relocatable file: two labels of which one is used, a function, a global, a signature. */
function sampleModule(): Buffer {
  const strings = "\0.Lunused\0.Lused\0helper\0init_module\0";
  const symbol = (name: string, info: number): Buffer => {
    const bytes = Buffer.alloc(24);
    bytes.writeUInt32LE(name === "" ? 0 : strings.indexOf(name));
    bytes[4] = info;
    return bytes;
  };
  // Null, a section symbol, two labels, a local function, a global one.
  const symbols = [
    symbol("", 0),
    symbol("", 3),
    symbol(".Lunused", 0),
    symbol(".Lused", 0),
    symbol("helper", 2),
    symbol("init_module", 0x12),
  ];
  const rela = Buffer.alloc(48);
  rela.writeUInt32LE(3, 12);
  rela.writeUInt32LE(5, 24 + 12);
  const contents = [
    { type: 0, name: "", bytes: Buffer.alloc(0) },
    { type: 1, name: ".text", bytes: Buffer.from("code") },
    { type: 4, name: ".rela.text", bytes: rela, link: 3, info: 1 },
    { type: 2, name: ".symtab", bytes: Buffer.concat(symbols), link: 4, info: 5 },
    { type: 3, name: ".strtab", bytes: Buffer.from(strings) },
    { type: 3, name: ".shstrtab", bytes: Buffer.from(SECTION_NAMES) },
    { type: 1, name: ".BTF", bytes: Buffer.from("types") },
  ];
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01\x01", 0, "latin1");
  const bodies: Buffer[] = [];
  const table = Buffer.alloc(contents.length * 64);
  let offset = 64;
  contents.forEach(({ type, name, bytes, link = 0, info = 0 }, index) => {
    const at = index * 64;
    table.writeUInt32LE(SECTION_NAMES.indexOf(`${name}\0`), at);
    table.writeUInt32LE(type, at + 4);
    table.writeBigUInt64LE(BigInt(offset), at + 24);
    table.writeBigUInt64LE(BigInt(bytes.length), at + 32);
    table.writeUInt32LE(link, at + 40);
    table.writeUInt32LE(info, at + 44);
    bodies.push(bytes);
    offset += bytes.length;
  });
  header.writeBigUInt64LE(BigInt(offset), 40);
  header.writeUInt16LE(contents.length, 60);
  header.writeUInt16LE(5, 62);
  return Buffer.concat([header, ...bodies, table, Buffer.from("~signature~")]);
}

/** The contents of all sections of a type, in order. */
function sectionsOf(file: Buffer, type: number): Buffer[] {
  const table = Number(file.readBigUInt64LE(40));
  return Array.from({ length: file.readUInt16LE(60) }, (_, index) => table + index * 64)
    .filter((at) => file.readUInt32LE(at + 4) === type)
    .map((at) => {
      const start = Number(file.readBigUInt64LE(at + 24));
      return file.subarray(start, start + Number(file.readBigUInt64LE(at + 32)));
    });
}

function symbolNames(file: Buffer): string[] {
  const [symbols] = sectionsOf(file, 2);
  const [strings] = sectionsOf(file, 3);
  if (symbols === undefined || strings === undefined) throw new Error("no symbols");
  return Array.from({ length: symbols.length / 24 }, (_, index) => {
    const start = symbols.readUInt32LE(index * 24);
    return strings.toString("latin1", start, strings.indexOf(0, start));
  });
}
