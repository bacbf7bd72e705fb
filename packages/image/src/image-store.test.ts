import {
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  rm,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type ImageManifest, MANIFEST_FORMAT, parseManifest } from "./image-manifest.ts";
import { imageSpec, specKey } from "./image-spec.ts";
import {
  describeFile,
  imagesDir,
  listImages,
  publishImage,
  removeImage,
  removeWork,
  resolveImage,
  workDirectory,
} from "./image-store.ts";

let cache = "";
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "dejavm-store-"));
  vi.stubEnv("XDG_CACHE_HOME", cache);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(cache, { recursive: true });
});

async function publish(name: string, kernel = "kernel of it"): Promise<ImageManifest> {
  const built = await workDirectory(name);
  await writeFile(join(built, "kernel"), kernel);
  await writeFile(join(built, "initrd"), "initrd");
  await writeFile(join(built, "disk.ext4"), "disk");
  const manifest: ImageManifest = {
    format: MANIFEST_FORMAT,
    name,
    specKey: "key",
    packages: ["x1"],
    suite: "trixie",
    kernelRelease: "6.12",
    commandLine: "root=/dev/vda",
    kernel: await describeFile(built, "kernel"),
    initrd: await describeFile(built, "initrd"),
    disk: await describeFile(built, "disk.ext4"),
    contents: [{ package: "a1", version: "1", sha256: "00" }],
  };
  await publishImage(manifest, built);
  return manifest;
}

describe("image store", () => {
  test("what was published is listed, found and removed, and nothing else is left", async () => {
    const manifest = await publish("debian");
    await publish("other");
    expect((await listImages()).map((each) => each.name)).toEqual(["debian", "other"]);
    const image = await resolveImage("debian");
    expect(image.manifest).toEqual(manifest);
    expect(image.disk).toBe(join(imagesDir(), "debian", "disk.ext4"));
    await removeImage("debian");
    expect(await readdir(imagesDir())).toEqual([".locks", "other"]);
    await expect(resolveImage("debian")).rejects.toMatchObject({ code: "E_IMAGE_UNKNOWN" });
    await expect(removeImage("debian")).rejects.toMatchObject({ code: "E_IMAGE_UNKNOWN" });
  });

  test("a new build takes the place of the old one", async () => {
    await publish("debian", "old");
    const manifest = await publish("debian", "new");
    expect((await resolveImage()).manifest.kernel).toEqual(manifest.kernel);
    expect(await readdir(imagesDir())).toEqual(["debian"]);
  });

  test("hashes are taken again only if size or time of change differ", async () => {
    await publish("debian");
    const kernel = join(imagesDir(), "debian", "kernel");
    await utimes(kernel, new Date(1000), new Date(1000));
    await resolveImage();
    await chmod(kernel, 0o644);
    await writeFile(kernel, "KERNEL OF IT");
    await utimes(kernel, new Date(1000), new Date(1000));
    await expect(resolveImage()).resolves.toMatchObject({ name: "debian" });
    await utimes(kernel, new Date(2000), new Date(2000));
    await expect(resolveImage()).rejects.toMatchObject({ code: "E_IMAGE_CORRUPT" });
  });

  test.each([
    ["grew", async (path: string) => appendFile(path, "!")],
    ["changed", async (path: string) => writeFile(path, "KERNEL OF IT")],
    ["is missing", async (path: string) => rm(path)],
  ])("a file that %s makes the image corrupt", async (_how, damage) => {
    await publish("debian");
    const kernel = join(imagesDir(), "debian", "kernel");
    await chmod(kernel, 0o644);
    await damage(kernel);
    await expect(resolveImage()).rejects.toMatchObject({ code: "E_IMAGE_CORRUPT" });
  });

  test("a damaged manifest is told of by the list, and does not hide the others", async () => {
    await publish("debian");
    await mkdir(join(imagesDir(), "broken"));
    await writeFile(join(imagesDir(), "broken", "manifest.json"), '{"format":99}');
    const [broken, whole] = await listImages();
    expect(JSON.stringify(broken)).toMatch(/"broken".*E_IMAGE_CORRUPT/);
    expect(whole).toMatchObject({ name: "debian", manifest: { name: "debian" } });
  });

  test("leftovers of killed builds go, those of images with like names stay", async () => {
    await workDirectory("debian");
    await workDirectory("debian-x");
    await removeWork("debian");
    const left = await readdir(imagesDir());
    expect(left).toHaveLength(1);
    expect(left[0]).toMatch(/^\.work-debian-x-/);
  });

  test.each(["../debian", "", ".hidden", "A", "a/b", "x".repeat(65)])(
    "%j names no image",
    async (name) => {
      await expect(resolveImage(name)).rejects.toMatchObject({ code: "E_IMAGE_NAME" });
      await expect(removeImage(name)).rejects.toMatchObject({ code: "E_IMAGE_NAME" });
    },
  );

  test.each(["", "null", "[]", "{", '{"format":1}', '{"format":1,"name":"x","kernel":{}}'])(
    "%j is no manifest",
    (text) => {
      expect(() => parseManifest("x", text)).toThrow(
        expect.objectContaining({ code: "E_IMAGE_CORRUPT" }),
      );
    },
  );

  test("a manifest whose files lie elsewhere is refused", async () => {
    const manifest = await publish("debian");
    const bad = { ...manifest, disk: { ...manifest.disk, file: "../../disk" } };
    expect(() => parseManifest("debian", JSON.stringify(bad))).toThrow(/missing or wrong fields/);
    expect(parseManifest("debian", JSON.stringify(manifest))).toEqual(manifest);
  });
});

describe("image spec", () => {
  test("further packages give an image of its own, whatever their order", () => {
    expect(imageSpec()).toMatchObject({ name: "debian", packages: [] });
    const spec = imageSpec({ packages: ["strace", "gawk", "strace"] });
    expect(spec).toMatchObject({ name: "debian-gawk-strace", packages: ["gawk", "strace"] });
    expect(imageSpec({ packages: ["gawk"], name: "mine" }).name).toBe("mine");
    const many = imageSpec({ packages: Array.from({ length: 30 }, (_, n) => `package${n}`) });
    expect(many.name).toMatch(/^debian-[0-9a-f]{12}$/);
  });

  test("bad names and packages are refused", () => {
    expect(() => imageSpec({ name: "../x" })).toThrow(/cannot name an image/);
    expect(() => imageSpec({ packages: ["-o=x"] })).toThrow(/not a package name/);
  });

  test("a changed spec has another key, another name has not", async () => {
    const key = await specKey(imageSpec());
    expect(await specKey(imageSpec({ name: "other" }))).toBe(key);
    expect(await specKey(imageSpec({ packages: ["gawk"] }))).not.toBe(key);
    expect(await specKey(imageSpec({ diskBytes: 2 << 29 }))).toBe(key);
    expect(await specKey(imageSpec({ diskBytes: 2 ** 31 }))).not.toBe(key);
  });
});
