/** The public face of `@dejavm/debian`: Debian packages, and tools of the host made from them. */
export { cacheDir } from "./cache-dir.ts";
export { DEBIAN_SUITE, DebianArchive, type DebianArchiveOptions } from "./debian-archive.ts";
export { withFileLock } from "./file-lock.ts";
export { diskFullError, filesystemError, makeDirectory } from "./fs-errors.ts";
export { type HostTool, hostTool, requireHostTool } from "./host-tool.ts";
export type { HostToolName } from "./host-tool-recipes.ts";
export type {
  DebFile,
  DebianProgress,
  OnDebianProgress,
  PackageRequest,
  PackageSet,
} from "./package-set.ts";
export { checkPackageName } from "./package-set.ts";
export { lastLine, type RunOptions, type RunResult, runProcess } from "./run-process.ts";
