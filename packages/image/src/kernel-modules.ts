/** The kernel modules that an image carries: found, unpacked, stripped, put into loading order. */
import { readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { CodedError } from "@dejavm/base";
import { lastLine, requireHostTool, runProcess } from "@dejavm/debian";
import { stripModule } from "./strip-module.ts";

/** A module, unpacked and stripped. */
export interface KernelModule {
  /** With underscores, as the kernel writes it. */
  readonly name: string;
  /** Relative to the modules directory: `kernel/drivers/.../NAME.ko`. */
  readonly path: string;
  readonly content: Uint8Array;
  readonly dependsOn: readonly string[];
}

/** What the root file system needs before it can be mounted. */
export const BOOT_MODULES = ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"] as const;

/** What may be loaded later, besides the boot modules. */
export const ROOT_MODULES = [
  "virtio_net",
  "virtio_rng",
  "virtio_balloon",
  "virtio_input",
  "evdev",
  "9pnet_virtio",
  "9p",
  "overlay",
  "loop",
  "tun",
] as const;

/**
 * Unpacks `names` and all they depend on, each after its dependencies. `modulesDir` is
 * `usr/lib/modules/RELEASE` of the unpacked kernel package; needs `xz`. Throws `E_APT` if the
 * kernel package has no such module.
 */
export async function loadModules(
  modulesDir: string,
  names: readonly string[],
): Promise<KernelModule[]> {
  const paths = new Map<string, string>();
  for (const path of await readdir(modulesDir, { recursive: true })) {
    const match = /([^/]+)\.ko(\.xz)?$/.exec(path);
    if (match !== null) paths.set(moduleName(match[1] ?? ""), path);
  }
  const loaded = new Map<string, KernelModule>();
  const load = async (name: string): Promise<void> => {
    if (loaded.has(name)) return;
    const path = paths.get(name);
    if (path === undefined) {
      throw new CodedError("E_APT", `the kernel package has no module ${name}`, {
        hint: "report this: Debian's kernel has changed",
      });
    }
    const content = stripModule(await readModule(join(modulesDir, path)));
    const dependsOn = moduleDependencies(content);
    for (const each of dependsOn) await load(each);
    loaded.set(name, { name, path: path.replace(/\.xz$/, ""), content, dependsOn });
  };
  for (const name of names) await load(name);
  return [...loaded.values()];
}

/** `modules.dep` (modprobe reads it): each module with all it needs, the nearest first. */
export function modulesDep(modules: readonly KernelModule[]): string {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const closure = (module: KernelModule): string[] =>
    module.dependsOn.flatMap((name) => {
      const found = byName.get(name);
      return found === undefined ? [] : [found.path, ...closure(found)];
    });
  const lines = modules.map((each) => [`${each.path}:`, ...new Set(closure(each))].join(" "));
  return `${lines.join("\n")}\n`;
}

/** The `depends=` of a module's .modinfo section. */
export function moduleDependencies(content: Uint8Array): string[] {
  const text = Buffer.from(content.buffer, content.byteOffset, content.length).toString("latin1");
  const depends = /depends=([\w,-]*)\0/.exec(text)?.[1] ?? "";
  return depends === "" ? [] : depends.split(",").map(moduleName);
}

function moduleName(name: string): string {
  return basename(name).replaceAll("-", "_");
}

async function readModule(path: string): Promise<Uint8Array> {
  if (!path.endsWith(".xz")) return await readFile(path);
  const xz = await requireHostTool("xz");
  const unpacked = path.slice(0, -".xz".length);
  const result = await runProcess(xz, ["--decompress", "--keep", "--force", path]);
  if (result.exitCode !== 0) {
    throw new CodedError("E_APT", `cannot unpack ${path}: ${lastLine(result.stderr)}`);
  }
  const content = await readFile(unpacked);
  await rm(unpacked);
  return content;
}
