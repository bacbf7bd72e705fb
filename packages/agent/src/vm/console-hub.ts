/** A guest's console for any number of readers: what it said lately, and what it says. Sans-IO. */

/** A reader is given bytes that it may keep. */
export type ConsoleReader = (bytes: Uint8Array) => void;

/** What a new reader is shown of what came before it. */
export const BACKLOG_BYTES = 64 * 1024;

/** See the head of this file. */
export class ConsoleHub {
  readonly #readers = new Set<ConsoleReader>();
  readonly #backlog: Uint8Array[] = [];
  #backlogBytes = 0;

  get readers(): number {
    return this.#readers.size;
  }

  push(bytes: Uint8Array): void {
    this.#backlog.push(bytes);
    this.#backlogBytes += bytes.length;
    while (this.#backlogBytes - (this.#backlog[0]?.length ?? 0) >= BACKLOG_BYTES) {
      this.#backlogBytes -= this.#backlog.shift()?.length ?? 0;
    }
    for (const reader of this.#readers) reader(bytes);
  }

  /** Shows what came lately, at most BACKLOG_BYTES, then what comes; the answer ends that. */
  attach(reader: ConsoleReader): () => void {
    const recent = Buffer.concat(this.#backlog);
    if (recent.length > 0) reader(recent.subarray(Math.max(0, recent.length - BACKLOG_BYTES)));
    this.#readers.add(reader);
    return () => this.#readers.delete(reader);
  }
}
