/** What a busybox program can be called as. */
import { CodedError } from "@dejavm/base";

/** Fewer would mean that something else was found. */
const MIN_APPLETS = 150;

/**
 * The applet names in a busybox binary, read from its name table: a guest's program cannot be run
 * here to ask it. Throws `E_APT` if there is no such table.
 */
export function busyboxApplets(binary: Uint8Array): string[] {
  const bytes = Buffer.from(binary.buffer, binary.byteOffset, binary.length);
  const start = bytes.indexOf("[\0[[\0");
  const names: string[] = [];
  for (let at = start; at >= 0; ) {
    const end = bytes.indexOf(0, at);
    const name = bytes.toString("latin1", at, end);
    if (end < 0 || !/^[\w[.+-]{1,32}$/.test(name)) break;
    // The table is sorted; what follows it is not part of it.
    if (names.length > 0 && name <= (names.at(-1) ?? "")) break;
    names.push(name);
    at = end + 1;
  }
  if (names.length >= MIN_APPLETS && names.includes("sh") && names.includes("init")) return names;
  throw new CodedError("E_APT", "cannot find the applet names in Debian's busybox", {
    hint: "report this: Debian's busybox has changed",
  });
}
