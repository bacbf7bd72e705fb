/** Where downloads, unpacked tools and images live: the XDG cache directory. */
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/**
 * The project's cache directory, `$XDG_CACHE_HOME/dejavm` or `~/.cache/dejavm` (XDG Base Directory
 * Specification; a relative `XDG_CACHE_HOME` is ignored, as it asks). Not created here.
 */
export function cacheDir(env: NodeJS.ProcessEnv = process.env): string {
  const base = env["XDG_CACHE_HOME"];
  if (base !== undefined && isAbsolute(base)) return join(base, "dejavm");
  return join(homedir(), ".cache", "dejavm");
}
