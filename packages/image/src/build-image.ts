/** Builds a guest image from Debian packages: kernel, initramfs, root disk. No root needed. */
import { chmod, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { CodedError } from "@dejavm/base";
import {
  DEBIAN_SUITE,
  DebianArchive,
  type DebianProgress,
  diskFullError,
  filesystemError,
  lastLine,
  type PackageSet,
  requireHostTool,
  runProcess,
} from "@dejavm/debian";
import { type CpioEntry, makeCpio } from "./cpio.ts";
import { guestFiles } from "./guest-files.ts";
import { type ImageManifest, MANIFEST_FORMAT } from "./image-manifest.ts";
import {
  BASE_PACKAGES,
  type ImageSpec,
  KERNEL_PACKAGE,
  PROVIDED_PACKAGES,
  specKey,
} from "./image-spec.ts";
import {
  describeFile,
  publishImage,
  type ResolvedImage,
  readManifest,
  removeWork,
  resolveImage,
  withImageLock,
  workDirectory,
} from "./image-store.ts";
import { flatKernelImage } from "./kernel.ts";
import { BOOT_MODULES, type KernelModule, loadModules, ROOT_MODULES } from "./kernel-modules.ts";
import { IMAGE_EPOCH_SECONDS, rootTar } from "./root-tree.ts";

/** What a build is doing. */
export type ImageProgress =
  | DebianProgress
  | { readonly phase: "kernel" | "initrd" | "disk" | "hash"; readonly message: string };

/** Gets progress reports. */
export type OnImageProgress = (progress: ImageProgress) => void;

/** How a build came out: `reused` if the image was already what the spec asks for. */
export interface BuildResult {
  readonly image: ResolvedImage;
  readonly reused: boolean;
}

/**
 * Without the kernel's tests of its own ciphers and its timing noise source (the guest's entropy
 * comes from the machine) it boots in half the instructions.
 */
const COMMAND_LINE = "root=/dev/vda rw panic=-1 cryptomgr.notests initcall_blacklist=jent_mod_init";

/** Fixed, so that equal sources give equal disks. */
const DISK_UUID = "dd7e0d9c-5d0a-4a4b-9d3a-3f9a3c0f0a01";

const FILES = { kernel: "kernel", initrd: "initrd", disk: "disk.ext4" } as const;

/**
 * Builds what `spec` asks for, unless it is there. Nothing is seen of an unfinished build, and what
 * an interrupted one left is removed by the next. Throws `E_NO_NETWORK`, `E_PACKAGE_UNKNOWN`,
 * `E_DISK_FULL`, `E_CACHE_UNWRITABLE`, `E_TOOL_MISSING`, `E_APT`, `E_IMAGE_TOO_SMALL`.
 */
export async function buildImage(
  spec: ImageSpec,
  onProgress: OnImageProgress = () => {},
): Promise<BuildResult> {
  const key = await specKey(spec);
  const present = await presentImage(spec.name, key);
  if (present !== undefined) return { image: present, reused: true };
  const onWait = () =>
    onProgress({ phase: "wait", message: `another process is building image ${spec.name}` });
  return await withImageLock(
    spec.name,
    async () => {
      const made = await presentImage(spec.name, key);
      if (made !== undefined) return { image: made, reused: true };
      await removeWork(spec.name);
      const work = await workDirectory(spec.name);
      try {
        await build(spec, key, work, onProgress);
      } catch (error) {
        throw filesystemError(error, `cannot build image ${spec.name}`);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
      return { image: await resolveImage(spec.name), reused: false };
    },
    onWait,
  );
}

/** The image, if it has this key and is whole; a damaged one is built again. */
async function presentImage(name: string, key: string): Promise<ResolvedImage | undefined> {
  try {
    if ((await readManifest(name)).specKey !== key) return undefined;
    return await resolveImage(name);
  } catch (error) {
    if (error instanceof CodedError) return undefined;
    throw error;
  }
}

async function build(
  spec: ImageSpec,
  key: string,
  work: string,
  onProgress: OnImageProgress,
): Promise<void> {
  const mke2fs = await requireHostTool("mke2fs", onProgress);
  const archive = new DebianArchive({ architecture: "riscv64" });
  const request = {
    packages: [KERNEL_PACKAGE, ...BASE_PACKAGES, ...spec.packages],
    provided: PROVIDED_PACKAGES,
  };
  const set = await archive.fetch(request, onProgress);
  const built = join(work, "image");
  const packagesDir = join(work, "packages");
  for (const directory of [built, packagesDir]) await mkdir(directory);
  await archive.unpackInto(set, packagesDir, onProgress);

  onProgress({ phase: "kernel", message: "kernel" });
  const kernelRelease = await findKernelRelease(packagesDir);
  const kernelFile = await readFile(join(packagesDir, "boot", `vmlinux-${kernelRelease}`));
  await writeFile(join(built, FILES.kernel), flatKernelImage(kernelFile));

  onProgress({ phase: "initrd", message: "initramfs" });
  const modulesDir = join(packagesDir, "usr/lib/modules", kernelRelease);
  const bootModules = await loadModules(modulesDir, BOOT_MODULES);
  const busybox = await readFile(join(packagesDir, "usr/bin/busybox"));
  await writeFile(join(built, FILES.initrd), await makeInitramfs(busybox, bootModules));

  onProgress({ phase: "disk", message: `root file system, ${set.files.length} packages` });
  const modules = await loadModules(modulesDir, [...BOOT_MODULES, ...ROOT_MODULES]);
  const tar = Readable.from(rootTar({ packagesDir, kernelRelease, modules }), {
    objectMode: false,
  });
  await makeDisk({ mke2fs, tar, path: join(built, FILES.disk), sizeBytes: spec.diskBytes });

  onProgress({ phase: "hash", message: "hashes" });
  const manifest = await describeImage(spec, { key, built, set, kernelRelease });
  for (const file of Object.values(FILES)) await chmod(join(built, file), 0o444);
  await publishImage(manifest, built);
}

async function findKernelRelease(packagesDir: string): Promise<string> {
  const releases = await readdir(join(packagesDir, "usr/lib/modules"));
  const [release] = releases;
  if (release !== undefined && releases.length === 1) return release;
  throw new CodedError("E_APT", `want one kernel, have ${releases.length}`, {
    hint: "do not add kernel packages: each image has Debian's current kernel",
  });
}

/** What the initramfs calls busybox as. */
const INITRAMFS_APPLETS = ["sh", "insmod", "mount", "sleep", "switch_root"];

async function makeInitramfs(
  busybox: Uint8Array,
  modules: readonly KernelModule[],
): Promise<Uint8Array> {
  const order = modules.map((each) => `${each.name}.ko\n`).join("");
  const entries: CpioEntry[] = [
    ...["bin", "dev", "modules", "proc", "root", "sys"].map(
      (path) => ({ kind: "directory", path }) as const,
    ),
    { kind: "character-device", path: "dev/console", major: 5, minor: 1 },
    { kind: "file", path: "bin/busybox", content: busybox, executable: true },
    ...INITRAMFS_APPLETS.map(
      (name) => ({ kind: "symlink", path: `bin/${name}`, target: "busybox" }) as const,
    ),
    { kind: "file", path: "modules/order", content: Buffer.from(order) },
    ...modules.map(
      ({ name, content }) => ({ kind: "file", path: `modules/${name}.ko`, content }) as const,
    ),
    ...(await guestFiles("initramfs")).map((each) => ({ kind: "file", ...each }) as const),
  ];
  return makeCpio(entries);
}

interface DiskJob {
  readonly mke2fs: string;
  readonly tar: Readable;
  readonly path: string;
  readonly sizeBytes: number;
}

/**
 * No checksums in the metadata: whoever stores the disk checks it, and the guest has no instruction
 * for them. Nothing is left for the kernel to initialise, for it would do so on every first boot.
 */
async function makeDisk({ mke2fs, tar, path, sizeBytes }: DiskJob): Promise<void> {
  const features = "^metadata_csum,^orphan_file,^resize_inode";
  const seeded = `hash_seed=${DISK_UUID},root_owner=0:0`;
  const options = [
    `-q -F -t ext4 -b 4096 -m 0 -L dejavm -U ${DISK_UUID} -J size=16 -O ${features}`,
    `-E ${seeded},lazy_itable_init=0,lazy_journal_init=0 -d -`,
  ];
  const result = await runProcess(
    mke2fs,
    [...options.join(" ").split(" "), path, `${Math.floor(sizeBytes / 1024)}k`],
    { input: tar, env: { SOURCE_DATE_EPOCH: `${IMAGE_EPOCH_SECONDS}` } },
  );
  if (result.exitCode === 0) return;
  const detail = lastLine(result.stderr);
  if (/no space left|disk quota/i.test(result.stderr)) throw diskFullError("cannot write the disk");
  if (/could not allocate|no free space|allocate block/i.test(result.stderr)) {
    throw new CodedError("E_IMAGE_TOO_SMALL", `the packages do not fit: ${detail}`, {
      hint: "ask for a larger disk",
    });
  }
  throw new CodedError("E_TOOL_MISSING", `mke2fs failed: ${detail}`);
}

interface BuiltParts {
  readonly key: string;
  readonly built: string;
  readonly set: PackageSet;
  readonly kernelRelease: string;
}

async function describeImage(spec: ImageSpec, parts: BuiltParts): Promise<ImageManifest> {
  const { key, built, set, kernelRelease } = parts;
  return {
    format: MANIFEST_FORMAT,
    name: spec.name,
    specKey: key,
    packages: spec.packages,
    suite: DEBIAN_SUITE,
    kernelRelease,
    commandLine: COMMAND_LINE,
    kernel: await describeFile(built, FILES.kernel),
    initrd: await describeFile(built, FILES.initrd),
    disk: await describeFile(built, FILES.disk),
    contents: set.files.map(({ package: name, version, sha256 }) => ({
      package: name,
      version,
      sha256,
    })),
  };
}
