/**
 * The power button: a virtio input device with one key, KEY_POWER. Debian's kernel has no driver
 * for keys on GPIO lines (CONFIG_KEYBOARD_GPIO is off), but it has `virtio_input`; a guest with
 * udev and logind shuts down in order when the key is pressed.
 */

import { utf8 } from "../../board/text.ts";
import type { FieldReader } from "../../snapshot/fields.ts";
import type { AccessWidth, Missing, State } from "../device.ts";
import type { Chain } from "../virtio/chain.ts";
import { VirtioMmio, type VirtioOptions, type Work } from "../virtio/mmio.ts";
import { Shortage } from "../virtio/shortage.ts";
import { REG } from "../virtio/wire.ts";
import {
  BUS_VIRTUAL,
  DEVICE_ID_INPUT,
  EVENT_BYTES,
  EVENT_TYPE,
  INPUT_CONFIG,
  INPUT_QUEUE,
  INPUT_QUEUE_SIZE,
  INPUT_SELECT,
  KEY_POWER,
} from "./wire.ts";

const NAME = utf8("Power Button");

/** Key down and key up, each made known by a synchronisation. */
const PRESS: readonly Uint8Array[] = [
  event(EVENT_TYPE.Key, KEY_POWER, 1),
  event(EVENT_TYPE.Synchronize, 0, 0),
  event(EVENT_TYPE.Key, KEY_POWER, 0),
  event(EVENT_TYPE.Synchronize, 0, 0),
];

/** See the head of this file. */
export class PowerButton extends VirtioMmio {
  readonly #config: Uint8Array;

  constructor(options: VirtioOptions) {
    const config = new Uint8Array(INPUT_CONFIG.Bytes);
    super(options, {
      deviceId: DEVICE_ID_INPUT,
      features: [],
      queueSizes: [INPUT_QUEUE_SIZE, INPUT_QUEUE_SIZE],
      config,
    });
    this.#config = config;
  }

  /**
   * Presses and releases the button (input event `power-button`). A guest without the driver, or
   * one that has not taken the last presses, does not notice: all events arrive or none.
   */
  press(): Missing | undefined {
    if (!this.usable(INPUT_QUEUE.Event)) return undefined;
    const shortage = new Shortage();
    const queue = this.queues[INPUT_QUEUE.Event];
    const scan = queue.scan(shortage.pages);
    const buffers: Chain[] = [];
    while (buffers.length < PRESS.length) {
      const buffer = scan.next();
      if (buffer === undefined) break;
      if (buffer.writable.byteLength < EVENT_BYTES) scan.reject();
      buffers.push(buffer);
    }
    if (shortage.any) return shortage.toMissing();
    if (buffers.length === PRESS.length && !scan.broken) {
      for (const [i, buffer] of buffers.entries()) {
        buffer.writable.write(this.memory, 0, PRESS[i]);
        queue.push(buffer, EVENT_BYTES);
      }
    }
    this.finish(queue, scan);
    return undefined;
  }

  /** The first two bytes of the configuration space select what the others show. */
  override write(offset: number, width: AccessWidth, value: number): Missing | undefined {
    const at = offset - REG.Config;
    if (at < 0) return super.write(offset, width, value);
    if (at <= INPUT_CONFIG.Subselect) {
      this.#config[at] = value & 0xff;
      if (at === INPUT_CONFIG.Select && width > 1) {
        this.#config[INPUT_CONFIG.Subselect] = (value >>> 8) & 0xff;
      }
      this.#show();
    }
    return undefined;
  }

  protected override plan(index: number, shortage: Shortage): Work {
    // Event buffers wait for a press.
    if (index === INPUT_QUEUE.Event) return () => {};
    const queue = this.queues[index];
    const scan = queue.scan(shortage.pages);
    const chains: Chain[] = [];
    for (let chain = scan.next(); chain !== undefined; chain = scan.next()) chains.push(chain);
    return () => {
      for (const chain of chains) queue.push(chain, 0);
      this.finish(queue, scan);
    };
  }

  protected override resetDevice(): void {
    this.#config.fill(0);
  }

  protected override saveDevice(): State {
    return {
      select: this.#config[INPUT_CONFIG.Select],
      subselect: this.#config[INPUT_CONFIG.Subselect],
    };
  }

  protected override restoreDevice(f: FieldReader): void {
    this.#config[INPUT_CONFIG.Select] = f.u8("select");
    this.#config[INPUT_CONFIG.Subselect] = f.u8("subselect");
    f.end();
    this.#show();
  }

  #show(): void {
    const value = selected(this.#config[INPUT_CONFIG.Select], this.#config[INPUT_CONFIG.Subselect]);
    this.#config.fill(0, INPUT_CONFIG.Size);
    this.#config[INPUT_CONFIG.Size] = value.length;
    this.#config.set(value, INPUT_CONFIG.Value);
  }
}

/** Empty for what this device does not have. */
function selected(select: number, subselect: number): Uint8Array {
  if (select === INPUT_SELECT.EventBits && subselect === EVENT_TYPE.Key) {
    const bits = new Uint8Array((KEY_POWER >> 3) + 1);
    bits[KEY_POWER >> 3] = 1 << (KEY_POWER & 7);
    return bits;
  }
  if (subselect !== 0) return new Uint8Array(0);
  if (select === INPUT_SELECT.Name) return NAME;
  return select === INPUT_SELECT.DeviceIds
    ? Uint8Array.of(BUS_VIRTUAL, 0, 0, 0, 0, 0, 0, 0)
    : new Uint8Array(0);
}

function event(type: number, code: number, value: number): Uint8Array {
  return Uint8Array.of(type, 0, code, 0, value, 0, 0, 0);
}
