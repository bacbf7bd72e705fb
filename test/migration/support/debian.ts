/** Debian guests for migrations: booted once per test file, in real threads. */
import { readFileSync } from "node:fs";
import { CodedError } from "@dejavm/base";
import { buildImage, imageSpec, type ResolvedImage } from "@dejavm/image";
import type { MachineConfig } from "@dejavm/machine";
import { inspectDiskFile } from "@dejavm/vm";
import { LiveMachine } from "./hosts.ts";

const PROMPT = "# ";

/** The default image; text: why there is none here. */
export async function debianImage(): Promise<ResolvedImage | string> {
  try {
    return (await buildImage(imageSpec())).image;
  } catch (error) {
    const outside = ["E_NO_NETWORK", "E_MIRROR_CHANGING", "E_TOOL_MISSING"];
    if (!(error instanceof CodedError && outside.includes(String(error.code)))) throw error;
    return error.message;
  }
}

/** A Debian guest with a shell on its UART. */
export class Debian {
  readonly config: MachineConfig;
  readonly machine: LiveMachine;
  readonly disk: ReturnType<typeof inspectDiskFile>;

  private constructor(image: ResolvedImage, config: MachineConfig, machine: LiveMachine) {
    this.config = config;
    this.machine = machine;
    this.disk = inspectDiskFile(image.disk);
  }

  static async boot(image: ResolvedImage, memoryMiB: number): Promise<Debian> {
    const disk = inspectDiskFile(image.disk);
    const config: MachineConfig = {
      memoryBytes: memoryMiB * 1024 * 1024,
      boot: {
        kind: "linux",
        kernel: readFileSync(image.kernel),
        initrd: readFileSync(image.initrd),
        commandLine: `${image.manifest.commandLine} console=ttyS0 quiet`,
      },
      disks: [{ sizeBytes: disk.sizeBytes, readOnly: false, serial: "root" }],
      net: undefined,
      entropySeed: new Uint8Array(32).fill(7),
      wallTimeNs: BigInt(Date.now()) * 1_000_000n,
    };
    const machine = await LiveMachine.start({
      source: { kind: "create", config },
      disks: [disk],
      pace: "live",
      limit: undefined,
      digestAtEnd: false,
      record: { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) },
    });
    const debian = new Debian(image, config, machine);
    await until(
      () => machine.said.includes(PROMPT),
      90_000,
      () => machine.said,
    );
    return debian;
  }
}

/** Waits until something holds. */
export async function until(
  holds: () => boolean,
  timeoutMs: number,
  explain: () => string = () => "",
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`waited too long: ${explain()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
