/**
 * The virtio-mmio transport (virtio 1.2, section 4.2, version 2): registers, feature negotiation,
 * status, queues and interrupts. Device types extend it and supply what their requests mean.
 *
 * Requests finish inside the store that notifies of them, in two steps: `plan` reads rings,
 * descriptors and request headers and collects what is absent, changing nothing; only if nothing
 * is, the work that it returned is done. All requests of a batch are read before the first is
 * done, so the outcome does not depend on which pages or chunks were absent at first.
 */
import { assert } from "@dejavm/base";
import { type FieldReader, fields } from "../../snapshot/fields.ts";
import type { AccessWidth, Device, GuestMemory, IrqLine, Missing, State } from "../device.ts";
import { type QueueContext, type QueueScan, VirtQueue } from "./queue.ts";
import { Shortage } from "./shortage.ts";
import { FEATURE, INTERRUPT, MAGIC_VALUE, MMIO_VERSION, REG, STATUS, VENDOR_ID } from "./wire.ts";

/** What every virtio device is connected to. */
export interface VirtioOptions {
  /** Unique within the machine: `virtio-net.0`. */
  readonly name: string;
  readonly memory: GuestMemory;
  readonly irq: IrqLine;
}

/** What a device type tells the transport. */
export interface VirtioShape {
  readonly deviceId: number;
  /** Feature bit numbers of the device type; the transport adds its own. */
  readonly features: readonly number[];
  /** Largest size of each queue. */
  readonly queueSizes: readonly number[];
  /** The device's configuration space; the guest reads 0 beyond it and cannot write. */
  readonly config: Uint8Array;
}

/** The second step of a request; everything it touches is there. */
export type Work = () => void;

const TRANSPORT_FEATURES = [FEATURE.IndirectDesc, FEATURE.EventIdx, FEATURE.Version1];
const ALL_ONES = 0xffff_ffff;
/** Status bits that a driver may set, each at any time unless `#setStatus` says otherwise. */
const DRIVER_STATUS =
  STATUS.Acknowledge | STATUS.Driver | STATUS.DriverOk | STATUS.FeaturesOk | STATUS.Failed;
const KNOWN_STATUS = DRIVER_STATUS | STATUS.NeedsReset;

/** A virtio device on the memory-mapped transport. */
export abstract class VirtioMmio implements Device {
  readonly name: string;
  readonly widths: readonly AccessWidth[] = [1, 2, 4];
  protected readonly memory: GuestMemory;
  protected readonly queues: readonly VirtQueue[];
  readonly #irq: IrqLine;
  readonly #shape: VirtioShape;
  /** Offered features, 32 bits each, low first. */
  readonly #offered: readonly [number, number];
  readonly #accepted: [number, number] = [0, 0];
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  #queueSel = 0;
  #status = 0;
  #interruptStatus = 0;
  #configGeneration = 0;

  constructor(options: VirtioOptions, shape: VirtioShape) {
    this.name = options.name;
    this.memory = options.memory;
    this.#irq = options.irq;
    this.#shape = shape;
    this.#offered = featureWords([...shape.features, ...TRANSPORT_FEATURES]);
    const context: QueueContext = {
      memory: options.memory,
      negotiated: (bit) => this.negotiated(bit),
    };
    this.queues = shape.queueSizes.map((size) => new VirtQueue(context, size));
  }

  read(offset: number, width: AccessWidth): number {
    if (offset >= REG.Config) return this.#readConfig(offset - REG.Config, width);
    return width === 4 ? this.#readRegister(offset) : 0;
  }

  write(offset: number, width: AccessWidth, value: number): Missing | undefined {
    if (width !== 4) return undefined;
    if (offset === REG.QueueNotify) return this.#serve(value);
    if (offset === REG.InterruptAck) return this.#acknowledge(value);
    this.#writeRegister(offset, value);
    return undefined;
  }

  save(): State {
    const [acceptedLow, acceptedHigh] = this.#accepted;
    return {
      acceptedLow,
      acceptedHigh,
      deviceFeaturesSel: this.#deviceFeaturesSel,
      driverFeaturesSel: this.#driverFeaturesSel,
      queueSel: this.#queueSel,
      status: this.#status,
      interruptStatus: this.#interruptStatus,
      configGeneration: this.#configGeneration,
      queues: this.queues.map((queue) => queue.save()),
      device: this.saveDevice(),
    };
  }

  /** Throws `E_SNAPSHOT_INVALID`; the device is then unusable until a restore succeeds. */
  restore(state: State): void {
    const f = fields(state, this.name);
    for (const [i, name] of (["acceptedLow", "acceptedHigh"] as const).entries()) {
      this.#accepted[i] = f.u32(name);
      if ((this.#accepted[i] & ~this.#offered[i]) !== 0) throw f.invalid(name, "offered features");
    }
    this.#deviceFeaturesSel = f.u32("deviceFeaturesSel");
    this.#driverFeaturesSel = f.u32("driverFeaturesSel");
    this.#queueSel = f.u32("queueSel");
    this.#status = f.u8("status");
    if ((this.#status & ~KNOWN_STATUS) !== 0) throw f.invalid("status", "known bits");
    this.#interruptStatus = f.integer("interruptStatus", { min: 0, max: 3 });
    this.#configGeneration = f.u32("configGeneration");
    const queues = f.records("queues", this.queues.length);
    if (queues.length !== this.queues.length) {
      throw f.invalid("queues", `a list of ${this.queues.length}`);
    }
    for (const [i, queue] of queues.entries()) this.queues[i].restore(queue);
    this.restoreDevice(f.record("device"));
    f.end();
    this.#irq.set(this.#interruptStatus !== 0);
  }

  /**
   * First step of handling `queue`: notes in `shortage` what is absent, and returns the second
   * step. The second step is dropped if there is a shortage; then nothing may have changed.
   */
  protected abstract plan(queue: number, shortage: Shortage): Work;
  /** The driver has reset the device; the transport has been reset. */
  protected abstract resetDevice(): void;
  protected abstract saveDevice(): State;
  protected abstract restoreDevice(f: FieldReader): void;

  /** The driver has finished setting the device up, and neither side has given up. */
  protected get live(): boolean {
    const relevant = STATUS.DriverOk | STATUS.NeedsReset | STATUS.Failed;
    return (this.#status & relevant) === STATUS.DriverOk;
  }

  /** Whether the driver accepted the feature with this bit number. */
  protected negotiated(bit: number): boolean {
    return ((this.#accepted[bit >>> 5] >>> (bit & 31)) & 1) === 1;
  }

  /** Ends the second step for a queue: shows the driver what was pushed, interrupts if wanted. */
  protected finish(queue: VirtQueue, scan: QueueScan, wantsMore = false): void {
    const wanted = queue.publish(scan, wantsMore);
    queue.backlog = scan.backlog;
    if (wanted || scan.backlog) this.#raise(INTERRUPT.UsedBuffer);
    if (!scan.broken) return;
    this.#status |= STATUS.NeedsReset;
    if ((this.#status & STATUS.DriverOk) !== 0) this.#raise(INTERRUPT.ConfigChange);
  }

  /** To be called after the device has changed its configuration space. */
  protected configChanged(): void {
    this.#configGeneration = (this.#configGeneration + 1) >>> 0;
    if (this.live) this.#raise(INTERRUPT.ConfigChange);
  }

  /** Whether requests in this queue may be handled. */
  protected usable(queue: number): boolean {
    return this.live && queue < this.queues.length && this.queues[queue].ready;
  }

  #serve(queue: number): Missing | undefined {
    if (!this.usable(queue)) return undefined;
    const shortage = new Shortage();
    const work = this.plan(queue, shortage);
    if (!shortage.any) work();
    return shortage.toMissing();
  }

  /** Also goes on with the first queue that has requests left over from a full batch. */
  #acknowledge(bits: number): Missing | undefined {
    const waiting = this.live ? this.queues.findIndex((queue) => queue.ready && queue.backlog) : -1;
    const shortage = new Shortage();
    const work = waiting < 0 ? undefined : this.plan(waiting, shortage);
    if (shortage.any) return shortage.toMissing();
    this.#interruptStatus &= ~bits;
    this.#irq.set(this.#interruptStatus !== 0);
    if (work !== undefined) {
      this.queues[waiting].backlog = false;
      work();
    }
    // Further queues with left-over requests need a further acknowledgement.
    if (this.live && this.queues.some((queue) => queue.ready && queue.backlog)) {
      this.#raise(INTERRUPT.UsedBuffer);
    }
    return undefined;
  }

  #raise(bits: number): void {
    this.#interruptStatus |= bits;
    this.#irq.set(true);
  }

  #readConfig(offset: number, width: AccessWidth): number {
    const { config } = this.#shape;
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = value * 256 + (config[offset + i] ?? 0);
    return value;
  }

  #readRegister(offset: number): number {
    const queue: VirtQueue | undefined = this.queues[this.#queueSel];
    switch (offset) {
      case REG.MagicValue:
        return MAGIC_VALUE;
      case REG.Version:
        return MMIO_VERSION;
      case REG.DeviceId:
        return this.#shape.deviceId;
      case REG.VendorId:
        return VENDOR_ID;
      case REG.DeviceFeatures:
        return this.#offered[this.#deviceFeaturesSel] ?? 0;
      case REG.QueueNumMax:
        return queue?.maxSize ?? 0;
      case REG.QueueReady:
        return Number(queue?.ready ?? false);
      case REG.InterruptStatus:
        return this.#interruptStatus;
      case REG.Status:
        return this.#status;
      // Without a shared memory region its length and base read as all ones.
      case REG.ShmLenLow:
      case REG.ShmLenHigh:
      case REG.ShmBaseLow:
      case REG.ShmBaseHigh:
        return ALL_ONES;
      case REG.ConfigGeneration:
        return this.#configGeneration;
      default:
        return 0;
    }
  }

  #writeRegister(offset: number, value: number): void {
    switch (offset) {
      case REG.DeviceFeaturesSel:
        this.#deviceFeaturesSel = value;
        break;
      case REG.DriverFeaturesSel:
        this.#driverFeaturesSel = value;
        break;
      case REG.DriverFeatures:
        this.#acceptFeatures(value);
        break;
      case REG.QueueSel:
        this.#queueSel = value;
        break;
      case REG.Status:
        this.#setStatus(value);
        break;
      default: {
        const queue: VirtQueue | undefined = this.queues[this.#queueSel];
        if (queue !== undefined) configureQueue(queue, offset, value);
      }
    }
  }

  /** Takes effect only until FEATURES_OK; words beyond the second hold no features. */
  #acceptFeatures(value: number): void {
    if ((this.#status & STATUS.FeaturesOk) !== 0 || this.#driverFeaturesSel > 1) return;
    this.#accepted[this.#driverFeaturesSel] = value;
  }

  /** Bits are only ever added, in the order of section 3.1.1; 0 resets. */
  #setStatus(value: number): void {
    if (value === 0) {
      this.#reset();
      return;
    }
    let added = value & DRIVER_STATUS & ~this.#status;
    if ((added & STATUS.FeaturesOk) !== 0 && !this.#featuresAcceptable()) {
      added &= ~STATUS.FeaturesOk;
    }
    if (((this.#status | added) & STATUS.FeaturesOk) === 0) added &= ~STATUS.DriverOk;
    this.#status |= added;
  }

  #featuresAcceptable(): boolean {
    const [low, high] = this.#accepted;
    const surplus = (low & ~this.#offered[0]) | (high & ~this.#offered[1]);
    return surplus === 0 && this.negotiated(FEATURE.Version1);
  }

  #reset(): void {
    this.#accepted.fill(0);
    this.#deviceFeaturesSel = 0;
    this.#driverFeaturesSel = 0;
    this.#queueSel = 0;
    this.#status = 0;
    this.#interruptStatus = 0;
    for (const queue of this.queues) queue.reset();
    this.resetDevice();
    this.#irq.set(false);
  }
}

/** A register of the selected queue. While a queue is ready, only QueueReady has an effect. */
function configureQueue(queue: VirtQueue, offset: number, value: number): void {
  if (offset === REG.QueueReady) {
    queue.setReady((value & 1) === 1);
    return;
  }
  if (queue.ready) return;
  switch (offset) {
    case REG.QueueNum:
      queue.setSize(value);
      break;
    case REG.QueueDescLow:
      queue.descriptors.low = value;
      break;
    case REG.QueueDescHigh:
      queue.descriptors.high = value;
      break;
    case REG.QueueDriverLow:
      queue.driverArea.low = value;
      break;
    case REG.QueueDriverHigh:
      queue.driverArea.high = value;
      break;
    case REG.QueueDeviceLow:
      queue.deviceArea.low = value;
      break;
    case REG.QueueDeviceHigh:
      queue.deviceArea.high = value;
      break;
    default:
      break;
  }
}

function featureWords(bits: readonly number[]): [number, number] {
  const words: [number, number] = [0, 0];
  for (const bit of bits) {
    assert(bit >= 0 && bit < 64, "feature bits are 0 .. 63");
    words[bit >>> 5] = (words[bit >>> 5] | (1 << (bit & 31))) >>> 0;
  }
  return words;
}
