/** The program as its users start it: exit statuses and what goes to which stream. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspectSnapshot } from "@dejavm/vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { planRun } from "./run/plan.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));

/** Prints "A" on the UART, then ends through the test device with failure code 7. */
const PROGRAM = [
  0x100002b7, 0x04100313, 0x00628023, 0x001002b7, 0x00073337, 0x33330313, 0x0062a023, 0x0000006f,
];
const SPIN = [0x0000006f];

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function dejavm(args: readonly string[], input = ""): Promise<Ended> {
  const child = spawn(process.execPath, ["--conditions=source", MAIN, ...args], {
    stdio: "pipe",
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (bytes: Buffer) => out.push(bytes));
  child.stderr.on("data", (bytes: Buffer) => err.push(bytes));
  child.stdin.end(input);
  return new Promise((resolve) => {
    child.on("close", (status) => {
      const text = (parts: Buffer[]) => Buffer.concat(parts).toString("utf8");
      resolve({ status, stdout: text(out), stderr: text(err) });
    });
  });
}

let directory = "";
const file = (name: string) => join(directory, name);
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-cli-"));
  writeFileSync(file("program"), Uint32Array.from(PROGRAM));
  writeFileSync(file("spin"), Uint32Array.from(SPIN));
  writeFileSync(file("text"), "no machine in here\n");
});
afterAll(() => rmSync(directory, { recursive: true }));

describe("dejavm", () => {
  test("wan refuses what it cannot use, with a code", async () => {
    const ends = ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"];
    expect(await dejavm(["wan", ...ends, "--profile", file("text")])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("E_WAN_PROFILE") as string,
    });
    expect(await dejavm(["wan", "--to", "x"])).toMatchObject({ status: 2 });
  });

  test("--version and --help end with 0 on stdout", async () => {
    expect(await dejavm(["--version"])).toMatchObject({ status: 0, stdout: "0.1.0\n", stderr: "" });
    const help = await dejavm(["run", "--help"]);
    expect(help).toMatchObject({ status: 0, stderr: "" });
    expect(help.stdout).toContain("Examples:");
    expect(help.stdout).toContain("Exit status:");
  });

  test.each([
    [["frobnicate"], "unknown command"],
    [["run", "--bogus"], "unknown option"],
    [["run", "--pace", "fast"], "Allowed choices"],
    [["run", "--memory", "much"], "--memory much"],
    [["run", "--elf", "a", "--from", "b"], "together with"],
  ])("%j is a usage error: status 2, one line and a hint", async (args, words) => {
    const { status, stdout, stderr } = await dejavm(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^dejavm: E_USAGE .*\n {2}hint: .*\n$/);
    expect(stderr).toContain(words);
  });

  test.each([
    ["E_FILE_NOT_FOUND", ["run", "--kernel", "/no/such/kernel"]],
    ["E_CONFIG_INVALID", ["run", "--firmware", "spin", "--memory", "1M"]],
    ["E_KERNEL_INVALID", ["run", "--kernel", "text"]],
    ["E_ELF_INVALID", ["run", "--elf", "text"]],
    ["E_SNAPSHOT_FORMAT", ["run", "--from", "text"]],
    ["E_DISK_SIZE", ["run", "--firmware", "spin", "--disk", "text"]],
    ["E_NET_ADDRESS", ["run", "--firmware", "spin", "--net", "eth0"]],
  ])("%s ends with 1, one line, no stack", async (code, args) => {
    const paths = args.map((arg) => (["spin", "text"].includes(arg) ? file(arg) : arg));
    const { status, stdout, stderr } = await dejavm(paths);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(new RegExp(`^dejavm: ${code} .*\n(  hint: .*\n)?$`));
  });

  test("a guest's output is stdout, its status ours", async () => {
    const { status, stdout, stderr } = await dejavm(["run", "--firmware", file("program")]);
    expect({ status, stdout, stderr }).toEqual({ status: 7, stdout: "A", stderr: "" });
  });

  test("--json leaves stdout to the report", async () => {
    const { status, stdout, stderr } = await dejavm([
      "run",
      "--firmware",
      file("program"),
      "--json",
    ]);
    expect(stderr).toBe("A");
    expect(JSON.parse(stdout)).toMatchObject({ exitReason: "power-off", status });
    expect(stdout).toMatch(/"digest":"[0-9a-f]{32}"/);
  });

  test("--max-instructions ends with 3 there; --save and --from go on from there", async () => {
    const snapshot = file("s.snapshot");
    const common = ["--max-instructions", "1e5", "--pace", "none", "--json"];
    const first = await dejavm(["run", "--firmware", file("spin"), ...common, "--save", snapshot]);
    expect(first.status).toBe(3);
    expect(JSON.parse(first.stdout)).toMatchObject({ exitReason: "limit", position: 100_000 });
    const second = await dejavm(["run", "--from", snapshot, ...common]);
    expect(second.status).toBe(3);
    expect(JSON.parse(second.stdout)).toMatchObject({ position: 200_000, positionsRun: 100_000 });
  });

  test("the network of a guest from a snapshot knows its card, however silent it is", async () => {
    const snapshot = file("net.snapshot");
    const run = ["--firmware", file("spin"), "--net", "user", "--max-instructions", "1e5"];
    expect((await dejavm(["run", ...run, "--save", snapshot])).status).toBe(3);
    const { network } = await planRun(undefined, { from: snapshot, disk: [] });
    const { mac } = inspectSnapshot(snapshot);
    expect(mac).toHaveLength(6);
    expect(network).toMatchObject({ kind: "gateway", guestMac: mac });
  });
});
