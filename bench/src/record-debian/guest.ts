/** The guest of the recording benchmark: Debian, booted once, with a network, as a snapshot. */

import { readFileSync } from "node:fs";
import { Gateway, type PortForward } from "@dejavm/gateway";
import type { ResolvedImage } from "@dejavm/image";
import type { MachineConfig } from "@dejavm/machine";
import {
  type DiskFile,
  inspectDiskFile,
  type StartSpec,
  VirtualMachine,
  type VirtualMachineEvents,
} from "@dejavm/vm";

/** A snapshot and where it is in its execution; plain data. */
export interface GuestSnapshot {
  readonly path: string;
  readonly disk: string;
  readonly position: string;
  readonly ticks: string;
}

const MEMORY_BYTES = 128 * 2 ** 20;
const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
/** Where the guest listens. */
export const GUEST_PORT = 5000;

/** What running it takes besides the source. */
export function startSpec(disk: string): Omit<StartSpec, "source"> {
  return {
    disks: [inspectDiskFile(disk) satisfies DiskFile],
    pace: "live",
    limit: undefined,
    digestAtEnd: false,
  };
}

/** Boots the image to its shell, and saves it there. */
export async function bootToSnapshot(image: ResolvedImage, path: string): Promise<GuestSnapshot> {
  const disk = inspectDiskFile(image.disk);
  const config: MachineConfig = {
    memoryBytes: MEMORY_BYTES,
    boot: {
      kind: "linux",
      kernel: readFileSync(image.kernel),
      initrd: readFileSync(image.initrd),
      commandLine: `${image.manifest.commandLine} console=ttyS0 quiet`,
    },
    disks: [{ sizeBytes: disk.sizeBytes, readOnly: false, serial: "root" }],
    net: { mac: MAC },
    entropySeed: new Uint8Array(32),
    wallTimeNs: BigInt(Date.now()) * 1_000_000n,
  };
  const guest = await RunningGuest.start({
    ...startSpec(image.disk),
    source: { kind: "create", config },
  });
  try {
    await guest.says(":~# ");
    // The network is asked for in the background.
    await guest.command("until ip addr | grep -q 'inet 10'; do sleep 0.2; done");
    const { position, ticks } = await guest.vm.save({ path, image: "bench" });
    return { path, disk: image.disk, position: String(position), ticks: String(ticks) };
  } finally {
    await guest.stop();
  }
}

/** A machine with its console and its network. */
export class RunningGuest {
  readonly vm: VirtualMachine;
  readonly gateway: Gateway;
  readonly #console: GuestConsole;
  /** Bytes of frames that went to the guest. */
  receivedBytes = 0;

  private constructor(vm: VirtualMachine, gateway: Gateway, console: GuestConsole) {
    this.vm = vm;
    this.gateway = gateway;
    this.#console = console;
  }

  /** `onReport` gets what recording reports; `forwards` lead to the guest. */
  static async start(
    spec: StartSpec,
    options: {
      readonly forwards?: readonly PortForward[];
      readonly onReport?: VirtualMachineEvents["onReport"];
    } = {},
  ): Promise<RunningGuest> {
    const { forwards = [], onReport } = options;
    const gateway = await Gateway.start({ policy: { rules: [], forwards } });
    const console = new GuestConsole();
    const vm = await VirtualMachine.start(spec, {
      onConsole: (port, bytes) => {
        if (port === "uart") console.hear(Buffer.from(bytes).toString("latin1"));
      },
      onFrame: (frame) => gateway.sendFrame(frame),
      ...(onReport === undefined ? {} : { onReport }),
    });
    const guest = new RunningGuest(vm, gateway, console);
    gateway.plug((frame) => {
      guest.receivedBytes += frame.length;
      vm.sendFrame(frame);
    });
    return guest;
  }

  says(text: string): Promise<void> {
    return this.#console.says(text);
  }

  /** Types a line, and does not wait. */
  type(line: string): void {
    this.#console.forget();
    this.vm.sendConsole("uart", Buffer.from(`${line}\n`));
  }

  /** Runs a command to its end. */
  async command(line: string): Promise<void> {
    this.type(`${line}; echo do""ne`);
    await this.says("\ndone\r\n");
  }

  async stop(): Promise<void> {
    await this.vm.stop();
    await this.gateway.close();
  }
}

/** What the guest said since somebody asked. */
class GuestConsole {
  #said = "";
  #waiting: { readonly text: string; readonly resolve: () => void } | undefined;

  hear(text: string): void {
    this.#said += text;
    this.#look();
  }

  forget(): void {
    this.#said = "";
  }

  says(text: string): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting = { text, resolve };
      this.#look();
    });
  }

  #look(): void {
    if (this.#waiting === undefined || !this.#said.includes(this.#waiting.text)) return;
    this.#waiting.resolve();
    this.#waiting = undefined;
  }
}
