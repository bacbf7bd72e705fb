/** How long Debian takes to boot: wall seconds from a process's start to its console's marker. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { startMachineChild } from "./measure.ts";

/** The same kernel, initramfs, disk and memory for both sides; files by path. */
export interface BootOptions {
  readonly kernel: string;
  readonly initrd: string;
  /** A raw image; nobody writes to it. */
  readonly disk: string;
  readonly memoryMib: number;
  /** Text on the console that says the boot is over. */
  readonly marker: string;
  /** The kernel's command line; it must send the console to ttyS0. */
  readonly commandLine: string;
}

const TIMEOUT_MS = 120_000;

/** Seconds that QEMU takes, with its own firmware. */
export async function bootQemu(qemu: string, options: BootOptions): Promise<number> {
  const start = performance.now();
  const board = [
    ["-machine", "virt", "-cpu", "rv64", "-m", `${options.memoryMib}M`, "-nodefaults"],
    ["-display", "none", "-serial", "stdio", "-kernel", options.kernel],
    ["-initrd", options.initrd, "-append", options.commandLine],
    ["-drive", `file=${options.disk},format=raw,if=none,id=disk,snapshot=on`],
    ["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-blk-device,drive=disk"],
  ];
  const child = spawn(qemu, board.flat(), {
    stdio: ["ignore", "pipe", "ignore"],
    timeout: TIMEOUT_MS,
  });
  let seen = "";
  let seconds: number | undefined;
  child.stdout.on("data", (bytes: Buffer) => {
    seen += bytes.toString("latin1");
    if (seconds !== undefined || !seen.includes(options.marker)) return;
    seconds = (performance.now() - start) / 1000;
    child.kill();
  });
  await once(child, "close");
  if (seconds === undefined) throw new Error(`QEMU showed no marker: ${seen.slice(-1000)}`);
  return seconds;
}

/** Seconds that the machine takes in a process of its own, paced by the wall as people run it. */
export async function bootMachine(options: BootOptions): Promise<number> {
  const start = performance.now();
  const { kernel, initrd, disk, memoryMib, marker, commandLine } = options;
  const files = [kernel, initrd, disk];
  const child = startMachineChild(["boot", ...files, String(memoryMib), marker, commandLine]);
  let errors = "";
  child.stderr?.on("data", (bytes: Buffer) => {
    errors += bytes.toString();
  });
  await once(child, "close");
  if (child.exitCode !== 0) throw new Error(`the machine did not boot: ${errors.slice(-1500)}`);
  return (performance.now() - start) / 1000;
}
