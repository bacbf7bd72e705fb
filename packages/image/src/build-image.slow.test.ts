/**
 * Builds the default image (from the cache where it is there), and lets builds fail. Whether it
 * boots is tested where machines are.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostTool } from "@dejavm/debian";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { buildImage } from "./build-image.ts";
import { imageSpec } from "./image-spec.ts";
import { imagesDir } from "./image-store.ts";

let directory = "";
let mounted = false;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "dejavm-build-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  if (mounted) spawnSync("umount", [directory]);
  mounted = false;
  await rm(directory, { recursive: true });
});

/** Nothing that could be taken for an image or part of one. */
async function leftovers(): Promise<string[]> {
  return (await readdir(imagesDir())).filter((name) => name !== ".locks");
}

describe("building an image", () => {
  test("the default image: a clean file system with Debian's programs; then a no-op", async () => {
    const { image } = await buildImage(imageSpec());
    const e2fsck = await hostTool("e2fsck");
    if (e2fsck.kind === "ready") {
      const { status, stdout } = spawnSync(e2fsck.command, ["-f", "-n", image.disk]);
      expect(status, stdout.toString()).toBe(0);
    }
    const names = image.manifest.contents.map((each) => each.package);
    expect(names).toEqual(
      expect.arrayContaining(["busybox-static", "redis-server", "sqlite3", "lighttpd", "libc6"]),
    );
    expect(names.some((name) => name.startsWith("linux-image-6"))).toBe(true);
    const kernel = await readFile(image.kernel);
    expect(kernel.toString("latin1", 56, 59)).toBe("RSC");
    const { mtimeMs } = await stat(image.disk);
    const again = await buildImage(imageSpec());
    expect(again.reused).toBe(true);
    expect((await stat(image.disk)).mtimeMs).toBe(mtimeMs);
  });

  test("no network: one clear error and nothing left behind", async () => {
    vi.stubEnv("XDG_CACHE_HOME", directory);
    vi.stubEnv("DEJAVM_DEBIAN_MIRROR", "http://127.0.0.1:9/debian");
    await expect(buildImage(imageSpec())).rejects.toMatchObject({
      code: "E_NO_NETWORK",
    });
    expect(await leftovers()).toEqual([]);
  });

  test("an unknown package: named, and nothing left behind", async () => {
    const spec = imageSpec({ name: "build-test", packages: ["no-such-package-anywhere"] });
    const failure: unknown = await buildImage(spec).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "E_PACKAGE_UNKNOWN" });
    expect(String(failure)).toContain("no-such-package-anywhere");
    expect((await leftovers()).filter((name) => name.includes("build-test"))).toEqual([]);
  });

  test("a full disk: one clear error and nothing left behind", async (context) => {
    // Large enough for mke2fs and its libraries, too small for the package lists of the guest.
    const options = ["-t", "tmpfs", "-o", "size=60m", "tmpfs", directory];
    mounted = spawnSync("mount", options).status === 0;
    if (!mounted) context.skip("needs root, to mount a small file system");
    await mkdir(join(directory, "cache"));
    vi.stubEnv("XDG_CACHE_HOME", join(directory, "cache"));
    await expect(buildImage(imageSpec())).rejects.toMatchObject({ code: "E_DISK_FULL" });
    expect(await leftovers()).toEqual([]);
  });
});
