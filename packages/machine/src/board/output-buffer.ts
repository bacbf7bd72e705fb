/**
 * Joins the bytes that consoles emit one by one into chunks. Order among all outputs is kept;
 * where one chunk ends and the next begins carries no meaning.
 */
import type { ConsolePort, Output, OutputSink } from "../device/device.ts";

/** A chunk leaves when it has this many bytes, also before `flush`. */
export const OUTPUT_CHUNK_BYTES = 4096;

/** See the head of this file. The machine calls `flush` whenever `run` or `input` returns. */
export class OutputBuffer {
  readonly #sink: OutputSink;
  readonly #bytes = new Uint8Array(OUTPUT_CHUNK_BYTES);
  #length = 0;
  #port: ConsolePort = "uart";

  constructor(sink: OutputSink) {
    this.#sink = sink;
  }

  /** The sink for devices and firmware; bound, so that it can be passed on. */
  readonly put: OutputSink = (output: Output): void => {
    const large = output.kind !== "console" || output.bytes.length >= OUTPUT_CHUNK_BYTES;
    if (large || output.port !== this.#port) this.flush();
    if (large) {
      this.#sink(output);
      return;
    }
    if (this.#length + output.bytes.length > OUTPUT_CHUNK_BYTES) this.flush();
    this.#port = output.port;
    this.#bytes.set(output.bytes, this.#length);
    this.#length += output.bytes.length;
  };

  /** Passes on what waits. */
  flush(): void {
    if (this.#length === 0) return;
    const bytes = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    this.#sink({ kind: "console", port: this.#port, bytes });
  }
}
