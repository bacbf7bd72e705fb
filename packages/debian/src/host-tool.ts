/**
 * Tools that the project runs on the host: from PATH where any version will do, else Debian
 * packages for the host's architecture unpacked into the cache, with their own libraries and
 * loader, so that neither root nor a matching Debian release is needed.
 *
 *     CACHE/tools/BUNDLE-KEY/tree/        the packages, programs patched to the tree's loader
 *                           /bin/NAME     what to run
 *                           /works-NAME   NAME has run once
 */
import { constants } from "node:fs";
import {
  access,
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { delimiter, join } from "node:path";
import { CodedError } from "@dejavm/base";
import { cacheDir } from "./cache-dir.ts";
import { DebianArchive } from "./debian-archive.ts";
import { setElfInterpreter } from "./elf-interpreter.ts";
import { withFileLock } from "./file-lock.ts";
import { filesystemError } from "./fs-errors.ts";
import {
  type HostToolName,
  TOOL_BUNDLES,
  TOOL_RECIPES,
  type ToolBundle,
  type ToolRecipe,
} from "./host-tool-recipes.ts";
import { type OnDebianProgress, requestKey } from "./package-set.ts";
import { lastLine, runProcess } from "./run-process.ts";

/** A tool ready to be run, or the reason why a test that needs it is skipped. */
export type HostTool =
  | { readonly kind: "ready"; readonly command: string }
  | { readonly kind: "skipped"; readonly reason: string };

interface HostArchitecture {
  readonly debian: string;
  readonly triplet: string;
  readonly loader: string;
}

const HOST_ARCHITECTURES: Readonly<Record<string, HostArchitecture>> = {
  x64: {
    debian: "amd64",
    triplet: "x86_64-linux-gnu",
    loader: "usr/lib64/ld-linux-x86-64.so.2",
  },
  arm64: {
    debian: "arm64",
    triplet: "aarch64-linux-gnu",
    loader: "usr/lib/ld-linux-aarch64.so.1",
  },
  riscv64: {
    debian: "riscv64",
    triplet: "riscv64-linux-gnu",
    loader: "usr/lib/ld-linux-riscv64-lp64d.so.1",
  },
};

/** Part of each bundle's key: raise it when bundles are laid out or patched in another way. */
const BUNDLE_FORMAT = "1";

/** Finds or fetches a tool; the second call is fast. Never throws for a tool that cannot be had. */
export async function hostTool(
  name: HostToolName,
  onProgress: OnDebianProgress = () => {},
): Promise<HostTool> {
  try {
    return { kind: "ready", command: await requireHostTool(name, onProgress) };
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return { kind: "skipped", reason: `no ${name}: ${error.message} (${error.code})` };
  }
}

/**
 * Like `hostTool`, for what cannot go on without it; returns the command. Throws what kept the tool
 * away: `E_NO_NETWORK`, `E_DISK_FULL`, `E_CACHE_UNWRITABLE`, `E_APT`, `E_TOOL_MISSING`.
 */
export async function requireHostTool(
  name: HostToolName,
  onProgress: OnDebianProgress = () => {},
): Promise<string> {
  const recipe = TOOL_RECIPES[name];
  const onPath = await findOnPath(recipe);
  if (onPath !== undefined) return onPath;
  try {
    return await toolFromCache(name, recipe, onProgress);
  } catch (error) {
    const installed = error instanceof CodedError ? await installOnHost(recipe) : undefined;
    if (installed === undefined) throw error;
    return installed;
  }
}

async function findOnPath(recipe: ToolRecipe): Promise<string | undefined> {
  const directories = (process.env["PATH"] ?? "").split(delimiter).filter((each) => each !== "");
  // mke2fs and its kin are in directories that a user's PATH may lack.
  directories.push("/usr/sbin", "/sbin");
  for (const name of recipe.onPath) {
    for (const directory of directories) {
      const path = join(directory, name);
      const runs = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (runs && (await stat(path)).isFile()) return path;
    }
  }
  return undefined;
}

async function toolFromCache(
  name: HostToolName,
  recipe: ToolRecipe,
  onProgress: OnDebianProgress,
): Promise<string> {
  const host = HOST_ARCHITECTURES[process.arch];
  if (host === undefined || process.platform !== "linux") {
    const here = `${process.platform} ${process.arch}`;
    throw new CodedError("E_TOOL_MISSING", `Debian has no packages for this host, ${here}`, {
      hint: "use a Linux host on x86-64, arm64 or riscv64",
    });
  }
  const archive = new DebianArchive({ architecture: host.debian });
  const bundle: ToolBundle = TOOL_BUNDLES[recipe.bundle];
  const recipes = JSON.stringify(bundleRecipes(bundle));
  const key = requestKey(`${archive.suite}/${BUNDLE_FORMAT}/${recipes}`, host.debian, bundle);
  const directory = join(cacheDir(), "tools", `${recipe.bundle}-${key}`);
  const command = join(directory, "bin", name);
  const works = join(directory, `works-${name}`);
  if ((await exists(works)) && (await exists(command))) return command;
  await withFileLock(
    join(cacheDir(), "tools", `${recipe.bundle}.lock`),
    async () => {
      if (!(await exists(directory))) {
        await installBundle({ archive, bundle, host, directory }, onProgress);
      }
      await probe(command, recipe);
      await writeFile(works, "");
    },
    () => onProgress({ phase: "wait", message: `another process is unpacking ${name}` }),
  );
  return command;
}

interface BundleJob {
  readonly archive: DebianArchive;
  readonly bundle: ToolBundle;
  readonly host: HostArchitecture;
  /** Where the bundle will be; loader paths and scripts name it, so it cannot move. */
  readonly directory: string;
}

async function installBundle(job: BundleJob, onProgress: OnDebianProgress): Promise<void> {
  const { archive, bundle, host, directory } = job;
  const set = await archive.fetch(bundle, onProgress);
  await removeLeftovers(directory);
  const temporary = await mkdtemp(`${directory}.tmp-`);
  try {
    const tree = join(temporary, "tree");
    await mkdir(tree);
    await archive.unpackInto(set, tree, onProgress);
    await patchPrograms(tree, join(directory, "tree", host.loader));
    const libraryPath = (await libraryDirs(tree, host))
      .map((each) => join(directory, "tree", each))
      .join(":");
    await mkdir(join(temporary, "bin"));
    for (const [name, recipe] of bundleRecipes(bundle)) {
      const script = wrapperScript(recipe, join(directory, "tree"), libraryPath);
      await writeFile(join(temporary, "bin", name), script);
      await chmod(join(temporary, "bin", name), 0o755);
    }
    await rename(temporary, directory);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw filesystemError(error, `cannot unpack into ${directory}`);
  }
}

function bundleRecipes(bundle: ToolBundle): [string, ToolRecipe][] {
  return Object.entries(TOOL_RECIPES).filter(
    ([, recipe]) => TOOL_BUNDLES[recipe.bundle] === bundle,
  );
}

/** Removes what killed installations left; the caller holds the bundle's lock. */
async function removeLeftovers(directory: string): Promise<void> {
  const parent = join(directory, "..");
  for (const name of await readdir(parent)) {
    const path = join(parent, name);
    if (path.startsWith(`${directory}.tmp-`)) await rm(path, { recursive: true, force: true });
  }
}

/** Gives every program of the tree the tree's own loader. */
async function patchPrograms(tree: string, loader: string): Promise<void> {
  for (const entry of await readdir(tree, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const { mode } = await lstat(path);
    // Some programs are not writable by their owner.
    if ((mode & 0o111) === 0) continue;
    if ((mode & 0o200) === 0) await chmod(path, mode | 0o200);
    await setElfInterpreter(path, loader);
  }
}

/** The directories with shared libraries, relative to the tree: Debian's own, and private ones. */
async function libraryDirs(tree: string, host: HostArchitecture): Promise<string[]> {
  const top = join("usr/lib", host.triplet);
  const dirs = [top];
  for (const entry of await readdir(join(tree, top), { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name === "gconv") continue;
    const names = await readdir(join(tree, top, entry.name));
    if (names.some((name) => /^lib.+\.so/.test(name))) dirs.push(join(top, entry.name));
  }
  return dirs;
}

function wrapperScript(recipe: ToolRecipe, tree: string, libraryPath: string): string {
  const quote = (text: string) => `'${text.replaceAll("TREE", tree).replaceAll("'", "'\\''")}'`;
  const env = { LD_LIBRARY_PATH: libraryPath, ...recipe.env };
  const exports = Object.entries(env).map(([name, value]) => `export ${name}=${quote(value)}\n`);
  const words = [join(tree, recipe.program), ...(recipe.args ?? [])].map(quote).join(" ");
  return `#!/bin/sh\n${exports.join("")}exec ${words} "$@"\n`;
}

async function probe(command: string, recipe: ToolRecipe): Promise<void> {
  const result = await runProcess(command, recipe.probe);
  if (result.exitCode === 0) return;
  const detail = lastLine(result.stderr);
  throw new CodedError("E_TOOL_MISSING", `Debian's ${recipe.program} does not run: ${detail}`, {
    hint: `install ${TOOL_BUNDLES[recipe.bundle].packages.join(" ")} on this host`,
  });
}

/** Last resort, and only for root: the host's own packages. */
async function installOnHost(recipe: ToolRecipe): Promise<string | undefined> {
  if (recipe.onPath.length === 0 || process.getuid?.() !== 0) return undefined;
  const { packages } = TOOL_BUNDLES[recipe.bundle];
  const result = await runProcess(
    "apt-get",
    ["install", "--yes", "--no-install-recommends", "--", ...packages],
    { env: { DEBIAN_FRONTEND: "noninteractive" } },
  ).catch(() => undefined);
  if (result?.exitCode !== 0) return undefined;
  return await findOnPath(recipe);
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}
