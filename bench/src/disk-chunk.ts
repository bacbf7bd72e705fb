/** A chunk of a raw disk image, as the machine wants it. */
import { closeSync, openSync, readSync } from "node:fs";
import { CHUNK_BYTES } from "@dejavm/machine";

/** Chunk `chunk` of the image at `path`; zeros beyond its end. */
export function readChunk(path: string, chunk: number): Uint8Array {
  const bytes = new Uint8Array(CHUNK_BYTES);
  const fd = openSync(path, "r");
  try {
    readSync(fd, bytes, 0, CHUNK_BYTES, chunk * CHUNK_BYTES);
  } finally {
    closeSync(fd);
  }
  return bytes;
}
