/** How long Debian takes to boot: wall seconds from a process's start to its console's marker. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { startMachineChild } from "./measure.ts";

/** The same kernel, initramfs and memory for both sides. */
export interface BootOptions {
  readonly kernel: string;
  readonly initrd: string;
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

/** Seconds that the machine takes in a process of its own; idle time is skipped. */
export async function bootMachine(options: BootOptions): Promise<number> {
  const start = performance.now();
  const { kernel, initrd, memoryMib, marker, commandLine } = options;
  const child = startMachineChild(["boot", kernel, initrd, String(memoryMib), marker, commandLine]);
  let errors = "";
  child.stderr?.on("data", (bytes: Buffer) => {
    errors += bytes.toString();
  });
  await once(child, "close");
  if (child.exitCode !== 0) throw new Error(`the machine did not boot: ${errors.slice(-1500)}`);
  return (performance.now() - start) / 1000;
}
