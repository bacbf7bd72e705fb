/**
 * Bad input through the command line: one clear line with a code, what to do about it, a status
 * that is not 0, and nothing half-written left behind.
 */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Prng } from "@dejavm/base";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { countingGuest } from "../recovery/counting-guest.ts";
import { RunProcess } from "../recovery/run-process.ts";
import { dejavm, type Ended } from "../support/dejavm.ts";
import { loopForEver } from "../support/elf.ts";

const SEED = 0xbad;
let directory = "";
const at = (name: string): string => join(directory, name);

/** Writes a file and gives its path. */
function file(name: string, bytes: Uint8Array | string): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

function expectRefused({ status, stdout, stderr }: Ended, code: string, wanted = 1): void {
  expect(stderr).toMatch(new RegExp(`^dejavm: ${code} [^\\n]+\\n( {2}hint: [^\\n]+\\n)?$`));
  expect({ status, stdout }).toEqual({ status: wanted, stdout: "" });
}

/** A kernel's header: code, then the length that it takes in memory. */
function kernelHeader(imageBytes: bigint): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x0000_006f, true);
  view.setBigUint64(8, 0x20_0000n, true);
  view.setBigUint64(16, imageBytes, true);
  view.setUint32(32, 2, true);
  bytes.set(new TextEncoder().encode("RISCV\0\0\0"), 48);
  bytes.set([0x52, 0x53, 0x43, 0x05], 56);
  return bytes;
}

function changed(bytes: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = bytes.slice();
  copy[offset] = value;
  return copy;
}

function sparse(name: string, size: number): string {
  truncateSync(file(name, ""), size);
  return at(name);
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-bad-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const GOOD = loopForEver();
const QCOW2 = Buffer.concat([Uint8Array.of(0x51, 0x46, 0x49, 0xfb), Buffer.alloc(508)]);
const GARBAGE = new Prng(SEED).fill(new Uint8Array(20_000));

/** What is refused: a title, the code, and the arguments, made when the test runs. */
const REFUSED: readonly (readonly [string, string, () => string[]])[] = [
  ["a file that is no ELF", "E_ELF_INVALID", () => ["--elf", file("garbage", GARBAGE)]],
  ["an empty ELF", "E_ELF_INVALID", () => ["--elf", file("empty", "")]],
  ["half an ELF header", "E_ELF_INVALID", () => ["--elf", file("half", GOOD.slice(0, 40))]],
  ["an ELF without its segment", "E_ELF_INVALID", () => ["--elf", file("cut", GOOD.slice(0, 122))]],
  ["an ELF for another machine", "E_ELF_INVALID", () => ["--elf", process.execPath]],
  [
    "an ELF whose headers lie outside",
    "E_ELF_INVALID",
    () => ["--elf", file("far", changed(GOOD, 38, 0xff))],
  ],
  [
    "an ELF outside RAM",
    "E_ELF_OUTSIDE_RAM",
    () => ["--elf", file("low", loopForEver(0x1000_0000n))],
  ],
  ["a kernel of random bytes", "E_KERNEL_INVALID", () => ["--kernel", file("k", GARBAGE)]],
  [
    "a damaged compressed kernel",
    "E_KERNEL_INVALID",
    () => ["--kernel", file("k.gz", Uint8Array.of(0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5))],
  ],
  [
    "a kernel that wants more memory than there is",
    "E_KERNEL_TOO_BIG",
    () => ["--kernel", file("huge", kernelHeader(1n << 40n))],
  ],
  [
    "an initramfs that does not fit",
    "E_INITRD_TOO_BIG",
    () => {
      const kernel = file("small", kernelHeader(1n << 20n));
      const initrd = sparse("initrd", 80 * 2 ** 20);
      return ["--memory", "64M", "--kernel", kernel, "--initrd", initrd];
    },
  ],
  ["empty firmware", "E_FIRMWARE_TOO_BIG", () => ["--firmware", file("fw", "")]],
  ["a disk of odd size", "E_DISK_SIZE", () => elfAnd("--disk", sparse("odd", 1000))],
  ["an empty disk", "E_DISK_SIZE", () => elfAnd("--disk", file("none", ""))],
  ["a disk larger than any", "E_DISK_SIZE", () => elfAnd("--disk", sparse("tib", 2 ** 40 + 512))],
  ["a disk that is not raw", "E_DISK_FORMAT", () => elfAnd("--disk", file("qcow2", QCOW2))],
  ["a disk that is not there", "E_FILE_NOT_FOUND", () => elfAnd("--disk", at("absent"))],
  ["a folder for a disk", "E_FILE_ACCESS", () => elfAnd("--disk", directory)],
  [
    "more disks than fit",
    "E_CONFIG_INVALID",
    () => elfAnd(...Array.from({ length: 40 }, () => ["--disk", sparse("d", 512)]).flat()),
  ],
  ["too little memory", "E_CONFIG_INVALID", () => elfAnd("--memory", "2M")],
  ["too much memory", "E_CONFIG_INVALID", () => elfAnd("--memory", "64G")],
  ["memory of odd size", "E_CONFIG_INVALID", () => elfAnd("--memory", "65M")],
  ["a long command line", "E_CONFIG_INVALID", () => elfAnd("--append", "x".repeat(100_000))],
  ["a helper's odd address", "E_NET_ADDRESS", () => elfAnd("--net", "tcp:1")],
  ["an image that is not there", "E_IMAGE_UNKNOWN", () => ["no-such-image"]],
  ["an image's impossible name", "E_IMAGE_NAME", () => ["../etc"]],
  ["a file that is no snapshot", "E_SNAPSHOT_FORMAT", () => ["--from", file("s", GARBAGE)]],
  ["an empty snapshot", "E_SNAPSHOT_FORMAT", () => ["--from", file("s0", "")]],
];

function elfAnd(...more: string[]): string[] {
  return ["--elf", file("good.elf", GOOD), ...more];
}

describe("dejavm run", () => {
  test.for(REFUSED)("refuses %s: %s", async ([, code, args]) => {
    expectRefused(await dejavm(["run", ...args()]), code);
  });

  test.for([
    ["--memory", "lots"],
    ["--max-instructions", "-1"],
    ["--no-such-option", "1"],
  ])("a wrong command line ends with status 2: %s %s", async (more) => {
    const { status, stderr } = await dejavm(["run", ...elfAnd(...more)]);
    expect({ status, stdout: stderr.startsWith("dejavm: E_USAGE ") }).toMatchObject({ status: 2 });
  });

  test("damaged snapshots: cut or changed anywhere", async () => {
    const path = at("good.snapshot");
    const save = elfAnd("--max-instructions", "1000", "--save", path);
    expect(await dejavm(["run", ...save])).toMatchObject({ status: 3 });
    const good = new Uint8Array(readFileSync(path));
    const random = new Prng(SEED);
    for (const where of [12, good.length >> 1, good.length - 1, random.below(good.length)]) {
      const cut = file("cut.snapshot", good.subarray(0, where));
      expectRefused(await dejavm(["run", "--from", cut]), "E_SNAPSHOT_TRUNCATED");
      const bent = file("bent.snapshot", changed(good, where, (good[where] ?? 0) ^ 0x10));
      expectRefused(await dejavm(["run", "--from", bent]), "E_SNAPSHOT_\\w+");
    }
    const more = file("long.snapshot", Buffer.concat([good, GARBAGE]));
    expectRefused(await dejavm(["run", "--from", more]), "E_SNAPSHOT_\\w+");
  });

  test("a snapshot that cannot be written leaves nothing", async (context) => {
    const small = at("small-disk");
    mkdirSync(small);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", small]).status !== 0) {
      return context.skip("needs root, to mount a small file system");
    }
    try {
      const save = ["--max-instructions", "1000", "--save", join(small, "s")];
      const noise = sparseNoise();
      expectRefused(await dejavm(["run", "--elf", file("noise", noise), ...save]), "E_DISK_FULL");
      expect(readdirSync(small)).toEqual([]);
    } finally {
      spawnSync("umount", [small]);
    }
  });
});

/** A program with data that cannot be compressed into 64 KiB. */
function sparseNoise(): Uint8Array {
  const noise = new Prng(SEED).fill(new Uint8Array(400_000));
  return loopForEver(0x8000_0000n, noise);
}

test("dejavm migrate of a machine that a `dejavm run` has", async () => {
  const args = ["--firmware", file("counting", countingGuest()), "--memory", "64M"];
  const run = new RunProcess({ stateHome: directory, args });
  run.type();
  expect(await run.nextCount()).toBe(1);
  const ended = await dejavm(["migrate", "counting", "--to", "oslo"], "", {
    XDG_STATE_HOME: directory,
  });
  expectRefused(ended, "E_VM_STATE");
  expect(ended.stderr).toContain("dejavm start counting");
  run.type();
  expect(await run.nextCount()).toBe(2);
  run.kill();
  await run.exited;
});

describe("dejavm image build", () => {
  /** Nothing that could be taken for an image or part of one. */
  const leftovers = (cache: string): string[] =>
    readdirSync(join(cache, "dejavm/images")).filter((name) => name !== ".locks");

  test("without a network", async () => {
    const env = { XDG_CACHE_HOME: at("cache1"), DEJAVM_DEBIAN_MIRROR: "http://127.0.0.1:9/debian" };
    const ended = await dejavm(["image", "build"], "", env);
    expectRefused({ ...ended, stderr: lastMessage(ended.stderr) }, "E_NO_NETWORK");
    expect(leftovers(at("cache1"))).toEqual([]);
  });

  test("of a package that Debian has not", async () => {
    const args = ["image", "build", "--name", "bad-input", "--package", "no-such-package-anywhere"];
    const ended = await dejavm(args);
    expectRefused({ ...ended, stderr: lastMessage(ended.stderr) }, "E_PACKAGE_UNKNOWN");
    expect(ended.stderr).toContain("no-such-package-anywhere");
    const { stdout } = await dejavm(["image", "ls"]);
    expect(stdout).not.toContain("bad-input");
  });

  test("on a full disk", async (context) => {
    const small = at("full-disk");
    mkdirSync(small);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=60m", "tmpfs", small]).status !== 0) {
      return context.skip("needs root, to mount a small file system");
    }
    try {
      mkdirSync(join(small, "cache"));
      const ended = await dejavm(["image", "build"], "", { XDG_CACHE_HOME: join(small, "cache") });
      expectRefused({ ...ended, stderr: lastMessage(ended.stderr) }, "E_DISK_FULL");
      expect(leftovers(join(small, "cache"))).toEqual([]);
    } finally {
      spawnSync("umount", [small]);
    }
  });
});

/** The error, without the progress before it. */
function lastMessage(stderr: string): string {
  return stderr.slice(stderr.lastIndexOf("dejavm: "));
}
