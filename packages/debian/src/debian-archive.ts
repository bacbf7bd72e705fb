/**
 * Sets of Debian packages in the cache: resolved and downloaded once, then found again
 * without touching the network.
 *
 *     DIRECTORY/SUITE-ARCHITECTURE/           a private apt
 *                                 /sets/KEY.json   the exact files that answer request KEY
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import {
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { CodedError } from "@dejavm/base";
import { cacheDir } from "./cache-dir.ts";
import { withFileLock } from "./file-lock.ts";
import { diskFullError, filesystemError } from "./fs-errors.ts";
import { hostMirror } from "./host-sources.ts";
import {
  checkPackageName,
  type DebFile,
  type OnDebianProgress,
  type PackageRequest,
  type PackageSet,
  requestKey,
} from "./package-set.ts";
import { PrivateApt } from "./private-apt.ts";
import { lastLine, runProcess } from "./run-process.ts";

/** The Debian release that images and tools are made from. */
export const DEBIAN_SUITE = "trixie";

/** Which archive, and where its cache is. */
export interface DebianArchiveOptions {
  /** A Debian architecture name: `riscv64`, `amd64`, ... */
  readonly architecture: string;
  /** Default: `DEBIAN_SUITE`. */
  readonly suite?: string;
  /** Default: `debian` in the project's cache directory. */
  readonly directory?: string;
}

/** The packages of one architecture of one Debian suite. Safe against other processes. */
export class DebianArchive {
  readonly architecture: string;
  readonly suite: string;
  readonly #directory: string;
  readonly #apt: PrivateApt;

  constructor(options: DebianArchiveOptions) {
    this.architecture = options.architecture;
    this.suite = options.suite ?? DEBIAN_SUITE;
    const root = options.directory ?? join(cacheDir(), "debian");
    this.#directory = join(root, `${this.suite}-${this.architecture}`);
    this.#apt = new PrivateApt({
      directory: this.#directory,
      architecture: this.architecture,
      suite: this.suite,
    });
  }

  /** The path of a file of a set. */
  filePath(file: DebFile): string {
    return join(this.#apt.archiveDir, file.fileName);
  }

  /**
   * Resolves and downloads; a request answered before is answered from the cache alone. Throws
   * `E_PACKAGE_UNKNOWN`, `E_NO_NETWORK`, `E_DISK_FULL`, `E_CACHE_UNWRITABLE`, `E_TOOL_MISSING`,
   * `E_APT`.
   */
  async fetch(request: PackageRequest, onProgress: OnDebianProgress): Promise<PackageSet> {
    for (const name of request.packages) checkPackageName(name);
    const key = requestKey(this.suite, this.architecture, request);
    const cached = await this.#cachedSet(key);
    if (cached !== undefined) return cached;
    return await this.#locked(onProgress, async () => {
      const made = await this.#cachedSet(key);
      return made ?? (await this.#fetchSet(key, request, onProgress));
    });
  }

  /** Unpacks a set into a directory that exists and merges `/bin`, `/sbin`, `/lib` into `/usr`. */
  async unpackInto(
    set: PackageSet,
    directory: string,
    onProgress: OnDebianProgress,
  ): Promise<void> {
    for (const [index, file] of set.files.entries()) {
      onProgress({
        phase: "unpack",
        name: file.package,
        package: index + 1,
        packageCount: set.files.length,
      });
      const result = await runProcess("dpkg-deb", ["-x", this.filePath(file), directory]);
      if (result.exitCode === 0) continue;
      const what = `cannot unpack ${file.fileName}`;
      if (/no space left|quota exceeded/i.test(result.stderr)) throw diskFullError(what);
      throw new CodedError("E_APT", `${what}: ${lastLine(result.stderr)}`, {
        hint: `remove ${this.filePath(file)} and try again`,
      });
    }
    await mergeUsr(directory);
  }

  async #fetchSet(
    key: string,
    request: PackageRequest,
    onProgress: OnDebianProgress,
  ): Promise<PackageSet> {
    let files: DebFile[];
    try {
      await this.#apt.prepare("cached-lists", onProgress);
      files = await this.#apt.resolve(request);
      await this.#apt.download(request, files, onProgress);
    } catch (error) {
      // Lists of yesterday may name files that the mirror has replaced since.
      if (!(error instanceof CodedError) || error.code !== "E_APT") throw error;
      await this.#apt.prepare("fresh-lists", onProgress);
      files = await this.#apt.resolve(request);
      await this.#apt.download(request, files, onProgress);
    }
    for (const file of files) await this.#verify(file);
    const { suite, architecture } = this;
    const set: PackageSet = { key, suite, architecture, mirror: await hostMirror(), files };
    await this.#saveSet(set);
    return set;
  }

  async #verify(file: DebFile): Promise<void> {
    const path = this.filePath(file);
    const digest = createHash("sha256");
    await pipeline(createReadStream(path), digest);
    if (digest.digest("hex") === file.sha256) return;
    await rm(path, { force: true });
    throw new CodedError("E_APT", `${file.fileName} is not what the package index says`, {
      hint: "try again: the damaged download was removed",
    });
  }

  async #cachedSet(key: string): Promise<PackageSet | undefined> {
    const text = await readFile(this.#setPath(key), "utf8").catch(() => undefined);
    if (text === undefined) return undefined;
    const set = parsePackageSet(text);
    if (set === undefined || set.key !== key) return undefined;
    for (const file of set.files) {
      const found = await stat(this.filePath(file)).catch(() => undefined);
      if (found?.size !== file.sizeBytes) return undefined;
    }
    return set;
  }

  async #saveSet(set: PackageSet): Promise<void> {
    const path = this.#setPath(set.key);
    try {
      await mkdir(join(this.#directory, "sets"), { recursive: true });
      await writeFile(`${path}.tmp`, `${JSON.stringify(set, null, 2)}\n`);
      await rename(`${path}.tmp`, path);
    } catch (error) {
      await rm(`${path}.tmp`, { force: true });
      throw filesystemError(error, `cannot write ${path}`);
    }
  }

  #setPath(key: string): string {
    return join(this.#directory, "sets", `${key}.json`);
  }

  async #locked<Result>(
    onProgress: OnDebianProgress,
    body: () => Promise<Result>,
  ): Promise<Result> {
    const path = join(this.#directory, "lock");
    return await withFileLock(path, body, () =>
      onProgress({ phase: "wait", message: `another process is using ${this.#directory}` }),
    );
  }
}

/** Reads a set file; undefined for one that another version or a crash left in another shape. */
export function parsePackageSet(text: string): PackageSet | undefined {
  try {
    const set = JSON.parse(text) as PackageSet;
    const isText = (value: unknown) => typeof value === "string";
    const whole =
      [set.key, set.suite, set.architecture, set.mirror].every(isText) &&
      set.files.every(
        (file) =>
          [file.package, file.version, file.architecture, file.sha256].every(isText) &&
          isText(file.fileName) &&
          !file.fileName.includes("/") &&
          Number.isSafeInteger(file.sizeBytes),
      );
    return whole ? set : undefined;
  } catch {
    return undefined;
  }
}

/** Debian's merged /usr: what packages put beside /usr moves into it, with a link in its place. */
async function mergeUsr(directory: string): Promise<void> {
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    const path = join(directory, name);
    const inUsr = join(directory, "usr", name);
    const found = await lstat(path).catch(() => undefined);
    if (found?.isSymbolicLink() === true) continue;
    if (found !== undefined) {
      await cp(path, inUsr, {
        recursive: true,
        verbatimSymlinks: true,
        preserveTimestamps: true,
        force: true,
      });
      await rm(path, { recursive: true });
    }
    if (found === undefined && (await readdir(inUsr).catch(() => undefined)) === undefined)
      continue;
    await symlink(`usr/${name}`, path);
  }
}
