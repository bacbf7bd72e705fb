/**
 * A running hash over everything that left the machine, byte by byte with the port it left by, so
 * that how a run was cut into slices does not show. Part of machine state.
 */
import { ByteWriter } from "@dejavm/base";
import type { ConsolePort, Output, State } from "./device/device.ts";
import { fields } from "./snapshot/fields.ts";

const PORT_TAG: Readonly<Record<ConsolePort | "frame", number>> = {
  uart: 1,
  hvc: 2,
  agent: 3,
  frame: 4,
};

/** Odd multipliers of the four lanes (from the finalizers of MurmurHash3 and xxHash32). */
const PRIMES = [0x85ebca6b, 0xc2b2ae35, 0x9e3779b1, 0x27d4eb2f] as const;
const LANES = PRIMES.length;

/** See the head of this file. */
export class OutputHash {
  readonly #lanes = new Uint32Array(PRIMES);
  #count = 0n;

  absorb(output: Output): void {
    const tag = output.kind === "frame" ? PORT_TAG.frame : PORT_TAG[output.port];
    if (output.kind === "frame") this.#mix(output.bytes.length, tag);
    for (const byte of output.bytes) this.#mix(byte, tag);
    this.#count += BigInt(output.bytes.length);
  }

  save(): State {
    const out = new ByteWriter(LANES * 4);
    for (const lane of this.#lanes) out.u32(lane);
    return { lanes: out.finish(), count: this.#count };
  }

  restore(state: State): void {
    const reader = fields(state, "outputs");
    const bytes = reader.bytes("lanes", { length: LANES * 4 });
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let i = 0; i < LANES; i++) this.#lanes[i] = view.getUint32(i * 4, true);
    this.#count = reader.u64("count");
    reader.end();
  }

  #mix(value: number, tag: number): void {
    const lanes = this.#lanes;
    for (let i = 0; i < LANES; i++) {
      const mixed = Math.imul(lanes[i] ^ (value + (tag << 8)), PRIMES[i]);
      lanes[i] = (mixed << (i + 5)) | (mixed >>> (27 - i));
    }
  }
}
