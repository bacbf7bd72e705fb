/**
 * The images in the cache.
 *
 *     CACHE/images/NAME/{kernel,initrd,disk.ext4,manifest.json,checked.json}
 *                 /.locks/NAME       held while NAME is built or removed
 *                 /.work-NAME-XXXXXX  a build under way, or what a killed one left
 *
 * A directory NAME is complete when it exists: builds are renamed into place.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { CodedError } from "@dejavm/base";
import { cacheDir, filesystemError, makeDirectory, withFileLock } from "@dejavm/debian";
import { type ImageFile, type ImageManifest, parseManifest } from "./image-manifest.ts";
import { checkImageName, DEFAULT_IMAGE } from "./image-spec.ts";

/** An image ready to be run: absolute paths of its files. */
export interface ResolvedImage {
  readonly name: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
  readonly manifest: ImageManifest;
}

/** A line of `listImages`. */
export type ListedImage =
  | {
      readonly name: string;
      readonly manifest: ImageManifest;
      /** What its files take on the host's disk. */
      readonly storedBytes: number;
    }
  | { readonly name: string; readonly problem: string };

/** Which parts have been hashed, and how they looked then. */
type CheckedFiles = Readonly<Record<string, { readonly size: string; readonly mtimeNs: string }>>;

/** Where images are; `root` is a parameter for tests. */
export function imagesDir(): string {
  return join(cacheDir(), "images");
}

/**
 * Finds an image and makes sure of its files: by their hashes, or by size and time of change if
 * these are as they were when the hashes were last taken. Throws `E_IMAGE_UNKNOWN`,
 * `E_IMAGE_NAME`, `E_IMAGE_CORRUPT`.
 */
export async function resolveImage(name: string = DEFAULT_IMAGE): Promise<ResolvedImage> {
  checkImageName(name);
  const directory = join(imagesDir(), name);
  const manifest = await readManifest(name);
  const checked = await readChecked(directory);
  const parts = [manifest.kernel, manifest.initrd, manifest.disk];
  let unchanged = true;
  for (const part of parts) {
    const path = join(directory, part.file);
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (found === undefined) throw corruptError(name, `${part.file} is missing`);
    if (found.size !== BigInt(part.sizeBytes)) {
      throw corruptError(name, `${part.file} has ${found.size} bytes, not ${part.sizeBytes}`);
    }
    const seen = checked[part.file];
    if (seen?.size === `${found.size}` && seen.mtimeNs === `${found.mtimeNs}`) continue;
    unchanged = false;
    if ((await sha256OfFile(path)) !== part.sha256) {
      throw corruptError(name, `${part.file} has changed since it was built`);
    }
  }
  // Only a memory of the work done: where it cannot be written the next call works again.
  if (!unchanged) await markChecked(directory, parts).catch(() => {});
  return {
    name,
    kernel: join(directory, manifest.kernel.file),
    initrd: join(directory, manifest.initrd.file),
    disk: join(directory, manifest.disk.file),
    manifest,
  };
}

/** The manifest of an image. Throws `E_IMAGE_UNKNOWN` or `E_IMAGE_CORRUPT`. */
export async function readManifest(name: string): Promise<ImageManifest> {
  const path = join(imagesDir(), name, "manifest.json");
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    throw new CodedError("E_IMAGE_UNKNOWN", `there is no image ${name}`, {
      hint: "see `dejavm image ls`, or make it with `dejavm image build`",
    });
  });
  return parseManifest(name, text);
}

/** All images, sorted by name; damaged ones with what is wrong with them. */
export async function listImages(): Promise<ListedImage[]> {
  const names = await readdir(imagesDir()).catch(() => []);
  const listed: ListedImage[] = [];
  for (const name of names.filter((each) => !each.startsWith(".")).sort()) {
    try {
      const manifest = await readManifest(name);
      listed.push({ name, manifest, storedBytes: await storedBytes(join(imagesDir(), name)) });
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      listed.push({ name, problem: `${error.message} (${error.code})` });
    }
  }
  return listed;
}

/** The path of an image's file with this sha256, in hex; undefined: no whole image has one. */
export async function findImageFile(sha256: string): Promise<string | undefined> {
  for (const listed of await listImages()) {
    if (!("manifest" in listed)) continue;
    const { kernel, initrd, disk } = listed.manifest;
    const file = [kernel, initrd, disk].find((part) => part.sha256 === sha256)?.file;
    const image = file === undefined ? undefined : await resolveImage(listed.name).catch(ignoreBad);
    if (file !== undefined && image !== undefined) return join(imagesDir(), image.name, file);
  }
  return undefined;
}

/** An image that is damaged, or was removed meanwhile. */
function ignoreBad(error: unknown): undefined {
  if (!(error instanceof CodedError)) throw error;
  return undefined;
}

/** Removes an image; machines that run from it keep its open files. Throws `E_IMAGE_UNKNOWN`. */
export async function removeImage(name: string): Promise<void> {
  checkImageName(name);
  const directory = join(imagesDir(), name);
  const found = await stat(directory).catch(() => undefined);
  if (found === undefined) await readManifest(name);
  await withImageLock(name, async () => {
    await removeWork(name);
    const doomed = await workDirectory(name);
    await rename(directory, join(doomed, "old")).catch(() => {});
    await rm(doomed, { recursive: true, force: true });
  });
}

/** One build or removal of an image at a time; `onWait` is called if another one is at it. */
export async function withImageLock<Result>(
  name: string,
  body: () => Promise<Result>,
  onWait?: () => void,
): Promise<Result> {
  return await withFileLock(join(imagesDir(), ".locks", name), body, onWait);
}

/** A fresh directory beside the images, for a build. The caller holds the lock. */
export async function workDirectory(name: string): Promise<string> {
  await makeDirectory(imagesDir());
  return await mkdtemp(join(imagesDir(), `.work-${name}-`));
}

/** Removes what killed builds of this image left. The caller holds the lock. */
export async function removeWork(name: string): Promise<void> {
  for (const each of await readdir(imagesDir()).catch(() => [])) {
    // The six characters that mkdtemp adds: another image's name may begin like this one's.
    if (each.startsWith(`.work-${name}-`) && each.length === `.work-${name}-`.length + 6) {
      await rm(join(imagesDir(), each), { recursive: true, force: true });
    }
  }
}

/** Puts a finished build in the place of the image. The caller holds the lock. */
export async function publishImage(manifest: ImageManifest, built: string): Promise<void> {
  const directory = join(imagesDir(), manifest.name);
  await writeFile(join(built, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  await markChecked(built, [manifest.kernel, manifest.initrd, manifest.disk]);
  const doomed = await workDirectory(manifest.name);
  try {
    await rename(directory, join(doomed, "old")).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    await rename(built, directory);
  } finally {
    await rm(doomed, { recursive: true, force: true });
  }
}

/** Hashes a file of an image as its manifest wants it. */
export async function describeFile(directory: string, file: string): Promise<ImageFile> {
  const path = join(directory, file);
  const { size } = await stat(path);
  return { file, sizeBytes: size, sha256: await sha256OfFile(path) };
}

async function sha256OfFile(path: string): Promise<string> {
  const digest = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), digest);
  return digest.digest("hex");
}

async function markChecked(directory: string, files: readonly ImageFile[]): Promise<void> {
  const checked: Record<string, { size: string; mtimeNs: string }> = {};
  for (const { file } of files) {
    const found = await stat(join(directory, file), { bigint: true });
    checked[file] = { size: `${found.size}`, mtimeNs: `${found.mtimeNs}` };
  }
  const path = join(directory, "checked.json");
  await writeFile(`${path}.tmp`, JSON.stringify(checked));
  await rename(`${path}.tmp`, path).catch((error: unknown) => {
    throw filesystemError(error, `cannot write ${path}`);
  });
}

async function readChecked(directory: string): Promise<CheckedFiles> {
  try {
    const value: unknown = JSON.parse(await readFile(join(directory, "checked.json"), "utf8"));
    return typeof value === "object" && value !== null ? (value as CheckedFiles) : {};
  } catch {
    return {};
  }
}

async function storedBytes(directory: string): Promise<number> {
  let total = 0;
  for (const name of await readdir(directory)) {
    const { blocks } = await stat(join(directory, name));
    total += blocks * 512;
  }
  return total;
}

function corruptError(name: string, detail: string): CodedError<"E_IMAGE_CORRUPT"> {
  return new CodedError("E_IMAGE_CORRUPT", `cannot use image ${name}: ${detail}`, {
    hint: `build it again: dejavm image rm ${name}, then dejavm image build`,
  });
}
