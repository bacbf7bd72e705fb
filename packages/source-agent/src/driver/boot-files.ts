/** Reads what a machine boots from the files that it is made of. */
import { readFileSync } from "node:fs";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { CodedError } from "@dejavm/base";
import type { BootConfig } from "@dejavm/machine";
import { fileError } from "@dejavm/vm";
import type { VmBoot } from "../vm-config.ts";

/** Largest kernel, initramfs or program file: RAM could not hold more. */
const MAX_FILE_BYTES = 2 ** 31;

/** Throws E_FILE_*, E_KERNEL_INVALID. */
export function loadBoot({ kind, firmware, kernel, initrd, commandLine }: VmBoot): BootConfig {
  const initial = initrd === "" ? {} : { initrd: readBootFile(initrd) };
  const unpacked = kernel === "" ? {} : { kernel: unpackKernel(readBootFile(kernel)) };
  if (kind === "firmware") {
    return { kind, image: readBootFile(firmware), ...unpacked, ...initial, commandLine };
  }
  return { kind, kernel: new Uint8Array(0), ...unpacked, ...initial, commandLine };
}

/** A whole file; throws E_FILE_*. */
export function readBootFile(path: string): Uint8Array {
  try {
    const bytes = readFileSync(path);
    if (bytes.length > MAX_FILE_BYTES) {
      throw new CodedError("E_FILE_IO", `cannot read ${path}: it has ${bytes.length} bytes`, {
        hint: "want at most 2 GiB",
      });
    }
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  } catch (error) {
    throw fileError(`read ${path}`, error);
  }
}

/** Kernels come compressed, too. Anything that is not is the machine's to judge. */
function unpackKernel(bytes: Uint8Array): Uint8Array {
  const starts = (...magic: number[]): boolean => magic.every((byte, i) => bytes[i] === byte);
  try {
    if (starts(0x1f, 0x8b)) return gunzipSync(bytes, { maxOutputLength: MAX_FILE_BYTES });
    if (starts(0x28, 0xb5, 0x2f, 0xfd)) {
      return zstdDecompressSync(bytes, { maxOutputLength: MAX_FILE_BYTES });
    }
    return bytes;
  } catch (cause) {
    throw new CodedError("E_KERNEL_INVALID", "cannot decompress the kernel: it is damaged", {
      hint: "get the kernel again",
      cause,
    });
  }
}
