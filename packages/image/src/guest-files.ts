/** The guest's own files, kept as they are in `packages/image/guest`. */
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { EXEC_PROTOCOL_VERSION, encodeExecMessage } from "./exec-protocol.ts";

/** One file for the guest; the path is relative to the root it goes to. */
export interface GuestFile {
  readonly path: string;
  readonly content: Uint8Array;
  readonly executable: boolean;
}

/** Below both `src` and `dist`'s parent. */
const GUEST_DIR = join(import.meta.dirname, "..", "guest");

/** The files for the initramfs or for the root file system, sorted by path. */
export async function guestFiles(part: "initramfs" | "root"): Promise<GuestFile[]> {
  const base = join(GUEST_DIR, part);
  const files: GuestFile[] = [];
  for (const entry of await readdir(base, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const text = (await readFile(path, "utf8")).replace("HELLO_FRAME", unaskedHello());
    const executable = text.startsWith("#!");
    files.push({ path: relative(base, path), content: Buffer.from(text), executable });
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The agent's first frame as the octal escapes of printf(1). */
function unaskedHello(): string {
  const frame = encodeExecMessage({ type: "hello", version: EXEC_PROTOCOL_VERSION, nonce: 0 });
  return [...frame].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
}
