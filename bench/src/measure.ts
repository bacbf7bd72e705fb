/** One run of a bare program: on QEMU, or on the machine in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { cpuSecondsOf } from "./cpu-time.ts";
import { QEMU_CPU } from "./qemu-cpu.ts";

/** What one run took and gave. */
export interface Measurement {
  /** CPU seconds, user and system, of the whole process. */
  readonly cpuSeconds: number;
  /** What the program printed: its checksum. */
  readonly output: string;
}

/** The machine counts exactly, too. */
export interface MachineMeasurement extends Measurement {
  /** Instructions retired and traps taken. */
  readonly positions: number;
}

const MEMORY_MIB = 128;
const TIMEOUT_MS = 120_000;

function childError(name: string, code: unknown, errors: string): Error {
  return new Error(`${name} ended with ${String(code)}: ${errors.trim().slice(-2000)}`);
}

function collect(child: ChildProcess, stream: "stdout" | "stderr"): () => string {
  let text = "";
  child[stream]?.on("data", (bytes: Buffer) => {
    text += bytes.toString();
  });
  return () => text;
}

/**
 * Runs `elf` on QEMU with `options`. The program switches the machine off; QEMU then pauses, so
 * that its CPU time can still be read.
 */
export async function measureQemu(
  qemu: string,
  elf: string,
  options: readonly string[],
): Promise<Measurement> {
  const folder = mkdtempSync(join(tmpdir(), "dejavm-bench-"));
  const consolePath = join(folder, "console");
  try {
    const board = [
      ["-machine", "virt", "-cpu", QEMU_CPU, "-m", `${MEMORY_MIB}M`, "-bios", "none"],
      ["-nodefaults", "-display", "none", "-serial", `file:${consolePath}`, "-kernel", elf],
    ];
    const cpuSeconds = await cpuSecondsOfQemu(qemu, [...board.flat(), ...options]);
    return { cpuSeconds, output: readFileSync(consolePath, "utf8").trim() };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function cpuSecondsOfQemu(qemu: string, options: readonly string[]): Promise<number> {
  const child = spawn(qemu, [...options, "-S", "-action", "shutdown=pause", "-qmp", "stdio"], {
    timeout: TIMEOUT_MS,
  });
  const errors = collect(child, "stderr");
  const closed = once(child, "close");
  const stopped = new Promise<boolean>((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.includes('"STOP"')) resolve(true);
    });
    void closed.then(() => resolve(false));
  });
  // Events are sent only after this; so the program starts after it, too.
  child.stdin.write('{"execute":"qmp_capabilities"}\n{"execute":"cont"}\n');
  if (!(await stopped)) throw childError("QEMU", child.exitCode, errors());
  const cpuSeconds = cpuSecondsOf(child.pid ?? 0);
  child.stdin.write('{"execute":"quit"}\n');
  await closed;
  return cpuSeconds;
}

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const CHILD = fileURLToPath(new URL(`./machine-child.${EXTENSION}`, import.meta.url));

/** Starts this package's child process, which runs the machine; `environment` is added. */
export function startMachineChild(
  args: readonly string[],
  timeout = TIMEOUT_MS,
  environment: Readonly<Record<string, string>> = {},
): ChildProcess {
  const env = { ...process.env, ...environment };
  return spawn(process.execPath, [...process.execArgv, CHILD, ...args], { timeout, env });
}

/** Runs `elf` on the machine. */
export async function measureMachine(elf: string): Promise<MachineMeasurement> {
  const child = startMachineChild(["program", elf, String(MEMORY_MIB)]);
  const [output, errors] = [collect(child, "stdout"), collect(child, "stderr")];
  await once(child, "close");
  if (child.exitCode !== 0) throw childError("the machine", child.exitCode, errors());
  const value: unknown = JSON.parse(output());
  if (!isMeasurement(value)) throw childError("the machine", "no measurement", output());
  return value;
}

function isMeasurement(value: unknown): value is MachineMeasurement {
  return (
    typeof value === "object" &&
    value !== null &&
    "cpuSeconds" in value &&
    typeof value.cpuSeconds === "number" &&
    "positions" in value &&
    typeof value.positions === "number" &&
    "output" in value &&
    typeof value.output === "string"
  );
}
