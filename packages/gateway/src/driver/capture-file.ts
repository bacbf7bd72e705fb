/** A capture of the guest's frames in a file. */
import { createWriteStream, type WriteStream } from "node:fs";
import { capturedFrame, captureHeader } from "../pcapng.ts";

/** Bytes that wait for a slow disk; above this frames are left out of the capture. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;

/** See the head of this file. What cannot be written is told once, and the network goes on. */
export class CaptureFile {
  readonly #stream: WriteStream;
  #broken = false;

  constructor(path: string, onNotice: (line: string) => void) {
    this.#stream = createWriteStream(path);
    this.#stream.on("error", (error) => {
      if (!this.#broken) onNotice(`cannot write the capture ${path}: ${error.message}`);
      this.#broken = true;
    });
    this.#stream.write(captureHeader());
  }

  add(frame: Uint8Array, direction: "toGuest" | "fromGuest"): void {
    if (this.#broken || this.#stream.writableLength > MAX_QUEUED_BYTES) return;
    const microseconds = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
    this.#stream.write(capturedFrame(frame, direction, microseconds));
  }

  close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#stream.on("close", resolve);
    this.#stream.end();
    return promise;
  }
}
