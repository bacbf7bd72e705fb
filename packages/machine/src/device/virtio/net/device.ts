/**
 * The virtio network device: one receive and one transmit queue, large frames, checksums done for
 * the guest. Frames to the guest go into posted buffers or wait, within bounds; frames from the
 * guest go to the output sink inside the notification, whole and with their checksums.
 */
import { assert } from "@dejavm/base";
import type { FieldReader } from "../../../snapshot/fields.ts";
import type { Missing, OutputSink, State, StateValue } from "../../device.ts";
import type { Chain } from "../chain.ts";
import { assignBuffers, assignMergedBuffers } from "../deliver.ts";
import { VirtioMmio, type VirtioOptions, type Work } from "../mmio.ts";
import type { VirtQueue } from "../queue.ts";
import { Shortage } from "../shortage.ts";
import { DEVICE_ID } from "../wire.ts";
import { checksumIsRight, completeChecksum } from "./checksum.ts";
import {
  MAC_BYTES,
  MAX_FRAME_BYTES,
  MAX_WAITING_BYTES,
  MAX_WAITING_FRAMES,
  MIN_FRAME_BYTES,
  NET_CONFIG,
  NET_FEATURE,
  NET_HEADER,
  NET_HEADER_BYTES,
  NET_HEADER_FLAG,
  NET_MTU,
  NET_QUEUE,
  NET_QUEUE_SIZE,
  NET_STATUS_LINK_UP,
} from "./wire.ts";

/** What a network device is connected to, and its address. */
export interface VirtioNetOptions extends VirtioOptions {
  readonly output: OutputSink;
  /** Six bytes. */
  readonly mac: Uint8Array;
}

/** Frames not passed on: link down, driver not ready, bad size or checksum place, queue full. */
export interface DropCounts {
  readonly received: number;
  readonly sent: number;
}

/** A network card on the virtio-mmio bus. */
export class VirtioNet extends VirtioMmio {
  readonly #output: OutputSink;
  readonly #config: Uint8Array;
  /** Frames that arrived while no buffer was posted, oldest first. */
  #waiting: readonly Uint8Array[] = [];
  #receiveDrops = 0;
  #sendDrops = 0;

  constructor(options: VirtioNetOptions) {
    assert(options.mac.length === MAC_BYTES, "a MAC address is six bytes");
    const config = new Uint8Array(NET_CONFIG.Bytes);
    config.set(options.mac, NET_CONFIG.Mac);
    config[NET_CONFIG.Status] = NET_STATUS_LINK_UP;
    new DataView(config.buffer).setUint16(NET_CONFIG.Mtu, NET_MTU, true);
    super(options, {
      deviceId: DEVICE_ID.Net,
      features: Object.values(NET_FEATURE),
      queueSizes: [NET_QUEUE_SIZE, NET_QUEUE_SIZE],
      config,
    });
    this.#output = options.output;
    this.#config = config;
  }

  get linkUp(): boolean {
    return this.#config[NET_CONFIG.Status] === NET_STATUS_LINK_UP;
  }

  get drops(): DropCounts {
    return { received: this.#receiveDrops, sent: this.#sendDrops };
  }

  /** Plugs the cable in or out; what waits for a buffer stays. */
  setLink(up: boolean): void {
    if (up === this.linkUp) return;
    this.#config[NET_CONFIG.Status] = up ? NET_STATUS_LINK_UP : 0;
    this.configChanged();
  }

  /**
   * A frame arrives. It is dropped, and counted, if it is not of 14 .. 65,550 bytes, the link is
   * down, the driver is not there, or too much waits. `frame` must not change any more.
   */
  receive(frame: Uint8Array): Missing | undefined {
    const { length } = frame;
    const fits = length >= MIN_FRAME_BYTES && length <= MAX_FRAME_BYTES;
    if (!fits || !this.linkUp || !this.live) {
      this.#receiveDrops++;
      return undefined;
    }
    const shortage = new Shortage();
    const work = this.#planReceive([...this.#waiting, frame], shortage);
    if (!shortage.any) work();
    return shortage.toMissing();
  }

  protected override plan(index: number, shortage: Shortage): Work {
    if (index === NET_QUEUE.Receive) return this.#planReceive(this.#waiting, shortage);
    return this.#planTransmit(shortage);
  }

  protected override resetDevice(): void {
    this.#waiting = [];
  }

  protected override saveDevice(): State {
    return {
      linkUp: this.linkUp,
      waiting: this.#waiting.map((frame) => frame.slice()),
      receiveDrops: this.#receiveDrops,
      sendDrops: this.#sendDrops,
    };
  }

  protected override restoreDevice(f: FieldReader): void {
    this.#config[NET_CONFIG.Status] = f.bool("linkUp") ? NET_STATUS_LINK_UP : 0;
    const waiting = f.list("waiting", MAX_WAITING_FRAMES).map((frame) => readFrame(f, frame));
    if (totalBytes(waiting) > MAX_WAITING_BYTES) {
      throw f.invalid("waiting", `frames of at most ${MAX_WAITING_BYTES} bytes together`);
    }
    this.#waiting = waiting;
    const range = { min: 0, max: Number.MAX_SAFE_INTEGER };
    this.#receiveDrops = f.integer("receiveDrops", range);
    this.#sendDrops = f.integer("sendDrops", range);
    f.end();
  }

  /** Puts `frames` into posted buffers, as far as these go; the others wait. */
  #planReceive(frames: readonly Uint8Array[], shortage: Shortage): Work {
    const index = NET_QUEUE.Receive;
    if (frames.length === 0) return () => {};
    if (!this.usable(index)) return () => this.#wait(frames);
    const queue = this.queues[index];
    const scan = queue.scan(shortage.pages);
    const sizes = frames.map((frame) => NET_HEADER_BYTES + frame.length);
    const assigned = this.negotiated(NET_FEATURE.MergeReceiveBuffers)
      ? assignMergedBuffers(scan, sizes, queue.size)
      : assignBuffers(scan, sizes).map((chain) => chain && [chain]);
    return () => {
      for (const [i, chains] of assigned.entries()) {
        if (chains === undefined) this.#receiveDrops++;
        else this.#deliver(queue, chains, frames[i]);
      }
      const left = frames.slice(assigned.length);
      this.#wait(left);
      this.finish(queue, scan, left.length > 0);
    };
  }

  /** Fills the buffers one after the other: the header, then the frame. */
  #deliver(queue: VirtQueue, chains: readonly Chain[], frame: Uint8Array): void {
    const bytes = new Uint8Array(NET_HEADER_BYTES + frame.length);
    bytes[NET_HEADER.NumBuffers] = chains.length & 0xff;
    bytes[NET_HEADER.NumBuffers + 1] = chains.length >>> 8;
    const valid = this.negotiated(NET_FEATURE.GuestChecksum) && checksumIsRight(frame);
    if (valid) bytes[NET_HEADER.Flags] = NET_HEADER_FLAG.DataValid;
    bytes.set(frame, NET_HEADER_BYTES);
    let done = 0;
    for (const chain of chains) {
      const count = Math.min(chain.writable.byteLength, bytes.length - done);
      chain.writable.write(this.memory, 0, bytes.subarray(done, done + count));
      queue.push(chain, count);
      done += count;
    }
  }

  /** Keeps frames within the limits, oldest first. */
  #wait(frames: readonly Uint8Array[]): void {
    const kept: Uint8Array[] = [];
    let bytes = 0;
    for (const frame of frames) {
      if (kept.length < MAX_WAITING_FRAMES && bytes + frame.length <= MAX_WAITING_BYTES) {
        kept.push(frame);
        bytes += frame.length;
      } else {
        this.#receiveDrops++;
      }
    }
    this.#waiting = kept;
  }

  #planTransmit(shortage: Shortage): Work {
    const queue = this.queues[NET_QUEUE.Transmit];
    const scan = queue.scan(shortage.pages);
    const chains: Chain[] = [];
    for (let chain = scan.next(); chain !== undefined; chain = scan.next()) chains.push(chain);
    return () => {
      for (const chain of chains) {
        this.#send(chain);
        queue.push(chain, 0);
      }
      this.finish(queue, scan);
    };
  }

  #send({ readable }: Chain): void {
    const length = readable.byteLength - NET_HEADER_BYTES;
    if (length < MIN_FRAME_BYTES || length > MAX_FRAME_BYTES || !this.linkUp) {
      this.#sendDrops++;
      return;
    }
    const header = readable.read(this.memory, 0, NET_HEADER_BYTES);
    const frame = readable.read(this.memory, NET_HEADER_BYTES, length);
    const asked = ((header[NET_HEADER.Flags] ?? 0) & NET_HEADER_FLAG.NeedsChecksum) !== 0;
    if (asked && this.negotiated(NET_FEATURE.Checksum)) {
      const view = new DataView(header.buffer);
      const start = view.getUint16(NET_HEADER.ChecksumStart, true);
      const offset = view.getUint16(NET_HEADER.ChecksumOffset, true);
      if (!completeChecksum(frame, start, offset)) {
        this.#sendDrops++;
        return;
      }
    }
    this.#output({ kind: "frame", bytes: frame });
  }
}

function readFrame(f: FieldReader, frame: StateValue): Uint8Array {
  if (frame instanceof Uint8Array) {
    if (frame.length >= MIN_FRAME_BYTES && frame.length <= MAX_FRAME_BYTES) return frame.slice();
  }
  throw f.invalid("waiting", `frames of ${MIN_FRAME_BYTES} .. ${MAX_FRAME_BYTES} bytes`);
}

function totalBytes(frames: readonly Uint8Array[]): number {
  return frames.reduce((sum, frame) => sum + frame.length, 0);
}
