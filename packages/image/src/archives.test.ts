/** The archives that the builder writes, read by the host's own tar; cpio by its golden bytes. */
import { spawnSync } from "node:child_process";
import { hash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { makeCpio } from "./cpio.ts";
import { type TarEntry, tarEnd, tarMember } from "./tar.ts";

const COMMON = { uid: 0, gid: 0, modifiedSeconds: 1754697600, mode: 0o755 };
const NONE = new Uint8Array(0);

function list(entries: readonly TarEntry[]): string[] {
  const archive = Buffer.concat([...entries.map(tarMember), tarEnd()]);
  const options = ["--list", "--verbose", "--verbose", "--numeric-owner", "--utc"];
  const { stdout, status } = spawnSync("tar", options, {
    input: archive,
    encoding: "utf8",
    env: { ...process.env, TZ: "UTC" },
  });
  expect(status).toBe(0);
  return stdout.trimEnd().split("\n");
}

describe("tar", () => {
  test("kinds, modes, owners, sizes and times", () => {
    const lines = list([
      { ...COMMON, kind: "directory", path: "tmp", mode: 0o1777, content: NONE },
      { ...COMMON, kind: "file", path: "su", mode: 0o4755, content: new Uint8Array(700) },
      { ...COMMON, kind: "file", path: "own", mode: 0o640, uid: 100, gid: 33, content: NONE },
      { ...COMMON, kind: "symlink", path: "bin", content: Buffer.from("usr/bin") },
    ]);
    expect(lines.map((line) => line.replace(/\s+/g, " "))).toEqual([
      "drwxrwxrwt 0/0 0 2025-08-09 00:00 tmp/",
      "-rwsr-xr-x 0/0 700 2025-08-09 00:00 su",
      "-rw-r----- 100/33 0 2025-08-09 00:00 own",
      "lrwxr-xr-x 0/0 0 2025-08-09 00:00 bin -> usr/bin",
    ]);
  });

  test.each([98, 99, 100, 101, 300])("a name of %i bytes comes out whole", (length) => {
    const path = `d/${"x".repeat(length - 2)}`;
    const target = "t".repeat(length);
    const [file, link] = list([
      { ...COMMON, kind: "file", path, content: Buffer.from("content") },
      { ...COMMON, kind: "symlink", path: `${path}l`, content: Buffer.from(target) },
    ]);
    expect(file?.endsWith(` ${path}`)).toBe(true);
    expect(link?.endsWith(` ${path}l -> ${target}`)).toBe(true);
  });
});

describe("cpio", () => {
  test("golden bytes: header fields in hexadecimal, everything aligned to 4", () => {
    const archive = Buffer.from(
      makeCpio([{ kind: "file", path: "init", content: Buffer.from("hello"), executable: true }]),
    );
    const zero = "00000000";
    const fields = ["00000001", "000081ed", zero, zero, "00000001", zero, "00000005"];
    const rest = [zero, zero, zero, zero, "00000005", zero];
    expect(archive.toString("latin1", 0, 128)).toBe(
      `070701${[...fields, ...rest].join("")}init\0\0hello\0\0\0`.padEnd(128, "0707"),
    );
    expect(archive.length % 4).toBe(0);
    expect(archive.toString("latin1")).toContain("TRAILER!!!");
  });

  test("directories, links and devices have their types; equal input gives equal bytes", () => {
    const make = () =>
      makeCpio([
        { kind: "directory", path: "dev" },
        { kind: "character-device", path: "dev/console", major: 5, minor: 1 },
        { kind: "symlink", path: "sh", target: "busybox" },
      ]);
    const text = Buffer.from(make()).toString("latin1");
    expect([...text.matchAll(/070701[0-9a-f]{8}([0-9a-f]{8})/g)].map((each) => each[1])).toEqual([
      "000041ed",
      "00002180",
      "0000a1ff",
      "00000000",
    ]);
    expect(hash("sha256", make())).toBe(hash("sha256", make()));
  });
});
