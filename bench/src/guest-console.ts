/**
 * A Debian on its serial console, in a process of its own whose standard input and output are that
 * console: QEMU, or the machine. Both are driven and measured alike.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { cpuSecondsOf } from "./cpu-time.ts";
import { startMachineChild } from "./measure.ts";
import { QEMU_CPU } from "./qemu-cpu.ts";

/** The same kernel, initramfs, disk and memory for both sides; files by path. */
export interface GuestOptions {
  readonly kernel: string;
  readonly initrd: string;
  /** Raw images in the order vda, vdb; nobody writes to them. */
  readonly disks: readonly string[];
  readonly memoryMib: number;
  /** The kernel's command line; it must send the console to ttyS0. */
  readonly commandLine: string;
}

/** A busy host may take its time: this ends only what hangs. */
const TIMEOUT_MS = 1_800_000;
/** How often a console's file is looked at. */
const FOLLOW_MS = 20;
/** Console output that an error shows. */
const TAIL_CHARACTERS = 1500;

/** See the head of this file. `end` it in any case. */
export class GuestConsole {
  readonly #child: ChildProcess;
  readonly #startedAt = performance.now();
  #text = "";
  #errors = "";
  #ended = false;
  #wake: () => void = () => undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on("data", (bytes: Buffer) => {
      this.#text += bytes.toString("latin1");
      this.#wake();
    });
    child.stderr?.on("data", (bytes: Buffer) => {
      this.#errors += bytes.toString();
    });
    child.once("close", () => {
      this.#ended = true;
      this.#wake();
    });
    // A process that has ended takes no input; `read` says so.
    child.stdin?.on("error", () => undefined);
  }

  /**
   * QEMU's `virt` board with its own firmware and further `options`. With `file` the console goes
   * there, and nobody types.
   */
  static startQemu(
    qemu: string,
    guest: GuestOptions,
    options: readonly string[],
    file?: string,
  ): GuestConsole {
    const serial = file === undefined ? "stdio" : `file:${file}`;
    if (file !== undefined) writeFileSync(file, "");
    const board = [
      ["-machine", "virt", "-cpu", QEMU_CPU, "-m", `${guest.memoryMib}M`, "-nodefaults"],
      ["-display", "none", "-serial", serial, "-kernel", guest.kernel],
      ["-initrd", guest.initrd, "-append", guest.commandLine],
      ["-global", "virtio-mmio.force-legacy=false"],
    ];
    const disks = guest.disks.map((file, index) => [
      ["-drive", `file=${file},format=raw,if=none,id=disk${index},snapshot=on`],
      ["-device", `virtio-blk-device,drive=disk${index}`],
    ]);
    const args = [...board.flat(), ...disks.flat(2), ...options];
    const console = new GuestConsole(spawn(qemu, args, { timeout: TIMEOUT_MS }));
    if (file !== undefined) console.#follow(file);
    return console;
  }

  /** The machine, paced by the wall as people run it; `environment`: see machine-child.ts. */
  static startMachine(
    guest: GuestOptions,
    environment: Readonly<Record<string, string>> = {},
  ): GuestConsole {
    const { kernel, initrd, memoryMib, commandLine, disks } = guest;
    const args = ["guest", kernel, initrd, String(memoryMib), commandLine, ...disks];
    return new GuestConsole(startMachineChild(args, TIMEOUT_MS, environment));
  }

  /** Hears what is written to a file. */
  #follow(path: string): void {
    const file = openSync(path, "r");
    const bytes = Buffer.alloc(64 * 1024);
    const timer = setInterval(() => {
      for (let count = 1; count > 0; ) {
        count = readSync(file, bytes);
        this.#text += bytes.toString("latin1", 0, count);
      }
      this.#wake();
    }, FOLLOW_MS);
    this.#child.once("close", () => {
      clearInterval(timer);
      closeSync(file);
    });
  }

  /** CPU seconds of the whole process so far. */
  get cpuSeconds(): number {
    return cpuSecondsOf(this.#child.pid ?? 0);
  }

  /** Wall seconds since the process was started. */
  get wallSeconds(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  /** Types a line. */
  type(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** Console output from where the last `read` ended up to and without `mark`. */
  async read(mark: string): Promise<string> {
    for (;;) {
      const at = this.#text.indexOf(mark);
      if (at >= 0) {
        const before = this.#text.slice(0, at);
        this.#text = this.#text.slice(at + mark.length);
        return before;
      }
      if (this.#ended) {
        const shown = `${this.#text.slice(-TAIL_CHARACTERS)}${this.#errors}`;
        throw new Error(`the guest ended before it showed "${mark}": ${shown}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Waits until the guest has switched itself off. */
  async off(): Promise<void> {
    while (!this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Ends the process. */
  async end(): Promise<void> {
    if (this.#ended) return;
    const closed = once(this.#child, "close");
    this.#child.kill("SIGKILL");
    await closed;
  }
}
