/**
 * Writes tar archives in the ustar format (POSIX.1-1988), with GNU's long names: the form in which
 * mke2fs takes owners and modes that the builder, who is not root, cannot give to real files.
 */

/** One member. Paths are relative, without a leading slash; times in seconds since 1970. */
export interface TarEntry {
  readonly kind: "file" | "directory" | "symlink";
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedSeconds: number;
  /** The content of a file; the target of a link in UTF-8; else empty. */
  readonly content: Uint8Array;
}

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
const TYPE_FLAGS = { file: "0", directory: "5", symlink: "2" } as const;

/** One member with its padding. */
export function tarMember(entry: TarEntry): Uint8Array {
  const isLink = entry.kind === "symlink";
  const path = Buffer.from(entry.kind === "directory" ? `${entry.path}/` : entry.path);
  const target = isLink ? entry.content : new Uint8Array(0);
  const content = isLink ? new Uint8Array(0) : entry.content;
  return Buffer.concat([
    ...longName("L", path),
    ...longName("K", target),
    header({ ...entry, path, target, size: content.length, flag: TYPE_FLAGS[entry.kind] }),
    content,
    padding(content.length),
  ]);
}

/** What follows the last member. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK_BYTES);
}

/** GNU's member that carries the next member's name (`L`) or link target (`K`). */
function longName(flag: "L" | "K", text: Uint8Array): Uint8Array[] {
  if (text.length <= NAME_BYTES) return [];
  const content = Buffer.concat([text, new Uint8Array(1)]);
  const fields = { mode: 0o644, uid: 0, gid: 0, modifiedSeconds: 0, target: new Uint8Array(0) };
  const path = Buffer.from("././@LongLink");
  return [
    header({ ...fields, path, size: content.length, flag }),
    content,
    padding(content.length),
  ];
}

interface HeaderFields {
  readonly path: Uint8Array;
  readonly target: Uint8Array;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly modifiedSeconds: number;
  readonly flag: string;
}

function header(fields: HeaderFields): Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, length: number) =>
    block.write(value.toString(8).padStart(length - 1, "0"), at);
  block.set(fields.path.subarray(0, NAME_BYTES), 0);
  octal(fields.mode, 100, 8);
  octal(fields.uid, 108, 8);
  octal(fields.gid, 116, 8);
  octal(fields.size, 124, 12);
  octal(fields.modifiedSeconds, 136, 12);
  block.write("        ", 148);
  block.write(fields.flag, 156);
  block.set(fields.target.subarray(0, NAME_BYTES), 157);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

function padding(length: number): Uint8Array {
  return new Uint8Array((BLOCK_BYTES - (length % BLOCK_BYTES)) % BLOCK_BYTES);
}
