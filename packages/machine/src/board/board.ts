/**
 * The computer's main board: creates the devices, puts them at their addresses, wires interrupts
 * to the hart, and keeps them together for input, save and restore.
 */
import { assert, unreachable } from "@dejavm/base";
import { Clint, type HartTimer } from "../device/clint/device.ts";
import type { ConsolePort, Device, Missing, Output, OutputSink, State } from "../device/device.ts";
import { Disk } from "../device/disk.ts";
import { Htif, type HtifResult } from "../device/htif/device.ts";
import { Plic } from "../device/plic/device.ts";
import { PowerButton } from "../device/power-button/device.ts";
import { Rom } from "../device/rom/device.ts";
import { Rtc } from "../device/rtc/device.ts";
import { type PowerRequest, Syscon } from "../device/syscon/device.ts";
import { Uart } from "../device/uart/device.ts";
import { VirtioBlk } from "../device/virtio/blk/device.ts";
import { VirtioConsole } from "../device/virtio/console/device.ts";
import { VirtioNet } from "../device/virtio/net/device.ts";
import { VirtioRng } from "../device/virtio/rng/device.ts";
import { GENERATION_ID_BYTES, GenerationId } from "../device/vmgenid/device.ts";
import { type HartCore, NEVER } from "../hart/core.ts";
import { IP } from "../hart/csr.ts";
import type { InputEvent, MachineConfig } from "../machine-types.ts";
import type { Ram } from "../memory/ram.ts";
import { OutputHash } from "../output-hash.ts";
import type { FieldReader } from "../snapshot/fields.ts";
import type { BootPlan } from "./boot.ts";
import { Bus } from "./bus.ts";
import { IRQ, MEMORY_MAP, virtioSlots } from "./memory-map.ts";
import { OutputBuffer } from "./output-buffer.ts";
import type { SbiHost } from "./sbi.ts";

/** What the machine gives its board. */
export interface BoardOptions {
  readonly config: Omit<MachineConfig, "boot">;
  readonly rom: Uint8Array;
  readonly htif: BootPlan["htif"];
  readonly core: HartCore;
  readonly memory: Ram;
  readonly sink: OutputSink;
  readonly power: (request: PowerRequest) => void;
  /** What of a computer outlives its reset: disks, network cable, account of its outputs. */
  readonly before?: Board;
}

const NS_PER_TICK = 100n;

/** Input that a device takes, as opposed to the clock. */
type DeviceInput = Exclude<InputEvent, { kind: "clock" }>;

/** See the head of this file. */
export class Board implements HartTimer {
  readonly bus = new Bus();
  readonly disks: readonly Disk[];
  readonly sbiHost: SbiHost;
  readonly #core: HartCore;
  readonly #memory: Ram;
  readonly #outputs: OutputBuffer;
  readonly #outputHash: OutputHash;
  readonly #plic: Plic;
  readonly #uart: Uart;
  readonly #rtc: Rtc;
  readonly #generationId: GenerationId;
  readonly #console: VirtioConsole;
  readonly #net: VirtioNet | undefined;
  readonly #rng: VirtioRng;
  readonly #button: PowerButton;
  /** Where the HTIF words are: part of the state, as only the ELF file names them. */
  #htifWords: BootPlan["htif"];
  #htif: Htif | undefined;
  readonly #makeHtif: (words: BootPlan["htif"]) => Htif | undefined;

  constructor(options: BoardOptions) {
    const { config, core, memory } = options;
    this.#core = core;
    this.#memory = memory;
    this.#outputs = new OutputBuffer(options.sink);
    const { before } = options;
    this.#outputHash = before === undefined ? new OutputHash() : before.#outputHash;
    const output = (what: Output): void => {
      this.#outputHash.absorb(what);
      this.#outputs.put(what);
    };
    const plic = new Plic({ output: (context, on) => this.#setExternal(context, on) });
    this.#plic = plic;
    this.#uart = new Uart({ irq: plic.line(IRQ.uart), output });
    this.#rtc = new Rtc({ irq: plic.line(IRQ.rtc), clock: this, wallTimeNs: config.wallTimeNs });
    this.#generationId = new GenerationId({
      irq: plic.line(IRQ.generationId),
      id: config.entropySeed.slice(0, GENERATION_ID_BYTES),
    });
    this.disks =
      before?.disks ??
      config.disks.map(
        ({ sizeBytes }, index) =>
          new Disk({ index, sizeBytes, hash: (bytes) => core.hashBytes(bytes, index) }),
      );
    const virtio = this.#makeVirtio(options, output);
    this.#console = virtio.console;
    this.#net = virtio.net;
    if (before !== undefined) this.#net?.setLink(before.#net?.linkUp ?? false);
    this.#rng = virtio.rng;
    this.#button = virtio.button;
    this.#makeHtif = (words) => words && new Htif({ memory, output, ...words });
    this.#htifWords = options.htif;
    this.#htif = this.#makeHtif(options.htif);
    this.bus.attach(
      MEMORY_MAP.resetRom,
      new Rom({ bytes: options.rom, sizeBytes: MEMORY_MAP.resetRom.size }),
    );
    this.bus.attach(MEMORY_MAP.syscon, new Syscon({ power: options.power }));
    this.bus.attach(MEMORY_MAP.rtc, this.#rtc);
    this.bus.attach(MEMORY_MAP.generationId, this.#generationId);
    this.bus.attach(MEMORY_MAP.clint, new Clint({ timer: this }));
    this.bus.attach(MEMORY_MAP.plic, plic);
    this.bus.attach(MEMORY_MAP.uart, this.#uart);
    this.sbiHost = this.#makeSbiHost(memory, output);
  }

  #makeVirtio({ config, memory }: BoardOptions, output: OutputSink) {
    const made: {
      console?: VirtioConsole;
      net?: VirtioNet;
      rng?: VirtioRng;
      button?: PowerButton;
    } = {};
    for (const { role, irq, region } of virtioSlots(config)) {
      const common = { memory, irq: this.#plic.line(irq) };
      let device: Device;
      switch (role.kind) {
        case "blk": {
          const disk = this.disks[role.disk];
          const shape = config.disks[role.disk];
          assert(disk !== undefined && shape !== undefined, "each slot's disk exists");
          device = new VirtioBlk({ ...common, ...shape, name: `virtio-blk.${role.disk}`, disk });
          break;
        }
        case "net": {
          const mac = config.net?.mac;
          assert(mac !== undefined, "a network slot has an address");
          device = made.net = new VirtioNet({ ...common, name: "virtio-net.0", output, mac });
          break;
        }
        case "console":
          device = made.console = new VirtioConsole({
            ...common,
            name: "virtio-console.0",
            output,
          });
          break;
        case "rng": {
          const seed = config.entropySeed;
          device = made.rng = new VirtioRng({ ...common, name: "virtio-rng.0", seed });
          break;
        }
        case "power-button":
          device = made.button = new PowerButton({ ...common, name: "power-button" });
          break;
        default:
          unreachable(role);
      }
      this.bus.attach(region, device);
    }
    const { console, net, rng, button } = made;
    assert(
      console !== undefined && rng !== undefined && button !== undefined,
      "every board has a console, entropy and a power button",
    );
    return { console, net, rng, button };
  }

  #makeSbiHost(memory: Ram, output: OutputSink): SbiHost {
    const core = this.#core;
    const uart = this.#uart;
    return {
      memory,
      output,
      identity: { mvendorid: 0n, marchid: 0n, mimpid: 0n },
      setTimer: (when) => core.set64("stimecmp", when),
      setSoftwareInterrupt: (pending) => {
        const others = core.get64("mipSoft") & ~BigInt(IP.SSIP);
        core.set64("mipSoft", pending ? others | BigInt(IP.SSIP) : others);
      },
      console: {
        get queued() {
          return uart.queued;
        },
        take: (maxBytes) => uart.take(maxBytes),
      },
    };
  }

  // ---- the hart's side of interrupts and time

  /** Virtual time now. */
  get ticks(): bigint {
    this.#core.exports.rebase_time();
    return this.#core.get64("timeTicks");
  }

  /** Virtual time jumps to `ticks`: the hart was idle until then. */
  setTime(ticks: bigint): void {
    const core = this.#core;
    core.exports.rebase_time();
    core.set64("timeTicks", ticks);
    core.set64("timeFraction", 0n);
    core.set64("idlePosition", core.get64("position"));
  }

  get mtimecmp(): bigint {
    return this.#core.get64("mtimecmp");
  }

  set mtimecmp(value: bigint) {
    this.#core.set64("mtimecmp", value);
  }

  get msip(): boolean {
    return (this.#core.get64("mipLines") & BigInt(IP.MSIP)) !== 0n;
  }

  set msip(pending: boolean) {
    this.#setLine(IP.MSIP, pending);
  }

  #setExternal(context: "m" | "s", asserted: boolean): void {
    this.#setLine(context === "m" ? IP.MEIP : IP.SEIP, asserted);
  }

  #setLine(bit: number, asserted: boolean): void {
    const lines = this.#core.get64("mipLines") & ~BigInt(bit);
    this.#core.set64("mipLines", asserted ? lines | BigInt(bit) : lines);
  }

  /** Tells the hart when a device next wants `tick`. */
  updateDeadline(): void {
    this.#core.set64("deviceTimer", this.#rtc.deadlineTicks ?? NEVER);
  }

  /** A device's deadline has come. */
  tick(): void {
    this.#rtc.tick();
    this.updateDeadline();
  }

  pollHtif(): HtifResult {
    return this.#htif?.poll() ?? { kind: "continue" };
  }

  // ---- inputs and outputs

  input(event: DeviceInput): Missing | undefined {
    switch (event.kind) {
      case "console":
        if (event.port !== "uart") return this.#console.receive(event.port, event.bytes);
        this.#uart.receive(event.bytes);
        return undefined;
      case "frame":
        return this.#net?.receive(event.bytes);
      case "entropy":
        this.#rng.reseed(event.seed);
        return undefined;
      case "power-button":
        return this.#button.press();
      case "link":
        this.#net?.setLink(event.up);
        return undefined;
      default:
        return unreachable(event);
    }
  }

  consoleRoom(port: ConsolePort): number {
    return port === "uart" ? this.#uart.room : this.#console.room(port);
  }

  flushOutputs(): void {
    this.#outputs.flush();
  }

  /** Wall time that the guest's clock shows, nanoseconds since 1970. */
  get wallTimeNs(): bigint {
    return this.#rtc.wallTimeNs + this.ticks * NS_PER_TICK;
  }

  /** What the next power-on of the same computer is configured with; draws a seed. */
  nextPowerOn(): Pick<MachineConfig, "entropySeed" | "wallTimeNs"> {
    return { entropySeed: this.#rng.nextSeed(), wallTimeNs: this.#rtc.wallTimeNs };
  }

  // ---- disks and state

  disk(index: number): Disk {
    const disk = this.disks[index];
    assert(disk !== undefined, `there is no disk ${index}`);
    return disk;
  }

  overlayDigest(): bigint {
    return this.disks.reduce(
      (sum, disk, index) => sum * 31n + disk.overlayDigest() + BigInt(index),
      0n,
    );
  }

  save(): State {
    const devices: Record<string, State> = {};
    for (const device of this.bus.devices) devices[device.name] = device.save();
    return {
      devices,
      disks: this.disks.map((disk) => disk.save()),
      htif: saveWords(this.#htifWords),
      outputs: this.#outputHash.save(),
    };
  }

  restore(reader: FieldReader): void {
    const states = reader.record("devices");
    // The interrupt controller comes last: restoring the others moves its input lines.
    const others = this.bus.devices.filter((device) => device !== this.#plic);
    for (const device of [...others, this.#plic]) device.restore(states.state(device.name));
    states.end();
    const disks = reader.states("disks", this.disks.length);
    for (const [index, disk] of this.disks.entries()) disk.restore(disks[index] ?? {});
    this.#outputHash.restore(reader.state("outputs"));
    this.#htifWords = this.#restoreWords(reader.record("htif"));
    this.#htif = this.#makeHtif(this.#htifWords);
    reader.end();
  }

  #restoreWords(reader: FieldReader): BootPlan["htif"] {
    const word = (name: "tohost" | "fromhost"): number | undefined => {
      const address = reader.integer(name, { min: 0, max: 2 ** 32 });
      if (address === 0) return undefined;
      if (address % 8 === 0 && this.#memory.probe(address, 8, new Set())) return address;
      throw reader.invalid(name, "0 or an aligned address in RAM");
    };
    const tohost = word("tohost");
    const fromhost = word("fromhost");
    reader.end();
    return tohost === undefined ? undefined : { tohost, fromhost };
  }

  /** Address of the HTIF `tohost` word, if there is one. */
  get tohost(): number | undefined {
    return this.#htifWords?.tohost;
  }

  /** Once the hart's state is back as well: lines that the PLIC drives are in it already. */
  afterRestore(): void {
    this.updateDeadline();
  }
}

/** 0 stands for a word that is not there. */
function saveWords(words: BootPlan["htif"]): State {
  return { tohost: words?.tohost ?? 0, fromhost: words?.fromhost ?? 0 };
}
