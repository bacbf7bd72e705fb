/** Debian's OpenSBI in M-mode, given by `--firmware`, starts Debian's kernel up to a shell. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { DebianArchive } from "@dejavm/debian";
import { buildImage, imageSpec, type ResolvedImage } from "@dejavm/image";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dejavm } from "../support/dejavm.ts";

const FIRMWARE = "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin";
const OUTSIDE = ["E_NO_NETWORK", "E_MIRROR_CHANGING", "E_TOOL_MISSING"];
let directory = "";
let guest: ResolvedImage | string = "not built";

/** The default image and, in `directory`, OpenSBI; or why they cannot be had. */
async function fetchGuest(): Promise<ResolvedImage | string> {
  try {
    const archive = new DebianArchive({ architecture: "riscv64" });
    const set = await archive.fetch({ packages: ["opensbi"] }, () => {});
    await archive.unpackInto(set, directory, () => {});
    return (await buildImage(imageSpec())).image;
  } catch (error) {
    if (!(error instanceof CodedError && OUTSIDE.includes(String(error.code)))) throw error;
    return error.message;
  }
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-firmware-"));
  guest = await fetchGuest();
});
afterAll(() => rmSync(directory, { recursive: true }));

test("OpenSBI boots Debian", async (context) => {
  if (typeof guest === "string") return context.skip(guest);
  const { kernel, initrd, disk, manifest } = guest;
  const files = ["--kernel", kernel, "--initrd", initrd, "--disk", disk];
  const append = `${manifest.commandLine} console=ttyS0`;
  const command = "dmesg | grep -o 'SBI implementation ID=0x[0-9]*'; echo in a shell; exit 5";
  const boot = ["run", "--firmware", join(directory, FIRMWARE), ...files, "--append", append];
  const { status, stdout, stderr } = await dejavm([...boot, "--exec", command]);
  // 1 is OpenSBI.
  expect(stdout).toBe("SBI implementation ID=0x1\nin a shell\n");
  expect({ status, stderr }).toEqual({ status: 5, stderr: "" });
});
