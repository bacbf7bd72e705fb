/**
 * Writes flattened device trees (Devicetree Specification 0.4, chapter 5), version 17:
 *
 *     header (40 bytes) | memory reservations | structure block | strings block
 */
import { assert, ByteWriter } from "@dejavm/base";
import { utf8 } from "./text.ts";

const MAGIC = 0xd00d_feed;
const VERSION = 17;
const LAST_COMPATIBLE_VERSION = 16;
const HEADER_BYTES = 40;
/** The terminating entry of an empty reservation list: two 64-bit zeros. */
const RESERVATIONS_BYTES = 16;

/** A whole tree of a machine fits in with room to spare. */
const INITIAL_BYTES = 16_384;

const TOKEN_BEGIN_NODE = 1;
const TOKEN_END_NODE = 2;
const TOKEN_PROP = 3;
const TOKEN_END = 9;

/**
 * A property's value: `null` is an empty one, a string or strings are NUL-terminated, numbers are
 * 32-bit cells, bigints 64-bit pairs of cells, bytes are taken as they are.
 */
export type FdtValue =
  | null
  | string
  | readonly string[]
  | number
  | readonly (number | bigint)[]
  | Uint8Array;

/** A node; properties and children are written in the order given. */
export interface FdtNode {
  /** Empty for the root, else `name` or `name@unit-address`. */
  readonly name: string;
  readonly properties: { readonly [name: string]: FdtValue };
  readonly children?: readonly FdtNode[];
}

/** The blob for `root`; `bootCpu` is the physical id of the boot hart. */
export function writeFdt(root: FdtNode, bootCpu = 0): Uint8Array {
  const strings = new StringTable();
  const structure = new BigEndianWriter();
  writeNode(structure, strings, root);
  structure.u32(TOKEN_END);
  const structureBytes = structure.finish();
  const stringBytes = strings.finish();
  const structureOffset = HEADER_BYTES + RESERVATIONS_BYTES;
  const stringsOffset = structureOffset + structureBytes.length;
  const out = new BigEndianWriter();
  out.u32(MAGIC);
  out.u32(stringsOffset + stringBytes.length);
  out.u32(structureOffset);
  out.u32(stringsOffset);
  out.u32(HEADER_BYTES);
  out.u32(VERSION);
  out.u32(LAST_COMPATIBLE_VERSION);
  out.u32(bootCpu);
  out.u32(stringBytes.length);
  out.u32(structureBytes.length);
  out.bytes(new Uint8Array(RESERVATIONS_BYTES));
  out.bytes(structureBytes);
  out.bytes(stringBytes);
  return out.finish();
}

function writeNode(out: BigEndianWriter, strings: StringTable, node: FdtNode): void {
  out.u32(TOKEN_BEGIN_NODE);
  out.bytes(text(node.name));
  out.align();
  for (const [name, value] of Object.entries(node.properties)) {
    const bytes = encodeValue(value);
    out.u32(TOKEN_PROP);
    out.u32(bytes.length);
    out.u32(strings.offsetOf(name));
    out.bytes(bytes);
    out.align();
  }
  for (const child of node.children ?? []) writeNode(out, strings, child);
  out.u32(TOKEN_END_NODE);
}

function encodeValue(value: FdtValue): Uint8Array {
  if (value === null) return new Uint8Array(0);
  if (value instanceof Uint8Array) return value;
  const out = new BigEndianWriter();
  for (const item of typeof value === "object" ? value : [value]) {
    if (typeof item === "string") out.bytes(text(item));
    else if (typeof item === "number") out.u32(item);
    else {
      out.u32(Number(BigInt.asUintN(32, item >> 32n)));
      out.u32(Number(BigInt.asUintN(32, item)));
    }
  }
  return out.finish();
}

/** UTF-8 with the terminating NUL that the format wants. */
function text(value: string): Uint8Array {
  assert(!value.includes("\0"), "device tree strings hold no NUL");
  return utf8(`${value}\0`);
}

class BigEndianWriter {
  readonly #out = new ByteWriter(INITIAL_BYTES);

  u32(value: number): void {
    const v = value >>> 0;
    this.#out.u32(((v >>> 24) | ((v >>> 8) & 0xff00) | ((v << 8) & 0xff_0000) | (v << 24)) >>> 0);
  }

  bytes(bytes: Uint8Array): void {
    this.#out.bytes(bytes);
  }

  /** Pads with zeros to a multiple of four bytes. */
  align(): void {
    while (this.#out.length % 4 !== 0) this.#out.u8(0);
  }

  finish(): Uint8Array {
    return this.#out.finish();
  }
}

/** Property names, each stored once. */
class StringTable {
  readonly #out = new ByteWriter(INITIAL_BYTES);
  readonly #offsets = new Map<string, number>();

  offsetOf(name: string): number {
    const known = this.#offsets.get(name);
    if (known !== undefined) return known;
    const offset = this.#out.length;
    this.#out.bytes(text(name));
    this.#offsets.set(name, offset);
    return offset;
  }

  finish(): Uint8Array {
    return this.#out.finish();
  }
}
