/** Compiles the guest programs with the cross compiler, once per source and compiler. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { GuestProgram } from "./programs.ts";

const run = promisify(execFile);

const GUEST_FOLDER = fileURLToPath(new URL("../guest/", import.meta.url));
const INCLUDED = ["guest.h", "guest.ld"];
const COMMON = ["-O2", "-march=rv64gc_zba_zbb_zbs", "-mabi=lp64d"];
const BARE = [
  ...COMMON,
  "-mcmodel=medany",
  "-ffreestanding",
  "-nostdlib",
  "-static",
  "-no-pie",
  "-fno-pic",
  "-fno-pie",
  "-fno-stack-protector",
  "-Wl,--build-id=none",
  "-T",
  join(GUEST_FOLDER, "guest.ld"),
];
const PROCESS = [...COMMON, "-static", "-Wl,--build-id=none"];

/** The path of a cross compiler, and of the folder where its results are kept. */
export interface BuildOptions {
  readonly compiler: string;
  readonly cacheFolder: string;
}

/** Returns the path of the program's ELF file: it runs in M-mode without any software. */
export async function buildProgram(program: GuestProgram, options: BuildOptions): Promise<string> {
  const sources = ["start.S", "finish.c", `${program.name}.c`];
  return compile(program, { kind: "bare", flags: BARE, sources }, options);
}

/** The same program as a Linux process, linked statically. */
export async function buildProcess(program: GuestProgram, options: BuildOptions): Promise<string> {
  const sources = ["process.c", `${program.name}.c`];
  return compile(program, { kind: "process", flags: PROCESS, sources }, options);
}

async function compile(
  program: GuestProgram,
  { kind, flags, sources }: { kind: string; flags: readonly string[]; sources: readonly string[] },
  { compiler, cacheFolder }: BuildOptions,
): Promise<string> {
  const { stdout: version } = await run(compiler, ["--version"]);
  const hash = createHash("sha256").update(JSON.stringify([version, flags, program]));
  for (const name of [...sources, ...INCLUDED]) hash.update(await readFile(GUEST_FOLDER + name));
  const id = hash.digest("hex").slice(0, 16);
  const path = join(cacheFolder, `${program.name}-${kind}-${id}.elf`);
  if (existsSync(path)) return path;
  await mkdir(cacheFolder, { recursive: true });
  const temporary = `${path}.${process.pid}`;
  await run(compiler, [
    ...flags,
    `-DROUNDS=${program.rounds}`,
    "-o",
    temporary,
    ...sources.map((name) => join(GUEST_FOLDER, name)),
  ]);
  await rename(temporary, path);
  return path;
}
