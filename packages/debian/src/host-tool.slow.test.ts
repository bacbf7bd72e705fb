/** Each tool of the host as the tests of other packages get it: it runs, and does its work. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { hostTool } from "./host-tool.ts";
import type { HostToolName } from "./host-tool-recipes.ts";
import { type RunResult, runProcess } from "./run-process.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "dejavm-tools-"));
});
afterAll(async () => {
  await rm(directory, { recursive: true });
});

async function run(
  context: TestContext,
  name: HostToolName,
  args: readonly string[],
): Promise<RunResult> {
  const tool = await hostTool(name);
  if (tool.kind === "skipped") return context.skip(tool.reason);
  return await runProcess(tool.command, args, { cwd: directory });
}

const VERSIONS: readonly (readonly [HostToolName, string, RegExp])[] = [
  ["qemu-system-riscv64", "--version", /version 10\./],
  ["mke2fs", "-V", /1\.47/],
  ["e2fsck", "-V", /e2fsck/],
  ["dtc", "--version", /DTC/],
  ["redis-cli", "--version", /redis-cli/],
  ["xz", "--version", /xz/],
  ["riscv64-linux-gnu-objcopy", "--version", /objcopy/],
  ["riscv64-linux-gnu-objdump", "--version", /objdump/],
];

describe("tools of the host", () => {
  for (const [name, arg, said] of VERSIONS) {
    test(`${name} runs`, async (context) => {
      const { exitCode, stdout, stderr } = await run(context, name, [arg]);
      expect(exitCode).toBe(0);
      expect(stdout + stderr).toMatch(said);
    });
  }

  test("the cross compiler makes static and freestanding programs", async (context) => {
    const hello =
      "#include <math.h>\n#include <stdio.h>\nint main(int c, char **v) {\n" +
      '  printf("%s %f\\n", v[0], sin(c));\n  return 0;\n}\n';
    await writeFile(join(directory, "hello.c"), hello);
    await writeFile(join(directory, "bare.S"), ".globl _start\n_start: j _start\n");
    const linked = ["-O2", "-static", "hello.c", "-o", "hello", "-lm"];
    expect(await run(context, "riscv64-linux-gnu-gcc", linked)).toMatchObject({ exitCode: 0 });
    const bare = ["-nostdlib", "-static", "-Wl,-Ttext=0x80000000", "bare.S", "-o", "bare"];
    expect(await run(context, "riscv64-linux-gnu-gcc", bare)).toMatchObject({ exitCode: 0 });
    for (const name of ["hello", "bare"]) {
      // e_machine: EM_RISCV.
      expect((await readFile(join(directory, name))).readUInt16LE(18)).toBe(243);
    }
  });

  test("gdb has its Python and knows RISC-V", async (context) => {
    const commands = ["-batch", "-ex", "python print(6 * 7)", "-ex", "set arch riscv:rv64"];
    const { stdout, stderr } = await run(context, "gdb-multiarch", commands);
    expect(stdout + stderr).toMatch(/42[^]*riscv:rv64/);
  });

  test("the browser runs WebAssembly and JavaScript", async (context) => {
    const page =
      "data:text/html,<p id=p></p><script>p.textContent=[typeof WebAssembly,6*7]</script>";
    const args = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page];
    const { stdout } = await run(context, "chromium", args);
    expect(stdout).toContain("object,42");
  });
});
