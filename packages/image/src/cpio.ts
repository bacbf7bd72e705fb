/**
 * Writes initramfs archives in the "newc" cpio format (Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst). Reproducible: inode numbers count
 * up, times are zero, all belongs to root.
 */

/** One member of an initramfs. Paths are relative, without a leading slash. */
export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly content: Uint8Array;
      readonly executable?: boolean;
    }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | {
      readonly kind: "character-device";
      readonly path: string;
      readonly major: number;
      readonly minor: number;
    };

const MAGIC = "070701";
const ALIGNMENT = 4;

/** Makes the archive, uncompressed: the kernel then only copies, and boots sooner. */
export function makeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => parts.push(...member(entry, index + 1)));
  parts.push(...record({ path: "TRAILER!!!", inode: 0, mode: 0, content: new Uint8Array(0) }));
  return Buffer.concat(parts);
}

interface CpioRecord {
  readonly path: string;
  readonly inode: number;
  readonly mode: number;
  readonly content: Uint8Array;
  readonly device?: readonly [number, number];
}

function member(entry: CpioEntry, inode: number): Uint8Array[] {
  const { path } = entry;
  const content = new Uint8Array(0);
  switch (entry.kind) {
    case "directory":
      return record({ path, inode, mode: 0o040755, content });
    case "file": {
      const mode = entry.executable === true ? 0o100755 : 0o100644;
      return record({ path, inode, mode, content: entry.content });
    }
    case "symlink":
      return record({ path, inode, mode: 0o120777, content: Buffer.from(entry.target) });
    case "character-device": {
      const device = [entry.major, entry.minor] as const;
      return record({ path, inode, mode: 0o020600, content, device });
    }
  }
}

function record(fields: CpioRecord): Uint8Array[] {
  const name = Buffer.from(`${fields.path}\0`);
  const [major, minor] = fields.device ?? [0, 0];
  const isDirectory = (fields.mode & 0o170000) === 0o040000;
  const numbers = [
    fields.inode,
    fields.mode,
    0, // uid
    0, // gid
    isDirectory ? 2 : 1, // links
    0, // modification time
    fields.content.length,
    0, // device that holds the member
    0,
    major,
    minor,
    name.length,
    0, // checksum: unused in this format
  ];
  const header = MAGIC + numbers.map((n) => n.toString(16).padStart(8, "0")).join("");
  const head = Buffer.concat([Buffer.from(header), name]);
  return [head, padding(head.length), fields.content, padding(fields.content.length)];
}

function padding(length: number): Uint8Array {
  return new Uint8Array((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}
