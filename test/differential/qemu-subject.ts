/**
 * QEMU as a subject. One process runs many programs: its RAM is a shared file, through which each
 * program goes in and the result comes out. A stub, started by every reset, copies the program to
 * where it runs; QEMU sees those stores and drops what it had translated there.
 */
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { QmpProcess } from "@dejavm/bench";
import { MATCHING_CPU } from "../support/qemu.ts";
import { Assembler } from "./assembler.ts";
import { CSR } from "./csr.ts";
import { REGION_BASE, REGION_BYTES } from "./layout.ts";
import type { RunResult, Subject } from "./subject.ts";

const RAM_BYTES = 16 << 20;
const STAGING = REGION_BASE + (4 << 20);
const STUB = REGION_BASE + (8 << 20);
const TIMEOUT_MS = 5000;
/** Memory behind a file is fastest where files are memory. */
const SHARED_MEMORY = "/dev/shm";

function copyStub(): Uint8Array {
  const bytes = new Uint8Array(256);
  const asm = new Assembler(STUB, bytes);
  const [from, to, end] = [5, 6, 7];
  asm.load(from, BigInt(STAGING));
  asm.load(to, BigInt(REGION_BASE));
  asm.load(end, BigInt(REGION_BASE + REGION_BYTES));
  const again = asm.label();
  asm.bind(again);
  for (const [index, register] of [8, 9, 10, 11].entries()) {
    asm.loadDouble(register, from, 8 * index);
  }
  for (const [index, register] of [8, 9, 10, 11].entries()) {
    asm.storeDouble(register, to, 8 * index);
  }
  asm.addImmediate(from, from, 32);
  asm.addImmediate(to, to, 32);
  asm.branch(1, to, end, again, "bne");
  asm.fenceI();
  asm.load(to, BigInt(REGION_BASE));
  asm.csrWrite(CSR.minstret, 0);
  asm.indirectJump(0, to);
  asm.finish();
  return bytes;
}

export class QemuSubject implements Subject {
  readonly name = "qemu";
  readonly #folder: string;
  readonly #ram: number;
  readonly #qmp: QmpProcess;

  private constructor(folder: string, ram: number, qmp: QmpProcess) {
    this.#folder = folder;
    this.#ram = ram;
    this.#qmp = qmp;
  }

  /** Starts `program`, which is qemu-system-riscv64; `cpu` is its -cpu option. */
  static async start(program: string, cpu: string = MATCHING_CPU): Promise<QemuSubject> {
    const parent = existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir();
    const folder = mkdtempSync(join(parent, "dejavm-differential-"));
    const ramPath = join(folder, "ram");
    const stubPath = join(folder, "stub");
    const ram = openSync(ramPath, "w+");
    try {
      ftruncateSync(ram, RAM_BYTES);
      writeFileSync(stubPath, copyStub());
      const backend = `memory-backend-file,id=ram,size=${RAM_BYTES},share=on,mem-path=${ramPath}`;
      const loader = `loader,file=${stubPath},addr=${STUB},cpu-num=0,force-raw=on`;
      const options = [
        ["-machine", "virt,memory-backend=ram", "-m", `${RAM_BYTES >> 20}M`, "-object", backend],
        ["-cpu", cpu, "-bios", "none", "-accel", "tcg", "-icount", "shift=0", "-device", loader],
        ["-nodefaults", "-display", "none", "-serial", "none"],
        ["-S", "-action", "shutdown=pause"],
      ];
      const qmp = await QmpProcess.start(program, options.flat());
      return new QemuSubject(folder, ram, qmp);
    } catch (error) {
      closeSync(ram);
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  async run(image: Uint8Array): Promise<RunResult> {
    writeSync(this.#ram, image, 0, REGION_BYTES, STAGING - REGION_BASE);
    const reset = this.#qmp.event("RESET");
    await this.#qmp.command("system_reset");
    await reset;
    const stopped = this.#qmp.event("STOP");
    await this.#qmp.command("cont");
    const timer = new AbortController();
    const late = delay(TIMEOUT_MS, "late" as const, { signal: timer.signal }).catch(() => "off");
    const first = await Promise.race([stopped, late]);
    timer.abort();
    if (first === "late") {
      await this.#qmp.command("stop");
      await stopped;
    }
    const ram = new Uint8Array(REGION_BYTES);
    readSync(this.#ram, ram, 0, REGION_BYTES, 0);
    return first === "late"
      ? { stop: "timeout", detail: `still running after ${TIMEOUT_MS} ms`, ram }
      : { stop: "exit", detail: "", ram };
  }

  async close(): Promise<void> {
    await this.#qmp.quit();
    closeSync(this.#ram);
    rmSync(this.#folder, { recursive: true });
  }
}
