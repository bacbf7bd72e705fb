/** The default image's files as the scenario wants them. */
import { openSync, readFileSync, readSync, statSync } from "node:fs";
import { CHUNK_BYTES } from "@dejavm/machine";
import type { GuestFiles } from "./scenario.ts";

/** Where an image's files are, and what its kernel is told. */
export interface GuestPaths {
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
  readonly commandLine: string;
}

/** Opens them; the disk stays open until the process ends. */
export function openGuest({ kernel, initrd, disk, commandLine }: GuestPaths): GuestFiles {
  const descriptor = openSync(disk, "r");
  return {
    kernel: readFileSync(kernel),
    initrd: readFileSync(initrd),
    commandLine: `${commandLine} console=ttyS0 quiet`,
    diskBytes: statSync(disk).size,
    readChunk: (chunk) => {
      const bytes = new Uint8Array(CHUNK_BYTES);
      readSync(descriptor, bytes, 0, CHUNK_BYTES, chunk * CHUNK_BYTES);
      return bytes;
    },
  };
}
