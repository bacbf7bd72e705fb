/** Writes snapshot files: a generator of byte blocks, one section at a time. */
import { assert, ByteWriter } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES, type State } from "../device/device.ts";
import {
  CHUNKS_PER_SECTION,
  encoding,
  FORMAT_VERSION,
  KNOWN_FEATURES,
  MAGIC,
  MAX_PLAIN_BYTES,
  PAGES_PER_SECTION,
  type SectionKind,
  type SnapshotCodecs,
  type SnapshotHeader,
  section,
} from "./format.ts";
import { encodeState } from "./state-codec.ts";

/** One RAM page of 4,096 bytes. */
export interface PageEntry {
  readonly page: number;
  readonly bytes: Uint8Array;
}

/** One overlay chunk of 65,536 bytes. */
export interface ChunkEntry {
  readonly disk: number;
  readonly chunk: number;
  readonly bytes: Uint8Array;
}

/**
 * All that a snapshot holds. `pages` and `chunks` are consumed once, while writing; their bytes
 * must stay as they are until the next section has been taken.
 */
export interface SnapshotContent {
  readonly header: SnapshotHeader;
  /** What puts the machine together again: configuration, disks, where it came from. */
  readonly description: State;
  readonly state: State;
  /** The pages that are not all zero, ascending. */
  readonly pages: Iterable<PageEntry>;
  /** The overlay chunks that are not all zero, ascending by disk and chunk. */
  readonly chunks: Iterable<ChunkEntry>;
}

/**
 * The file as consecutive blocks of at most a few megabytes. Every block is complete when it is
 * handed out and is not touched again.
 */
export function* writeSnapshot(
  content: SnapshotContent,
  codecs: SnapshotCodecs,
): Generator<Uint8Array, void, undefined> {
  const header = encodeHeader(content.header);
  const writer = new SectionWriter(header, codecs);
  yield header;
  yield* writer.section(section.description, encodeState(content.description));
  yield* writer.section(section.state, encodeState(content.state));
  let pageCount = 0;
  for (const group of groups(content.pages, PAGES_PER_SECTION)) {
    pageCount += group.length;
    yield* writer.section(section.pages, encodePages(group));
  }
  let chunkCount = 0;
  for (const group of groups(content.chunks, CHUNKS_PER_SECTION)) {
    chunkCount += group.length;
    yield* writer.section(section.chunks, encodeChunks(group));
  }
  yield* writer.end(pageCount, chunkCount);
}

function encodeHeader(header: SnapshotHeader): Uint8Array {
  return new ByteWriter(32)
    .bytes(MAGIC)
    .u32(FORMAT_VERSION)
    .u32(KNOWN_FEATURES)
    .u32(header.semantics)
    .u32(0)
    .u64(BigInt(header.memoryBytes))
    .finish();
}

/** Frames sections and keeps the chain of their heads. */
class SectionWriter {
  readonly #codecs: SnapshotCodecs;
  readonly #chain = new ByteWriter();
  #sections = 0;

  constructor(header: Uint8Array, codecs: SnapshotCodecs) {
    this.#codecs = codecs;
    this.#chain.bytes(header);
  }

  *section(kind: SectionKind, plain: Uint8Array): Generator<Uint8Array, void, undefined> {
    assert(plain.length <= MAX_PLAIN_BYTES[kind], `section ${kind} takes ${plain.length} bytes`);
    const packed = kind === section.end ? plain : this.#codecs.compress(plain);
    const smaller = packed.length < plain.length;
    const payload = smaller ? packed : plain;
    const head = new ByteWriter(64)
      .u8(kind)
      .u8(smaller ? encoding.compressed : encoding.plain)
      .u16(0)
      .u32(payload.length)
      .u32(plain.length)
      .bytes(this.#codecs.sha256(payload))
      .finish();
    this.#chain.bytes(head);
    this.#sections++;
    yield head;
    yield payload;
  }

  *end(pageCount: number, chunkCount: number): Generator<Uint8Array, void, undefined> {
    const plain = new ByteWriter(64)
      .u32(this.#sections)
      .u64(BigInt(pageCount))
      .u64(BigInt(chunkCount))
      .bytes(this.#codecs.sha256(this.#chain.finish()))
      .finish();
    yield* this.section(section.end, plain);
  }
}

function encodePages(pages: readonly PageEntry[]): Uint8Array {
  const out = new ByteWriter(MAX_PLAIN_BYTES[section.pages]).u32(pages.length);
  for (const { page } of pages) out.u32(page);
  for (const { bytes } of pages) {
    assert(bytes.length === PAGE_BYTES, `a page takes ${bytes.length} bytes`);
    out.bytes(bytes);
  }
  return out.finish();
}

function encodeChunks(chunks: readonly ChunkEntry[]): Uint8Array {
  const out = new ByteWriter(MAX_PLAIN_BYTES[section.chunks]).u32(chunks.length);
  for (const { disk, chunk } of chunks) out.u32(disk).u32(chunk);
  for (const { bytes } of chunks) {
    assert(bytes.length === CHUNK_BYTES, `a chunk takes ${bytes.length} bytes`);
    out.bytes(bytes);
  }
  return out.finish();
}

function* groups<T>(items: Iterable<T>, size: number): Generator<T[], void, undefined> {
  let group: T[] = [];
  for (const item of items) {
    group.push(item);
    if (group.length === size) {
      yield group;
      group = [];
    }
  }
  if (group.length > 0) yield group;
}
