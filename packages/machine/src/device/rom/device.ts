/** Read-only memory: the reset ROM. Writes go nowhere. */
import { assert } from "@dejavm/base";
import { fields } from "../../snapshot/fields.ts";
import type { AccessWidth, Device, State } from "../device.ts";

/** Little-endian bytes at the start of the region; the rest reads 0. Part of the configuration. */
export class Rom implements Device {
  readonly name = "rom";
  readonly widths = [1, 2, 4] as const;
  readonly #view: DataView;

  constructor(options: {
    readonly bytes: Uint8Array;
    readonly sizeBytes: number;
  }) {
    assert(options.bytes.length <= options.sizeBytes, "the ROM's content fits into it");
    const bytes = new Uint8Array(options.sizeBytes);
    bytes.set(options.bytes);
    this.#view = new DataView(bytes.buffer);
  }

  read(offset: number, width: AccessWidth): number {
    if (offset + width > this.#view.byteLength) return 0;
    if (width === 1) return this.#view.getUint8(offset);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  write(): undefined {}

  save(): State {
    return { content: new Uint8Array(this.#view.buffer).slice() };
  }

  restore(state: State): void {
    const f = fields(state, this.name);
    const bytes = new Uint8Array(this.#view.buffer);
    bytes.set(f.bytes("content", { length: bytes.length }));
    f.end();
  }
}
