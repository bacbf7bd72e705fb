/**
 * Pages and disk chunks as they travel on bulk channels: fixed little-endian headers, then bytes.
 *
 *     page-group   checkpoint u32, codec u8, 0 u8, count u16, rawBytes u32,
 *                  page u32 [count], data
 *     zero-pages   checkpoint u32, 0 u8, 0 u8, count u16, page u32 [count]
 *     page-refs    checkpoint u32, 0 u8, 0 u8, count u16, {page u32, sha256} [count]
 *     image-refs   checkpoint u32, 0 u8, 0 u8, count u16, {page u32, disk u32, block u32} [count]
 *     chunk-group  checkpoint u32, codec u8, layer u8, count u16, rawBytes u32,
 *                  {disk u32, chunk u32} [count], data
 *     zero-chunks  checkpoint u32, 0 u8, 0 u8, count u16, {disk u32, chunk u32} [count]
 *     chunk-refs   checkpoint u32, 0 u8, 0 u8, count u16, {disk u32, chunk u32, sha256} [count]
 *
 * `data` is `rawBytes` long once decompressed: whole pages (4,096 bytes) or chunks (65,536), in the
 * order of the numbers.
 */
import { ByteReader, type ByteWriter, unreachable } from "@dejavm/base";
import { protocolError } from "./errors.ts";
import {
  MAX_BASES,
  MAX_CHUNKS,
  MAX_DISKS,
  MAX_GROUP_CHUNKS,
  MAX_GROUP_PAGES,
  MAX_PAGES,
} from "./limits.ts";

const PAGE_BYTES = 4096;
const CHUNK_BYTES = 65_536;
const SHA256_BYTES = 32;
/** References in one message: 144 KiB at most. */
export const MAX_GROUP_REFERENCES = 4096;
/** Blocks of `PAGE_BYTES` of a disk base of 1 TiB. */
const MAX_BLOCKS = (MAX_CHUNKS * CHUNK_BYTES) / PAGE_BYTES;

/** How `data` is packed. */
export type GroupCodec = "raw" | "zstd";
/** Which contents a chunk has: the immutable base of a disk, or what the guest made of it. */
export type ChunkLayer = "base" | "overlay";

/** A disk chunk: which disk of the machine, which 64 KiB of it. */
export interface ChunkName {
  readonly disk: number;
  readonly chunk: number;
}

/** A message of a bulk channel. */
export type BulkMessage =
  | {
      readonly kind: "page-group";
      readonly checkpoint: number;
      readonly codec: GroupCodec;
      readonly pages: readonly number[];
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "zero-pages";
      readonly checkpoint: number;
      readonly pages: readonly number[];
    }
  /** Pages equal to one that the target has, named by content. */
  | {
      readonly kind: "page-refs";
      readonly checkpoint: number;
      readonly refs: readonly { readonly page: number; readonly sha256: Uint8Array }[];
    }
  /**
   * Pages equal to a block of 4 KiB of a file that the machine began with; `block` counts those.
   * `disk` counts the bases of its disks, then firmware, kernel, initramfs.
   */
  | {
      readonly kind: "image-refs";
      readonly checkpoint: number;
      readonly refs: readonly {
        readonly page: number;
        readonly disk: number;
        readonly block: number;
      }[];
    }
  | {
      readonly kind: "chunk-group";
      readonly checkpoint: number;
      readonly codec: GroupCodec;
      readonly layer: ChunkLayer;
      readonly chunks: readonly ChunkName[];
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "zero-chunks";
      readonly checkpoint: number;
      readonly chunks: readonly ChunkName[];
    }
  | {
      readonly kind: "chunk-refs";
      readonly checkpoint: number;
      readonly refs: readonly (ChunkName & { readonly sha256: Uint8Array })[];
    };

/** Bytes of a message on the wire, nearly. */
export function bulkBytes(message: BulkMessage): number {
  if ("data" in message) return message.data.length + 16;
  if ("refs" in message) return 16 + message.refs.length * 36;
  return 16 + ("pages" in message ? message.pages.length * 4 : message.chunks.length * 8);
}

const CODECS: readonly GroupCodec[] = ["raw", "zstd"];
const LAYERS: readonly ChunkLayer[] = ["base", "overlay"];

/** Bytes of a bulk message, without the frame's header. */
export function bulkBodyBytes(message: BulkMessage): number {
  switch (message.kind) {
    case "page-group":
      return 12 + message.pages.length * 4 + message.data.length;
    case "zero-pages":
      return 8 + message.pages.length * 4;
    case "page-refs":
      return 8 + message.refs.length * (4 + SHA256_BYTES);
    case "image-refs":
      return 8 + message.refs.length * 12;
    case "chunk-group":
      return 12 + message.chunks.length * 8 + message.data.length;
    case "zero-chunks":
      return 8 + message.chunks.length * 8;
    case "chunk-refs":
      return 8 + message.refs.length * (8 + SHA256_BYTES);
    default:
      return unreachable(message);
  }
}

/** Writes a bulk message, without the frame's header. Our own messages are within limits. */
export function writeBulk(writer: ByteWriter, message: BulkMessage): ByteWriter {
  writer.u32(message.checkpoint);
  switch (message.kind) {
    case "page-group":
      head(writer, CODECS.indexOf(message.codec), 0, message.pages.length);
      writer.u32(message.pages.length * PAGE_BYTES);
      for (const page of message.pages) writer.u32(page);
      return writer.bytes(message.data);
    case "zero-pages":
      head(writer, 0, 0, message.pages.length);
      for (const page of message.pages) writer.u32(page);
      return writer;
    case "page-refs":
      head(writer, 0, 0, message.refs.length);
      for (const { page, sha256 } of message.refs) writer.u32(page).bytes(sha256);
      return writer;
    case "image-refs":
      head(writer, 0, 0, message.refs.length);
      for (const { page, disk, block } of message.refs) writer.u32(page).u32(disk).u32(block);
      return writer;
    case "chunk-group":
      head(
        writer,
        CODECS.indexOf(message.codec),
        LAYERS.indexOf(message.layer),
        message.chunks.length,
      );
      writer.u32(message.chunks.length * CHUNK_BYTES);
      for (const { disk, chunk } of message.chunks) writer.u32(disk).u32(chunk);
      return writer.bytes(message.data);
    case "zero-chunks":
      head(writer, 0, 0, message.chunks.length);
      for (const { disk, chunk } of message.chunks) writer.u32(disk).u32(chunk);
      return writer;
    case "chunk-refs":
      head(writer, 0, 0, message.refs.length);
      for (const { disk, chunk, sha256 } of message.refs) {
        writer.u32(disk).u32(chunk).bytes(sha256);
      }
      return writer;
    default:
      return unreachable(message);
  }
}

function head(writer: ByteWriter, first: number, second: number, count: number): void {
  writer.u8(first).u8(second).u16(count);
}

/** Reads a bulk message; its byte arrays are views of `bytes`. Throws E_PROTOCOL_MALFORMED. */
export function decodeBulk(kind: BulkMessage["kind"], bytes: Uint8Array): BulkMessage {
  const reader = new ByteReader(bytes, (detail) => malformed(kind, detail));
  const checkpoint = reader.u32();
  const first = reader.u8();
  const second = reader.u8();
  const count = reader.u16();
  const take = new Taker(kind, reader, count);
  switch (kind) {
    case "page-group": {
      take.zero(second);
      const codec = take.oneOf(CODECS, first);
      take.size(PAGE_BYTES, MAX_GROUP_PAGES);
      const pages = take.list(4, () => take.below(MAX_PAGES, "page"));
      return { kind, checkpoint, codec, pages, data: take.data(codec, PAGE_BYTES) };
    }
    case "zero-pages": {
      take.zero(first + second);
      take.count(MAX_GROUP_REFERENCES);
      const pages = take.list(4, () => take.below(MAX_PAGES, "page"));
      return take.end({ kind, checkpoint, pages });
    }
    case "page-refs": {
      take.zero(first + second);
      take.count(MAX_GROUP_REFERENCES);
      const refs = take.list(4 + SHA256_BYTES, () => ({
        page: take.below(MAX_PAGES, "page"),
        sha256: reader.bytes(SHA256_BYTES),
      }));
      return take.end({ kind, checkpoint, refs });
    }
    case "image-refs": {
      take.zero(first + second);
      take.count(MAX_GROUP_REFERENCES);
      const refs = take.list(12, () => ({
        page: take.below(MAX_PAGES, "page"),
        disk: take.below(MAX_BASES, "disk"),
        block: take.below(MAX_BLOCKS, "block"),
      }));
      return take.end({ kind, checkpoint, refs });
    }
    case "chunk-group": {
      const codec = take.oneOf(CODECS, first);
      const layer = take.oneOf(LAYERS, second);
      take.size(CHUNK_BYTES, MAX_GROUP_CHUNKS);
      const chunks = take.list(8, () => take.chunk());
      return { kind, checkpoint, codec, layer, chunks, data: take.data(codec, CHUNK_BYTES) };
    }
    case "zero-chunks": {
      take.zero(first + second);
      take.count(MAX_GROUP_REFERENCES);
      const chunks = take.list(8, () => take.chunk());
      return take.end({ kind, checkpoint, chunks });
    }
    case "chunk-refs": {
      take.zero(first + second);
      take.count(MAX_GROUP_REFERENCES);
      const refs = take.list(8 + SHA256_BYTES, () => ({
        ...take.chunk(),
        sha256: reader.bytes(SHA256_BYTES),
      }));
      return take.end({ kind, checkpoint, refs });
    }
    default:
      return unreachable(kind);
  }
}

/** The checks that all kinds share. */
class Taker {
  readonly #kind: string;
  readonly #reader: ByteReader;
  readonly #count: number;

  constructor(kind: string, reader: ByteReader, count: number) {
    this.#kind = kind;
    this.#reader = reader;
    this.#count = count;
  }

  zero(value: number): void {
    if (value !== 0) throw malformed(this.#kind, "a reserved byte is not zero");
  }

  oneOf<T>(values: readonly T[], index: number): T {
    const value = values[index];
    if (value === undefined) throw malformed(this.#kind, `unknown tag ${index}`);
    return value;
  }

  count(most: number): void {
    if (this.#count === 0 || this.#count > most) {
      throw malformed(this.#kind, `count ${this.#count}, want 1 .. ${most}`);
    }
  }

  size(unit: number, most: number): void {
    this.count(most);
    const rawBytes = this.#reader.u32();
    if (rawBytes !== this.#count * unit) {
      throw malformed(this.#kind, `${rawBytes} raw bytes for ${this.#count} of ${unit}`);
    }
  }

  /** Reads `count` items of `itemBytes` each; looks at the length before it makes any. */
  list<T>(itemBytes: number, item: () => T): T[] {
    if (this.#reader.remaining < this.#count * itemBytes) {
      throw malformed(this.#kind, `${this.#reader.remaining} bytes for ${this.#count} items`);
    }
    return Array.from({ length: this.#count }, item);
  }

  below(limit: number, what: string): number {
    const value = this.#reader.u32();
    if (value >= limit) throw malformed(this.#kind, `${what} ${value} is not below ${limit}`);
    return value;
  }

  chunk(): ChunkName {
    return { disk: this.below(MAX_DISKS, "disk"), chunk: this.below(MAX_CHUNKS, "chunk") };
  }

  data(codec: GroupCodec, unit: number): Uint8Array {
    const length = this.#reader.remaining;
    const raw = this.#count * unit;
    // zstd never grows data by more than this (its `compressBound`, rounded up).
    const most = codec === "raw" ? raw : raw + raw / 128 + 1024;
    const least = codec === "raw" ? raw : 1;
    if (length < least || length > most) {
      throw malformed(this.#kind, `${length} bytes of data, want ${least} .. ${most}`);
    }
    return this.#reader.bytes(length);
  }

  end<T>(value: T): T {
    if (this.#reader.remaining !== 0) {
      throw malformed(this.#kind, `${this.#reader.remaining} bytes too many`);
    }
    return value;
  }
}

function malformed(kind: string, detail: string): Error {
  return protocolError("E_PROTOCOL_MALFORMED", `cannot read a message ${kind}: ${detail}`);
}
