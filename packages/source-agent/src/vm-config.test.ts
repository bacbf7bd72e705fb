import { CodedError } from "@dejavm/base";
import { expect, test } from "vitest";
import { decodeVmConfig, encodeVmConfig, type VmConfig } from "./vm-config.ts";

const CONFIG: VmConfig = {
  image: "debian",
  keyboard: "hvc",
  memoryBytes: 2 ** 28,
  disks: [
    { path: "/a", sizeBytes: 512, readOnly: true, serial: "s", sha256: new Uint8Array(32).fill(3) },
  ],
  mac: Uint8Array.of(1, 2, 3, 4, 5, 6),
  boot: { kind: "linux", firmware: "", kernel: "/k", initrd: "/i", commandLine: "quiet" },
  pace: "live",
  restarts: true,
  durable: false,
  originNs: 12n,
  note: "{}",
};

test("what was kept is read again", () => {
  expect(decodeVmConfig(encodeVmConfig(CONFIG))).toEqual(CONFIG);
  const bare = { ...CONFIG, mac: undefined, boot: undefined, disks: [] };
  expect(decodeVmConfig(encodeVmConfig(bare))).toEqual(bare);
});

test("anything else is a coded error", () => {
  const bytes = encodeVmConfig(CONFIG);
  for (let at = 0; at < bytes.length; at += 7) {
    const bad = bytes.slice(0, at);
    expect(() => decodeVmConfig(bad)).toThrow(CodedError);
  }
});
