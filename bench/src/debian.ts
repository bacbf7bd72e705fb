/**
 * Programs as processes in Debian, on the machine and on QEMU.
 *
 * Method: each side boots once per round from the same kernel, initramfs and disk and runs the
 * programs in turn. A program's time is what its side's whole process spent on the CPU, all
 * threads, user and system, from the program's first mark on the console to its last; nothing is
 * subtracted. What it prints must be equal everywhere.
 */
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { resolveImage, type TarEntry, tarEnd, tarMember } from "@dejavm/image";
import { type BuildOptions, buildProcess } from "./build.ts";
import { GuestConsole, type GuestOptions } from "./guest-console.ts";

/** Names of the programs, each in `debian/NAME.sh`, in the order of the table. */
export const DEBIAN_PROGRAMS: readonly string[] = [
  "sha256sum",
  "md5sum",
  "gzip",
  "sqlite3",
  "python3",
  "redis",
  "shell",
  "fork",
  "fp",
];

/** What executes the guest; `interpreter`: the machine without translation. */
export type Side = "machine" | "interpreter" | "plain" | "icount";

/** What one program took and gave. */
interface ProgramRun {
  readonly cpuSeconds: number;
  /** CPU seconds when it was run once more, at once; undefined: it was not. */
  readonly againCpuSeconds: number | undefined;
  /** What it printed. */
  readonly output: string;
}

/** One side's share of a round. */
export interface DebianRound {
  /** Wall seconds from the process's start to the shell's prompt. */
  readonly bootSeconds: number;
  /** CPU seconds of that. */
  readonly bootCpuSeconds: number;
  readonly programs: ReadonlyMap<string, ProgramRun>;
}

const SCRIPTS = fileURLToPath(new URL("../debian/", import.meta.url));
const MEMORY_MIB = 256;
const PROMPT = "root@dejavm:";
const GUEST_FOLDER = "/run/bench";
const ICOUNT = ["-icount", "shift=0"];
const FP_ROUNDS = 300;
const run = promisify(execFile);

/** The default image, the programs on a second disk. Throws E_IMAGE_UNKNOWN, E_IMAGE_CORRUPT. */
export async function debianGuest(build: BuildOptions): Promise<GuestOptions> {
  const { kernel, initrd, disk, manifest } = await resolveImage();
  const programs = await writeProgramDisk(build);
  return {
    kernel,
    initrd,
    disks: [disk, programs],
    memoryMib: MEMORY_MIB,
    commandLine: `${manifest.commandLine} console=ttyS0`,
  };
}

/** How a side is measured. */
interface Measured {
  readonly side: Side;
  /** The path of QEMU. */
  readonly qemu: string;
  readonly guest: GuestOptions;
  /** Whether each program runs twice in a row. */
  readonly again: boolean;
}

function startSide({ side, qemu, guest }: Measured): GuestConsole {
  switch (side) {
    case "machine":
      return GuestConsole.startMachine(guest);
    case "interpreter":
      return GuestConsole.startMachine(guest, { DEJAVM_BENCH_ENGINE: "interpreter" });
    default:
      return GuestConsole.startQemu(qemu, guest, side === "icount" ? ICOUNT : []);
  }
}

/** Boots and runs `names` in turn. */
export async function measureDebian(
  measured: Measured,
  names: readonly string[],
  progress: (line: string) => void,
): Promise<DebianRound> {
  const console = startSide(measured);
  try {
    progress("boot");
    await console.read(PROMPT);
    const { wallSeconds: bootSeconds, cpuSeconds: bootCpuSeconds } = console;
    console.type(`mkdir -p ${GUEST_FOLDER} && cd ${GUEST_FOLDER} && tar -xf /dev/vdb`);
    const programs = new Map<string, ProgramRun>();
    for (const name of names) {
      progress(name);
      const first = await runOnce(console, name);
      const second = measured.again ? await runOnce(console, name) : undefined;
      programs.set(name, { ...first, againCpuSeconds: second?.cpuSeconds });
    }
    return { bootSeconds, bootCpuSeconds, programs };
  } finally {
    await console.end();
  }
}

async function runOnce(
  console: GuestConsole,
  name: string,
): Promise<Pick<ProgramRun, "cpuSeconds" | "output">> {
  console.type(`sh ./run.sh ${name}`);
  await console.read(`<begin ${name}>`);
  const before = console.cpuSeconds;
  const output = await console.read(`<end ${name}>`);
  return { cpuSeconds: console.cpuSeconds - before, output: output.trim() };
}

/** A raw disk that is a tar archive of the scripts and the compiled program. */
async function writeProgramDisk(build: BuildOptions): Promise<string> {
  const parts: Uint8Array[] = [];
  for (const name of (await readdir(SCRIPTS)).sort()) {
    parts.push(tarMember(file(name, await readFile(join(SCRIPTS, name)))));
  }
  const program = await buildProcess({ name: "float", rounds: FP_ROUNDS }, build);
  parts.push(tarMember(file("fp", await readFile(program))), tarEnd());
  await mkdir(build.cacheFolder, { recursive: true });
  const path = join(build.cacheFolder, "programs.tar");
  await writeFile(`${path}.${process.pid}`, Buffer.concat(parts));
  await rename(`${path}.${process.pid}`, path);
  return path;
}

function file(path: string, content: Uint8Array): TarEntry {
  return { kind: "file", path, mode: 0o755, uid: 0, gid: 0, modifiedSeconds: 0, content };
}

/** The first line of what QEMU says of its version. */
export async function qemuVersion(qemu: string): Promise<string> {
  const { stdout } = await run(qemu, ["--version"]);
  return stdout.split("\n")[0] ?? "";
}
