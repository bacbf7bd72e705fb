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
const SHARED = ["start.S", "finish.c"];
const INCLUDED = ["guest.h", "guest.ld"];
const FLAGS = [
  "-O2",
  "-march=rv64gc_zba_zbb_zbs",
  "-mabi=lp64d",
  "-mcmodel=medany",
  "-ffreestanding",
  "-nostdlib",
  "-static",
  "-no-pie",
  "-fno-pic",
  "-fno-pie",
  "-fno-stack-protector",
  "-Wl,--build-id=none",
];

/** The path of a cross compiler, and of the folder where its results are kept. */
export interface BuildOptions {
  readonly compiler: string;
  readonly cacheFolder: string;
}

/** Returns the path of the program's ELF file. */
export async function buildProgram(
  program: GuestProgram,
  { compiler, cacheFolder }: BuildOptions,
): Promise<string> {
  const sources = [...SHARED, `${program.name}.c`];
  const { stdout: version } = await run(compiler, ["--version"]);
  const hash = createHash("sha256").update(JSON.stringify([version, FLAGS, program]));
  for (const name of [...sources, ...INCLUDED]) hash.update(await readFile(GUEST_FOLDER + name));
  const path = join(cacheFolder, `${program.name}-${hash.digest("hex").slice(0, 16)}.elf`);
  if (existsSync(path)) return path;
  await mkdir(cacheFolder, { recursive: true });
  const temporary = `${path}.${process.pid}`;
  await run(compiler, [
    ...FLAGS,
    `-DROUNDS=${program.rounds}`,
    "-T",
    join(GUEST_FOLDER, "guest.ld"),
    "-o",
    temporary,
    ...sources.map((name) => join(GUEST_FOLDER, name)),
  ]);
  await rename(temporary, path);
  return path;
}
