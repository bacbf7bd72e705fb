/**
 * The host's own apt sources (sources.list(5), one-line and deb822), read only to learn which
 * Debian mirror this host can reach.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** One repository line of the host's apt configuration. */
export interface AptSource {
  readonly types: readonly string[];
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** A keyring file, an embedded key or nothing. */
  readonly signedBy: string | undefined;
}

/** Used where the host has no Debian source of its own. */
export const DEFAULT_MIRROR = "http://deb.debian.org/debian";

/** Names the mirror, in place of what the host's apt says. */
const MIRROR_VARIABLE = "DEJAVM_DEBIAN_MIRROR";

/** The mirror of the main Debian archive that this host's apt uses, without a trailing slash. */
export async function hostMirror(
  aptDir = "/etc/apt",
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const named = env[MIRROR_VARIABLE];
  if (named !== undefined && named !== "") return named.replace(/\/+$/, "");
  return chooseMirror(await readHostSources(aptDir));
}

/** All sources below an apt directory; unreadable files are as good as absent ones. */
async function readHostSources(aptDir: string): Promise<AptSource[]> {
  const partsDir = join(aptDir, "sources.list.d");
  const names = await readdir(partsDir).catch((): string[] => []);
  const parts = names.toSorted().map((name) => join(partsDir, name));
  const sources: AptSource[] = [];
  for (const path of [join(aptDir, "sources.list"), ...parts]) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (path.endsWith(".sources")) sources.push(...parseDeb822(text));
    else if (path.endsWith(".list")) sources.push(...parseOneLine(text));
  }
  return sources;
}

/** The mirror of the first source that is the main Debian archive, else `DEFAULT_MIRROR`. */
export function chooseMirror(sources: readonly AptSource[]): string {
  for (const source of sources) {
    if (!source.types.includes("deb") || !source.components.includes("main")) continue;
    const isMain = source.suites.some((suite) => /^[a-z]+$/.test(suite));
    const uri = source.uris.find((each) => isDebianArchive(each, source.signedBy));
    if (isMain && uri !== undefined) return uri.replace(/\/+$/, "");
  }
  return DEFAULT_MIRROR;
}

function isDebianArchive(uri: string, signedBy: string | undefined): boolean {
  if (!/^(https?|file|tor\+https?|mirror\+\w+):/.test(uri)) return false;
  if (/debian-(security|debug|ports)|ubuntu|snapshot/.test(uri)) return false;
  if (signedBy?.includes("debian-archive-keyring") === true) return true;
  return signedBy === undefined && /\/debian\/*$/.test(uri);
}

/** Parses `deb [options] URI SUITE COMPONENT...` lines. */
export function parseOneLine(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)/.exec(line);
    if (match === null) continue;
    const [, type = "", options = "", uri = "", suite = "", components = ""] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    const words = components.split(/\s+/).filter((word) => word !== "");
    sources.push({ types: [type], uris: [uri], suites: [suite], components: words, signedBy });
  }
  return sources;
}

/** Parses deb822 stanzas; those with `Enabled: no` are left out. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const stanza of text.split(/\n[ \t]*\n/)) {
    const fields = parseStanza(stanza);
    const words = (name: string) => (fields.get(name) ?? "").split(/\s+/).filter((w) => w !== "");
    if (words("uris").length === 0 || /^(no|false|0|off)$/i.test(fields.get("enabled") ?? "")) {
      continue;
    }
    sources.push({
      types: words("types"),
      uris: words("uris"),
      suites: words("suites"),
      components: words("components"),
      signedBy: fields.get("signed-by"),
    });
  }
  return sources;
}

function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name = "";
  for (const line of stanza.split("\n")) {
    if (line.startsWith("#")) continue;
    const field = /^([A-Za-z][\w-]*)\s*:\s*(.*)$/.exec(line);
    if (field !== null) {
      name = (field[1] ?? "").toLowerCase();
      fields.set(name, (field[2] ?? "").trim());
    } else if (/^\s/.test(line) && name !== "") {
      fields.set(name, `${fields.get(name) ?? ""} ${line.trim()}`.trim());
    }
  }
  return fields;
}
