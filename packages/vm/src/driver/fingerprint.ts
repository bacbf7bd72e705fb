/**
 * sha256 of disk images, remembered by the file's identity (device, inode, size, time of change),
 * because hashing gigabytes for every snapshot would be felt.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileError } from "../host-errors.ts";

/** Remembered files; the oldest go first. */
const MAX_REMEMBERED = 1000;

/** Throws E_FILE_* where the file cannot be read. */
export async function fingerprint(path: string, cacheFile = defaultCache()): Promise<Uint8Array> {
  try {
    const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
    const key = `${dev}:${ino}:${size}:${mtimeNs}`;
    const known = await readCache(cacheFile);
    const found = known[key];
    if (found !== undefined) return Buffer.from(found, "hex");
    const hash = createHash("sha256");
    await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
    const sha256 = hash.digest();
    await writeCache(cacheFile, { ...known, [key]: sha256.toString("hex") });
    return sha256;
  } catch (error) {
    throw fileError(`read the disk image ${path}`, error);
  }
}

function defaultCache(): string {
  const base = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(base, "dejavm", "fingerprints.json");
}

/** What is not there or not as it should be counts as empty: it is only a cache. */
async function readCache(path: string): Promise<Readonly<Record<string, string>>> {
  try {
    const parsed: unknown = JSON.parse(await readFile(path, "utf8"));
    if (typeof parsed !== "object" || parsed === null) return {};
    const valid = Object.entries(parsed).filter((entry): entry is [string, string] => {
      return typeof entry[1] === "string" && /^[0-9a-f]{64}$/.test(entry[1]);
    });
    return Object.fromEntries(valid);
  } catch {
    return {};
  }
}

async function writeCache(path: string, entries: Record<string, string>): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    const partial = `${path}.${randomUUID()}`;
    const kept = Object.fromEntries(Object.entries(entries).slice(-MAX_REMEMBERED));
    await writeFile(partial, JSON.stringify(kept));
    await rename(partial, path);
  } catch {
    // Next time it is computed again.
  }
}
