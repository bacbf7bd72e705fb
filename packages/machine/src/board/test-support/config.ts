/** Machine configurations and files for tests of the board. */
import { ByteWriter } from "@dejavm/base";
import type { BootConfig, MachineConfig } from "../../machine-types.ts";
import { utf8 } from "../text.ts";

const MiB = 1024 * 1024;
/** Test files are smaller than this. */
const FILE_BYTES = 65_536;

/** A machine with 128 MiB and no devices beyond the fixed ones, changed as `change` says. */
export function testConfig(change: Partial<MachineConfig> = {}): MachineConfig {
  return {
    memoryBytes: 128 * MiB,
    boot: { kind: "linux", kernel: linuxImage(), commandLine: "console=ttyS0" },
    disks: [],
    net: undefined,
    entropySeed: new Uint8Array(32).fill(0xa5),
    wallTimeNs: 0n,
    ...change,
  };
}

/** The same machine started otherwise. */
export function testBoot(boot: Partial<BootConfig>, memoryBytes = 128 * MiB): MachineConfig {
  const config = testConfig({ memoryBytes });
  return { ...config, boot: { ...config.boot, ...boot } as BootConfig };
}

/** A file of `fileBytes` with the header of a Linux Image. */
export function linuxImage(
  change: {
    readonly textOffset?: bigint;
    readonly imageBytes?: bigint;
    readonly flags?: bigint;
    readonly version?: number;
    readonly fileBytes?: number;
  } = {},
): Uint8Array {
  const out = new ByteWriter(FILE_BYTES);
  out.u64(0n);
  out.u64(change.textOffset ?? 0x20_0000n);
  out.u64(change.imageBytes ?? 0x10_0000n);
  out.u64(change.flags ?? 0n);
  out
    .u32(change.version ?? 2)
    .u32(0)
    .u64(0n);
  out.bytes(utf8("RISCV\0\0\0")).bytes(utf8("RSC\u0005")).u32(0);
  const file = new Uint8Array(change.fileBytes ?? 4096);
  file.set(out.finish().subarray(0, file.length));
  return file;
}

/** One loadable segment of a test program. */
export interface TestSegment {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly memoryBytes?: bigint;
}

/** An ELF64 executable: header, program headers, contents, symbols, strings, section headers. */
export function elf(options: {
  readonly entry?: bigint;
  readonly type?: number;
  readonly segments: readonly TestSegment[];
  readonly symbols?: { readonly [name: string]: bigint };
}): Uint8Array {
  const { segments, symbols = {} } = options;
  const strings = new ByteWriter(FILE_BYTES).u8(0);
  const table = new ByteWriter(FILE_BYTES).bytes(new Uint8Array(24));
  for (const [name, value] of Object.entries(symbols)) {
    table.u32(strings.length).u32(0).u64(value).u64(0n);
    strings.bytes(utf8(`${name}\0`));
  }
  const contentAt = 64 + 56 * segments.length;
  const tableAt = segments.reduce((at, s) => at + s.bytes.length, contentAt);
  const stringsAt = tableAt + table.length;
  const sectionsAt = stringsAt + strings.length;
  const out = new ByteWriter(FILE_BYTES);
  out.bytes(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0)).u64(0n);
  out
    .u16(options.type ?? 2)
    .u16(243)
    .u32(1);
  out
    .u64(options.entry ?? 0x8000_0000n)
    .u64(64n)
    .u64(BigInt(sectionsAt));
  out.u32(0).u16(64).u16(56).u16(segments.length).u16(64).u16(3).u16(2);
  let at = contentAt;
  for (const { address, bytes, memoryBytes } of segments) {
    out.u32(1).u32(7).u64(BigInt(at)).u64(address).u64(address);
    out
      .u64(BigInt(bytes.length))
      .u64(memoryBytes ?? BigInt(bytes.length))
      .u64(4096n);
    at += bytes.length;
  }
  for (const { bytes } of segments) out.bytes(bytes);
  out.bytes(table.finish()).bytes(strings.finish()).bytes(new Uint8Array(64));
  section(out, { type: 2, at: tableAt, size: table.length, link: 2, entrySize: 24 });
  section(out, { type: 3, at: stringsAt, size: strings.length, link: 0, entrySize: 0 });
  return out.finish();
}

function section(
  out: ByteWriter,
  s: { type: number; at: number; size: number; link: number; entrySize: number },
): void {
  out.u32(0).u32(s.type).u64(0n).u64(0n).u64(BigInt(s.at)).u64(BigInt(s.size));
  out.u32(s.link).u32(0).u64(1n).u64(BigInt(s.entrySize));
}
