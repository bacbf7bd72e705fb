/** Compiles the guest's workload program, once per source and compiler. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cacheDir, requireHostTool } from "@dejavm/debian";

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL("../../workload/work.c", import.meta.url));
const FLAGS = ["-O2", "-static", "-march=rv64gc", "-mabi=lp64d"];

/** The path of a static program for Linux on riscv64. Throws E_TOOL_MISSING. */
export async function buildWork(): Promise<string> {
  const compiler = await requireHostTool("riscv64-linux-gnu-gcc");
  const { stdout: version } = await run(compiler, ["--version"]);
  const hash = createHash("sha256")
    .update(version)
    .update(await readFile(SOURCE));
  const folder = join(cacheDir(), "bench");
  const path = join(folder, `work-${hash.digest("hex").slice(0, 16)}`);
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  const temporary = `${path}.${process.pid}`;
  await run(compiler, [...FLAGS, "-o", temporary, SOURCE]);
  await rename(temporary, path);
  return path;
}
