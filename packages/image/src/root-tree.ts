/**
 * The guest's root file system as tar members: unpacked packages without what no guest reads, the
 * guest's own files over them, busybox under all its names, kernel modules, services' directories.
 */
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { busyboxApplets } from "./busybox.ts";
import { guestFiles } from "./guest-files.ts";
import { type KernelModule, modulesDep } from "./kernel-modules.ts";
import { type TarEntry, tarEnd, tarMember } from "./tar.ts";

/** Times that no package gives: 2025-08-09, the day of Debian 13. */
export const IMAGE_EPOCH_SECONDS = 1754697600;

/** Where the parts of the tree come from. */
export interface RootTreeSources {
  /** The unpacked packages. */
  readonly packagesDir: string;
  readonly kernelRelease: string;
  readonly modules: readonly KernelModule[];
}

/** Directories besides those of packages, with owner (uid and gid) and mode. */
const DIRECTORIES: readonly (readonly [path: string, mode: number, owner: number])[] = [
  ["dev", 0o755, 0],
  ["proc", 0o755, 0],
  ["sys", 0o755, 0],
  ["run", 0o755, 0],
  ["tmp", 0o1777, 0],
  ["mnt", 0o755, 0],
  ["srv", 0o755, 0],
  ["root", 0o700, 0],
  ["home", 0o755, 0],
  ["var/lib/redis", 0o750, 100],
  ["var/log/redis", 0o750, 100],
  ["var/log/lighttpd", 0o750, 33],
  ["var/cache/lighttpd", 0o750, 33],
  ["var/www/html", 0o755, 0],
  ["var/tmp", 0o1777, 0],
];

const LINKS: readonly (readonly [path: string, target: string])[] = [
  ["bin", "usr/bin"],
  ["sbin", "usr/sbin"],
  ["lib", "usr/lib"],
  ["etc/mtab", "../proc/self/mounts"],
  ["etc/resolv.conf", "../run/resolv.conf"],
  ["usr/sbin/init", "../bin/busybox"],
  ["var/run", "../run"],
  ["var/lock", "../run/lock"],
];

/** Left out of the packages: documentation except licences, translations, other init systems. */
const OMITTED = [
  /^usr\/share\/(man|info|locale|lintian|bug|menu|doc-base|bash-completion|zsh|fish)(\/|$)/,
  /^usr\/share\/doc\/[^/]+\/(?!copyright$)/,
  /^usr\/(share|lib)\/(initramfs-tools|systemd|udev|sysusers\.d|tmpfiles\.d)(\/|$)/,
  /^usr\/lib\/modules(\/|$)/,
  /^boot(\/|$)/,
  /^etc\/(init\.d|systemd|logrotate\.d|default|cron[^/]*|lighttpd\/lighttpd\.conf)(\/|$)/,
];

/** Yields the archive piece by piece, sorted by path: the same sources give the same bytes. */
export async function* rootTar(sources: RootTreeSources): AsyncGenerator<Uint8Array> {
  const planned = await planTree(sources);
  for (const path of [...planned.keys()].sort()) {
    const entry = planned.get(path);
    if (entry !== undefined) yield tarMember(await entry());
  }
  yield tarEnd();
}

type EntryMaker = () => TarEntry | Promise<TarEntry>;

async function planTree(sources: RootTreeSources): Promise<Map<string, EntryMaker>> {
  const tree = new Map<string, EntryMaker>();
  await addPackages(tree, sources.packagesDir);
  const busybox = await readFile(join(sources.packagesDir, "usr/bin/busybox"));
  for (const name of busyboxApplets(busybox)) {
    // Real programs from packages go before busybox's.
    if (tree.has(`usr/bin/${name}`) || tree.has(`usr/sbin/${name}`)) continue;
    add(tree, link(`usr/bin/${name}`, "busybox"));
  }
  const modulesDir = `usr/lib/modules/${sources.kernelRelease}`;
  for (const module of sources.modules) {
    add(tree, file(`${modulesDir}/${module.path}`, module.content, 0o644));
  }
  add(tree, file(`${modulesDir}/modules.dep`, Buffer.from(modulesDep(sources.modules)), 0o644));
  for (const each of await guestFiles("root")) {
    add(tree, file(each.path, each.content, each.executable ? 0o755 : 0o644));
  }
  for (const [path, target] of LINKS) add(tree, link(path, target));
  for (const [path, mode, owner] of DIRECTORIES) add(tree, directory(path, mode, owner));
  return tree;
}

async function addPackages(tree: Map<string, EntryMaker>, packagesDir: string): Promise<void> {
  const visit = async (relativeDir: string): Promise<void> => {
    for (const name of await readdir(join(packagesDir, relativeDir))) {
      const path = relativeDir === "" ? name : `${relativeDir}/${name}`;
      if (OMITTED.some((pattern) => pattern.test(path))) continue;
      const found = await lstat(join(packagesDir, path));
      if (found.isDirectory()) {
        add(tree, directory(path, found.mode & 0o7777, 0));
        await visit(path);
      } else if (found.isSymbolicLink() || found.isFile()) {
        tree.set(path, () => packageEntry(packagesDir, path));
      }
    }
  };
  await visit("");
}

async function packageEntry(packagesDir: string, path: string): Promise<TarEntry> {
  const source = join(packagesDir, path);
  const found = await lstat(source);
  const modifiedSeconds = Math.floor(found.mtimeMs / 1000);
  if (found.isSymbolicLink()) return { ...link(path, await readlink(source)), modifiedSeconds };
  return { ...file(path, await readFile(source), found.mode & 0o7777), modifiedSeconds };
}

/** Adds an entry and the directories above it that nothing has named yet. */
function add(tree: Map<string, EntryMaker>, entry: TarEntry): void {
  const parts = entry.path.split("/");
  for (let count = 1; count < parts.length; count++) {
    const parent = parts.slice(0, count).join("/");
    if (!tree.has(parent)) tree.set(parent, () => directory(parent, 0o755, 0));
  }
  tree.set(entry.path, () => entry);
}

const COMMON = { uid: 0, gid: 0, modifiedSeconds: IMAGE_EPOCH_SECONDS };

function file(path: string, content: Uint8Array, mode: number): TarEntry {
  return { ...COMMON, kind: "file", path, content, mode };
}

function link(path: string, target: string): TarEntry {
  return { ...COMMON, kind: "symlink", path, content: Buffer.from(target), mode: 0o777 };
}

function directory(path: string, mode: number, owner: number): TarEntry {
  const content = new Uint8Array(0);
  return { ...COMMON, kind: "directory", path, content, mode, uid: owner, gid: owner };
}
