/** Answers of redis (RESP2), as far as a client of strings needs them. Sans-IO. */

/** A status, a bulk string, nothing, or an error as text. */
export type RespValue = string | Uint8Array | null | { readonly error: string };

/** Takes a stream of bytes apart into answers. Throws where it is no RESP. */
export class RespParser {
  #pending = Buffer.alloc(0);

  push(bytes: Uint8Array): RespValue[] {
    this.#pending = this.#pending.length === 0 ? Buffer.from(bytes) : this.#joined(bytes);
    const values: RespValue[] = [];
    for (let found = this.#next(); found !== undefined; found = this.#next()) values.push(found);
    return values;
  }

  #joined(bytes: Uint8Array): Buffer<ArrayBuffer> {
    return Buffer.concat([this.#pending, bytes]);
  }

  /** The next whole answer; undefined: more bytes are needed. */
  #next(): RespValue | undefined {
    const end = this.#pending.indexOf("\r\n");
    if (end < 0) return undefined;
    const kind = String.fromCharCode(this.#pending[0] ?? 0);
    const line = this.#pending.toString("latin1", 1, end);
    const after = end + 2;
    if (kind === "$") return this.#bulk(Number(line), after);
    this.#pending = this.#pending.subarray(after);
    if (kind === "+" || kind === ":") return line;
    if (kind === "-") return { error: line };
    throw new Error(`no answer of redis begins with ${JSON.stringify(kind)}`);
  }

  #bulk(length: number, start: number): RespValue | undefined {
    if (length < 0) {
      this.#pending = this.#pending.subarray(start);
      return null;
    }
    if (this.#pending.length < start + length + 2) return undefined;
    const value = Uint8Array.from(this.#pending.subarray(start, start + length));
    this.#pending = this.#pending.subarray(start + length + 2);
    return value;
  }
}
