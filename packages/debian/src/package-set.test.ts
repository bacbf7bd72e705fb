import { describe, expect, test } from "vitest";
import { parsePackageSet } from "./debian-archive.ts";
import { checkPackageName, parsePrintUris, requestKey } from "./package-set.ts";

const SHA = "0123456789abcdef".repeat(4);

describe("package sets", () => {
  test("what apt would download: name, version with epoch, size, hash; sorted by name", () => {
    const text = `'http://m/pool/z_1_all.deb' z_1%3a2.0+b1_all.deb 12 SHA256:${SHA}
'http://m/pool/a.deb' a++_3~rc1_riscv64.deb 34567 SHA256:${SHA}
`;
    expect(parsePrintUris(text)).toEqual([
      {
        package: "a++",
        version: "3~rc1",
        architecture: "riscv64",
        fileName: "a++_3~rc1_riscv64.deb",
        sizeBytes: 34567,
        sha256: SHA,
      },
      {
        package: "z",
        version: "1:2.0+b1",
        architecture: "all",
        fileName: "z_1%3a2.0+b1_all.deb",
        sizeBytes: 12,
        sha256: SHA,
      },
    ]);
  });

  test.each([
    `'http://m/a.deb' a_1_all.deb 12 MD5Sum:${SHA.slice(32)}`,
    `'http://m/a.deb' ../a_1_all.deb 12 SHA256:${SHA}`,
    `'http://m/a.deb' a_1_all.deb 12`,
  ])("a download without a sha256 or with a path is refused: %s", (line) => {
    expect(() => parsePrintUris(line)).toThrow(expect.objectContaining({ code: "E_APT" }));
  });

  test.each(["redis-server", "g++", "libstdc++6", "python3.13-minimal", "0ad"])(
    "%s is a package name",
    (name) => expect(() => checkPackageName(name)).not.toThrow(),
  );

  test.each([
    "",
    "a",
    "-oDir::State=/",
    "Redis",
    "a/b",
    "redis=1",
    "redis-",
    "redis+",
    "a b",
    "~n",
  ])("%j is no package name: apt could read it as something else", (name) => {
    expect(() => checkPackageName(name)).toThrow(
      expect.objectContaining({ code: "E_PACKAGE_UNKNOWN" }),
    );
  });

  test("a request's key depends on what is asked, not on its order", () => {
    const key = requestKey("trixie", "riscv64", { packages: ["b1", "a1"], provided: ["x1"] });
    expect(
      requestKey("trixie", "riscv64", { packages: ["a1", "b1", "a1"], provided: ["x1"] }),
    ).toBe(key);
    expect(requestKey("trixie", "amd64", { packages: ["a1", "b1"], provided: ["x1"] })).not.toBe(
      key,
    );
    expect(requestKey("trixie", "riscv64", { packages: ["a1", "b1"] })).not.toBe(key);
  });

  test("a set file of another shape counts as absent", () => {
    const file = {
      package: "a1",
      version: "1",
      architecture: "all",
      fileName: "a1_1_all.deb",
      sizeBytes: 1,
      sha256: SHA,
    };
    const set = { key: "k", suite: "trixie", architecture: "all", mirror: "m", files: [file] };
    expect(parsePackageSet(JSON.stringify(set))).toEqual(set);
    const outside = { ...set, files: [{ ...file, fileName: "../../x" }] };
    for (const bad of ["", "{", "null", "[]", '{"key":"k"}', JSON.stringify(outside)]) {
      expect(parsePackageSet(bad)).toBeUndefined();
    }
  });
});
