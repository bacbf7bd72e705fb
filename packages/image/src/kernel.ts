/** The kernel of an image: Debian's file as the flat Image that a machine loads. */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { CodedError } from "@dejavm/base";

/** A kernel of more than this is no kernel. */
const MAX_KERNEL_BYTES = 256 << 20;

/** "RSC\x05", in the header of Linux, Documentation/arch/riscv/boot-image-header.rst. */
const IMAGE_MAGIC = 0x05435352;
const IMAGE_MAGIC_OFFSET = 56;

/**
 * Returns the flat RISC-V Image in `file`, unpacked if it is gzip or zstd. Throws `E_APT`
 * for anything else.
 */
export function flatKernelImage(file: Uint8Array): Uint8Array {
  const bytes = unpack(Buffer.from(file.buffer, file.byteOffset, file.length));
  if (bytes.length >= 64 && bytes.readUInt32LE(IMAGE_MAGIC_OFFSET) === IMAGE_MAGIC) return bytes;
  throw new CodedError("E_APT", "the kernel package has no flat RISC-V Image", {
    hint: "report this: Debian's kernel has changed",
  });
}

function unpack(bytes: Buffer): Buffer {
  if (bytes.length < 4) return bytes;
  const limits = { maxOutputLength: MAX_KERNEL_BYTES };
  if (bytes.readUInt16BE(0) === 0x1f8b) return gunzipSync(bytes, limits);
  if (bytes.readUInt32LE(0) === 0xfd2fb528) return zstdDecompressSync(bytes, limits);
  return bytes;
}
