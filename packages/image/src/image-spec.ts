/** What an image is asked to be. */
import { hash } from "node:crypto";
import { CodedError } from "@dejavm/base";
import { checkPackageName, DEBIAN_SUITE } from "@dejavm/debian";
import { guestFiles } from "./guest-files.ts";
import { BOOT_MODULES, ROOT_MODULES } from "./kernel-modules.ts";

/** The image that `run` takes if none is named. */
export const DEFAULT_IMAGE = "debian";

/** A request for an image. */
export interface ImageSpec {
  readonly name: string;
  /** Debian packages besides `BASE_PACKAGES`, with all they depend on. Sorted, no duplicates. */
  readonly packages: readonly string[];
  /** Size of the disk; the file is sparse. */
  readonly diskBytes: number;
}

/** In every image. */
export const BASE_PACKAGES = [
  "busybox-static",
  "lighttpd",
  "ncurses-base",
  "python3-minimal",
  "redis-server",
  "redis-tools",
  "sqlite3",
] as const;

/** The kernel: a package that depends on the current one. */
export const KERNEL_PACKAGE = "linux-image-riscv64";

/**
 * Needed only by maintainer scripts, which never run, or by an init system that is not ours. A
 * package named in an image's spec is installed all the same.
 */
export const PROVIDED_PACKAGES = [
  "adduser",
  "debconf",
  "dpkg",
  "init-system-helpers",
  "initramfs-tools",
  "kmod",
  "linux-base",
  "mount",
  "passwd",
  "systemd",
  "systemd-sysv",
  "tar",
  "udev",
] as const;

/** 1 GiB: packages take about a tenth, the rest is for the guest. */
const DEFAULT_DISK_BYTES = 1 << 30;

/** Part of each image's key: raise it when images are built in another way. */
const BUILDER_VERSION = 2;

const IMAGE_NAME = /^[a-z0-9][a-z0-9._+-]{0,63}$/;

/** What `imageSpec` makes a spec from. */
export interface ImageOptions {
  readonly name?: string;
  readonly packages?: readonly string[];
  readonly diskBytes?: number;
}

/**
 * Checks options and fills in defaults: further packages give an image of its own,
 * `debian-PACKAGE-...`. Throws `E_IMAGE_NAME` or `E_PACKAGE_UNKNOWN`.
 */
export function imageSpec(options: ImageOptions = {}): ImageSpec {
  const packages = [...new Set(options.packages ?? [])].sort();
  for (const each of packages) checkPackageName(each);
  const name = options.name ?? variantName(packages);
  checkImageName(name);
  return { name, packages, diskBytes: options.diskBytes ?? DEFAULT_DISK_BYTES };
}

/** Throws `E_IMAGE_NAME` for a name that cannot be a directory of its own. */
export function checkImageName(name: string): void {
  if (IMAGE_NAME.test(name)) return;
  throw new CodedError("E_IMAGE_NAME", `${JSON.stringify(name)} cannot name an image`, {
    hint: "use lower-case letters, digits, . _ + - (at most 64, first a letter or digit)",
  });
}

/** Changes with everything that an image is made from, except versions in the archive. */
export async function specKey(spec: ImageSpec): Promise<string> {
  const files = [...(await guestFiles("initramfs")), ...(await guestFiles("root"))];
  const text = JSON.stringify([
    BUILDER_VERSION,
    DEBIAN_SUITE,
    spec.packages,
    spec.diskBytes,
    [BASE_PACKAGES, PROVIDED_PACKAGES, KERNEL_PACKAGE, BOOT_MODULES, ROOT_MODULES],
    files.map((each) => [each.path, each.executable, hash("sha256", each.content, "hex")]),
  ]);
  return hash("sha256", text, "hex");
}

function variantName(packages: readonly string[]): string {
  const name = [DEFAULT_IMAGE, ...packages].join("-");
  if (name.length <= 64) return name;
  return `${DEFAULT_IMAGE}-${hash("sha256", packages.join(" "), "hex").slice(0, 12)}`;
}
