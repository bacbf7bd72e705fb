/** Reads what a machine boots from the files that it is made of. */
import { hash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { CodedError } from "@dejavm/base";
import type { BootConfig } from "@dejavm/machine";
import type { TraceHasher } from "@dejavm/trace";
import { fileError, fingerprint } from "@dejavm/vm";
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

/**
 * A hasher that knows the sha256 of what `loadBoot` loaded from files that it left as they are: a
 * file is hashed once, as the bases of disks are.
 */
export async function bootHasher(files: VmBoot, loaded: BootConfig): Promise<TraceHasher> {
  const known = new Map<Uint8Array, Uint8Array>();
  const note = async (path: string, bytes: Uint8Array | undefined): Promise<void> => {
    if (path === "" || bytes === undefined || !FILES.has(bytes)) return;
    known.set(bytes, await fingerprint(path));
  };
  await note(files.kernel, loaded.kernel);
  await note(files.initrd, loaded.initrd);
  if (loaded.kind === "firmware") await note(files.firmware, loaded.image);
  return { sha256: (bytes) => known.get(bytes) ?? hash("sha256", bytes, "buffer") };
}

/** What is a whole file, as it is. */
const FILES = new WeakSet<Uint8Array>();

/** A whole file, in memory that threads share: it is read only. Throws E_FILE_*. */
export function readBootFile(path: string): Uint8Array {
  try {
    const file = openSync(path, "r");
    try {
      const { size } = fstatSync(file);
      if (size > MAX_FILE_BYTES) {
        throw new CodedError("E_FILE_IO", `cannot read ${path}: it has ${size} bytes`, {
          hint: "want at most 2 GiB",
        });
      }
      const bytes = new Uint8Array(new SharedArrayBuffer(size));
      let done = 0;
      while (done < size) {
        const count = readSync(file, bytes, done, size - done, done);
        if (count === 0) throw new Error("it has become shorter");
        done += count;
      }
      FILES.add(bytes);
      return bytes;
    } finally {
      closeSync(file);
    }
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
