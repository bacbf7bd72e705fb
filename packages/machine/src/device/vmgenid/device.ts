/**
 * The generation id: 16 bytes that change when this machine is no longer the only one that could
 * have continued from its past (a fork). Linux then reseeds its generator at once (device tree
 * binding rng/microsoft,vmgenid).
 */
import { assert } from "@dejavm/base";
import { fields } from "../../snapshot/fields.ts";
import type { AccessWidth, Device, IrqLine, State } from "../device.ts";

/** Length of a generation id. */
export const GENERATION_ID_BYTES = 16;

/** See the head of this file. */
export class GenerationId implements Device {
  readonly name = "vmgenid";
  readonly widths = [1, 2, 4] as const;
  readonly #irq: IrqLine;
  readonly #id = new Uint8Array(GENERATION_ID_BYTES);
  readonly #view = new DataView(this.#id.buffer);

  constructor(options: { readonly irq: IrqLine; readonly id: Uint8Array }) {
    this.#irq = options.irq;
    this.#put(options.id);
  }

  /** Gives the machine a new id of 16 bytes and tells the guest. */
  change(id: Uint8Array): void {
    this.#put(id);
    // There is no register to acknowledge with: a pulse, which the PLIC keeps.
    this.#irq.set(true);
    this.#irq.set(false);
  }

  read(offset: number, width: AccessWidth): number {
    if (offset + width > GENERATION_ID_BYTES) return 0;
    if (width === 1) return this.#view.getUint8(offset);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  write(): undefined {}

  save(): State {
    return { id: this.#id.slice() };
  }

  restore(state: State): void {
    const f = fields(state, this.name);
    this.#put(f.bytes("id", { length: GENERATION_ID_BYTES }));
    f.end();
  }

  #put(id: Uint8Array): void {
    assert(id.length === GENERATION_ID_BYTES, "a generation id has 16 bytes");
    this.#id.set(id);
  }
}
