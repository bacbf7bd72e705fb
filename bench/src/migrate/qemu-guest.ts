/** One QEMU with the benchmark's guest: console, exec agent, network cable, and QMP to steer it. */
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GuestExec } from "@dejavm/agent";
import { cpuSecondsOf } from "../cpu-time.ts";
import { QmpProcess } from "../qmp.ts";

/** The guest, the same for every system; files by path. */
export interface GuestFiles {
  readonly kernel: string;
  readonly initrd: string;
  /** A raw disk, mounted read-only by the guest: hosts share it. */
  readonly disk: string;
  readonly commandLine: string;
  readonly memoryMib: number;
}

/** What one QEMU is started with. */
export interface QemuGuestOptions {
  readonly qemu: string;
  readonly files: GuestFiles;
  /** For its sockets. */
  readonly folder: string;
  /** Unix socket of the network. */
  readonly cable: string;
  /** It waits for a migration instead of booting. */
  readonly incoming: boolean;
}

const MAC = "52:54:00:de:0a:01";

/** See the head of this file. */
export class QemuGuest {
  readonly qmp: QmpProcess;
  readonly #agentPath: string;
  #agent: Socket | undefined;
  #exec: GuestExec | undefined;

  private constructor(qmp: QmpProcess, agentPath: string) {
    this.qmp = qmp;
    this.#agentPath = agentPath;
  }

  static async start(options: QemuGuestOptions): Promise<QemuGuest> {
    const { qemu, files, folder, cable, incoming } = options;
    const agentPath = join(folder, incoming ? "target-agent" : "source-agent");
    const board = [
      ["-machine", "virt", "-cpu", "rv64", "-m", `${files.memoryMib}M`, "-nodefaults"],
      ["-display", "none", "-serial", "null"],
      ["-kernel", files.kernel, "-initrd", files.initrd, "-append", files.commandLine],
      ["-global", "virtio-mmio.force-legacy=false"],
      ["-drive", `file=${files.disk},format=raw,if=none,id=disk,readonly=on`],
      ["-device", "virtio-blk-device,drive=disk"],
      ["-netdev", `stream,id=net,server=off,addr.type=unix,addr.path=${cable}`],
      ["-device", `virtio-net-device,netdev=net,mac=${MAC}`],
      ["-chardev", `socket,id=agent,path=${agentPath},server=on,wait=off`],
      ["-device", "virtio-serial-device"],
      ["-device", "virtserialport,chardev=agent,name=org.dejavm.agent"],
      ["-device", "virtio-rng-device"],
      incoming ? ["-incoming", "defer"] : [],
    ];
    return new QemuGuest(await QmpProcess.start(qemu, board.flat()), agentPath);
  }

  /** CPU seconds of the whole process. */
  get cpuSeconds(): number {
    return cpuSecondsOf(this.qmp.process.pid ?? 0);
  }

  /** Runs a shell command; throws where its status is not 0. */
  async run(command: string, input?: Uint8Array): Promise<string> {
    const exec = await this.#connected();
    const output: Uint8Array[] = [];
    const keep = (bytes: Uint8Array): void => {
      output.push(Uint8Array.from(bytes));
    };
    const running = exec.run(command, { stdout: keep, stderr: keep });
    if (input !== undefined) running.stdin(input);
    running.stdin(undefined);
    const status = await running.status;
    const text = Buffer.concat(output).toString("utf8");
    if (status !== 0) throw new Error(`'${command}' ended with ${status}: ${text}`);
    return text;
  }

  async close(): Promise<void> {
    this.#exec?.close();
    this.#agent?.destroy();
    await this.qmp.quit().catch(() => this.qmp.process.kill("SIGKILL"));
  }

  async #connected(): Promise<GuestExec> {
    if (this.#exec !== undefined) return this.#exec;
    const socket = createConnection({ path: this.#agentPath });
    await once(socket, "connect");
    this.#agent = socket;
    const exec = new GuestExec();
    this.#exec = exec;
    socket.on("data", (bytes: Buffer) => void exec.receive(bytes));
    socket.on("error", () => undefined);
    exec.attach({
      sendConsole: (_port, bytes) => {
        socket.write(bytes);
        exec.taken(bytes.length);
      },
    });
    await exec.ready;
    return exec;
  }
}

/** Asks every so often until `done` gives something. */
export async function poll<T>(everyMs: number, done: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const value = await done();
    if (value !== undefined) return value;
    await sleep(everyMs);
  }
}
