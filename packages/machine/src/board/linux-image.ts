/**
 * Recognises kernel files and reads the header of a RISC-V Linux `Image`
 * (Documentation/arch/riscv/boot-image-header.rst). Decompression is the host's business.
 */
import { CodedError } from "@dejavm/base";
import { isElf } from "./elf.ts";

/** What a kernel file is; only `image` can be started. `zboot` wraps a compressed Image in EFI. */
export type KernelFormat = "image" | "gzip" | "zstd" | "xz" | "zboot" | "elf" | "unknown";

/** What the boot needs from an `Image`'s header; all in bytes. */
export interface LinuxImage {
  /** Where the image wants to be, from a 2 MiB boundary of RAM. */
  readonly textOffset: number;
  /** Memory that the running kernel takes, from its first byte on; at least the file's length. */
  readonly imageBytes: number;
}

/** A compressed kernel within a `zboot` file. */
export interface ZbootPayload {
  readonly payload: Uint8Array;
  /** As the kernel names it: `gzip`, `zstd`, `xz`, ... */
  readonly compression: string;
}

const HEADER_BYTES = 64;
/** The header version's major number is 0; later ones may mean anything. */
const HEADER_MAJOR_SHIFT = 16;

/** Offsets, in bytes, and constants of the PE format. */
const PE = {
  dosSignature: 0x5a4d,
  pointer: 60,
  signature: 0x4550,
  headerBytes: 24,
  sectionCount: 6,
  optionalBytes: 20,
  sectionBytes: 40,
  rawSize: 16,
  rawPointer: 20,
} as const;

const SIGNATURES: readonly (readonly [KernelFormat, number, readonly number[]])[] = [
  ["image", 56, [0x52, 0x53, 0x43, 0x05]],
  ["gzip", 0, [0x1f, 0x8b]],
  ["zstd", 0, [0x28, 0xb5, 0x2f, 0xfd]],
  ["xz", 0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["zboot", 4, [0x7a, 0x69, 0x6d, 0x67]],
];

/** What kind of file `bytes` are, from their signatures. */
export function detectKernel(bytes: Uint8Array): KernelFormat {
  if (isElf(bytes)) return "elf";
  for (const [format, at, signature] of SIGNATURES) {
    if (signature.every((byte, i) => bytes[at + i] === byte)) return format;
  }
  return "unknown";
}

/** Reads an Image's header. Throws E_KERNEL_INVALID for anything else, saying what it is. */
export function readLinuxImage(bytes: Uint8Array): LinuxImage {
  const format = detectKernel(bytes);
  if (format !== "image") throw invalid(WHY_NOT[format]);
  if (bytes.length < HEADER_BYTES) throw invalid(`it has only ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const textOffset = view.getBigUint64(8, true);
  const imageBytes = view.getBigUint64(16, true);
  const flags = view.getBigUint64(24, true);
  const version = view.getUint32(32, true);
  if (version >>> HEADER_MAJOR_SHIFT !== 0) throw invalid(`its header version is ${version}`);
  if ((flags & 1n) === 1n) throw invalid("it is big-endian");
  if (textOffset > IMAGE_LIMIT || imageBytes > IMAGE_LIMIT) {
    throw invalid(`its offset ${textOffset} or size ${imageBytes} is absurd`);
  }
  const sectionsEnd = peSectionsEnd(view);
  if (sectionsEnd > bytes.length) {
    throw invalid(`it is truncated: it has ${bytes.length} bytes, its sections ${sectionsEnd}`);
  }
  // Kernels before 5.3 left the size zero.
  return {
    textOffset: Number(textOffset),
    imageBytes: Math.max(Number(imageBytes), bytes.length),
  };
}

/**
 * Where the sections of the PE header end that makes the Image an EFI program, too (PE format,
 * "COFF File Header", "Section Table"); 0 without one. Nothing else tells the file's length.
 */
function peSectionsEnd(view: DataView): number {
  const header = view.getUint32(PE.pointer, true);
  const isPe =
    view.getUint16(0, true) === PE.dosSignature &&
    header + PE.headerBytes <= view.byteLength &&
    view.getUint32(header, true) === PE.signature;
  if (!isPe) return 0;
  const table = header + PE.headerBytes + view.getUint16(header + PE.optionalBytes, true);
  const tableEnd = table + view.getUint16(header + PE.sectionCount, true) * PE.sectionBytes;
  if (tableEnd > view.byteLength) return tableEnd;
  let end = tableEnd;
  for (let at = table; at < tableEnd; at += PE.sectionBytes) {
    const size = view.getUint32(at + PE.rawSize, true);
    end = Math.max(end, size + view.getUint32(at + PE.rawPointer, true));
  }
  return end;
}

/** The compressed payload of a `zboot` file. Throws E_KERNEL_INVALID. */
export function zbootPayload(bytes: Uint8Array): ZbootPayload {
  if (detectKernel(bytes) !== "zboot") throw invalid("it is not an EFI zboot file");
  if (bytes.length < HEADER_BYTES) throw invalid(`it has only ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const offset = view.getUint32(8, true);
  const size = view.getUint32(12, true);
  if (offset + size > bytes.length) throw invalid("its payload lies past its end");
  const name = bytes.subarray(24, 56);
  const end = name.indexOf(0);
  return {
    payload: bytes.subarray(offset, offset + size),
    compression: String.fromCharCode(...(end < 0 ? name : name.subarray(0, end))),
  };
}

/** Larger numbers than any address space that we offer. */
const IMAGE_LIMIT = 1n << 40n;

const WHY_NOT: { readonly [format in Exclude<KernelFormat, "image">]: string } = {
  gzip: "it is compressed with gzip; decompress it first",
  zstd: "it is compressed with zstd; decompress it first",
  xz: "it is compressed with xz; decompress it first",
  zboot: "it is an EFI zboot file; unpack its payload first",
  elf: "it is an ELF file; its `Image` (arch/riscv/boot/Image) is wanted",
  unknown: "it has no RISC-V Image header",
};

function invalid(what: string): CodedError {
  return new CodedError("E_KERNEL_INVALID", `cannot start kernel: ${what}`, {
    hint: "expected a RISC-V Linux `Image`, as in /boot of Debian's linux-image-riscv64",
  });
}
