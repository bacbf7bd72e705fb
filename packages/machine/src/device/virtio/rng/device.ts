/** The virtio entropy device: fills buffers from a seeded generator that is part of its state. */
import type { FieldReader } from "../../../snapshot/fields.ts";
import type { State } from "../../device.ts";
import type { Chain } from "../chain.ts";
import { VirtioMmio, type VirtioOptions, type Work } from "../mmio.ts";
import type { Shortage } from "../shortage.ts";
import { DEVICE_ID } from "../wire.ts";
import { ChaChaGenerator, SEED_BYTES } from "./chacha.ts";
import { RNG_MAX_BYTES, RNG_QUEUE_SIZE } from "./wire.ts";

/** What an entropy device is connected to, and its first seed. */
export interface VirtioRngOptions extends VirtioOptions {
  /** 32 bytes: `MachineConfig.entropySeed`, or derived from it. */
  readonly seed: Uint8Array;
}

/** A source of random bytes on the virtio-mmio bus. */
export class VirtioRng extends VirtioMmio {
  #generator: ChaChaGenerator;

  constructor(options: VirtioRngOptions) {
    super(options, {
      deviceId: DEVICE_ID.Entropy,
      features: [],
      queueSizes: [RNG_QUEUE_SIZE],
      config: new Uint8Array(0),
    });
    this.#generator = new ChaChaGenerator(options.seed);
  }

  /** 32 bytes for the generator of the machine that is switched on again after this one. */
  nextSeed(): Uint8Array {
    return this.#generator.generate(SEED_BYTES);
  }

  /** Mixes fresh entropy in (input event `entropy`); `seed` is 32 bytes. */
  reseed(seed: Uint8Array): void {
    this.#generator.reseed(seed);
  }

  protected override plan(index: number, shortage: Shortage): Work {
    const queue = this.queues[index];
    const scan = queue.scan(shortage.pages);
    const chains: Chain[] = [];
    for (let chain = scan.next(); chain !== undefined; chain = scan.next()) chains.push(chain);
    return () => {
      for (const chain of chains) {
        const count = Math.min(chain.writable.byteLength, RNG_MAX_BYTES);
        chain.writable.write(this.memory, 0, this.#generator.generate(count));
        queue.push(chain, count);
      }
      this.finish(queue, scan);
    };
  }

  /** The generator goes on: a reset must not make the guest's random numbers repeat. */
  protected override resetDevice(): void {}

  protected override saveDevice(): State {
    return { key: this.#generator.save() };
  }

  protected override restoreDevice(f: FieldReader): void {
    this.#generator = new ChaChaGenerator(f.bytes("key", { length: SEED_BYTES }));
    f.end();
  }
}
