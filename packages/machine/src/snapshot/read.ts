/**
 * Reads snapshot files section by section. Each section's size is checked against its kind's limit
 * before it is read, its sha256 before it is unpacked, its entries before they are handed on.
 */
import { ByteReader, ByteWriter } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES, type State } from "../device/device.ts";
import { corrupt, notASnapshot, truncated, unknownVersion } from "./errors.ts";
import {
  CHUNK_ENTRY_BYTES,
  CHUNKS_PER_SECTION,
  COUNT_BYTES,
  END_BYTES,
  encoding,
  FORMAT_VERSION,
  HEADER_BYTES,
  KNOWN_FEATURES,
  MAGIC,
  MAX_PLAIN_BYTES,
  MAX_SNAPSHOT_DISKS,
  MAX_SNAPSHOT_MEMORY_BYTES,
  PAGE_ENTRY_BYTES,
  PAGES_PER_SECTION,
  SECTION_HEAD_BYTES,
  type SectionKind,
  SHA256_BYTES,
  type SnapshotCodecs,
  type SnapshotHeader,
  type SnapshotItem,
  section,
} from "./format.ts";
import { decodeState } from "./state-codec.ts";

/** Where a snapshot's bytes come from, in order. */
export interface ByteSource {
  /**
   * The next `count` bytes, fewer only where the source ends; may be a view that lasts until the
   * next call.
   */
  read(count: number): Uint8Array;
}

interface Section {
  readonly kind: SectionKind;
  readonly plain: Uint8Array;
}

/**
 * A snapshot being read. `open` gives header, description and state; `contents` the rest. The
 * snapshot is known to be whole only when `contents` has come to its end: throw away what was
 * made from it if that fails.
 */
export class SnapshotReader {
  readonly header: SnapshotHeader;
  readonly description: State;
  readonly state: State;
  readonly #source: ByteSource;
  readonly #codecs: SnapshotCodecs;
  readonly #chain: ByteWriter;
  #sections = 0;

  private constructor(source: ByteSource, codecs: SnapshotCodecs) {
    this.#source = source;
    this.#codecs = codecs;
    // Copies, whatever the source gives: `slice` of a Node.js Buffer would be a view.
    const header = new Uint8Array(source.read(HEADER_BYTES));
    this.header = decodeHeader(header);
    this.#chain = new ByteWriter().bytes(header);
    this.description = decodeState(this.#expect(section.description).plain);
    this.state = decodeState(this.#expect(section.state).plain);
  }

  /** Reads up to the state. Throws E_SNAPSHOT_FORMAT, _VERSION, _TRUNCATED or _CORRUPT. */
  static open(source: ByteSource, codecs: SnapshotCodecs): SnapshotReader {
    return new SnapshotReader(source, codecs);
  }

  /**
   * The pages and chunks, once. Views are valid until the next step. Throws E_SNAPSHOT_TRUNCATED
   * or E_SNAPSHOT_CORRUPT at the first thing that is wrong, at the latest at the end.
   */
  *contents(): Generator<SnapshotItem, void, undefined> {
    const pages = new PageDecoder(this.header.memoryBytes / PAGE_BYTES);
    const chunks = new ChunkDecoder();
    for (;;) {
      const { kind, plain } = this.#next();
      if (kind === section.pages && chunks.count === 0) {
        yield* pages.decode(plain);
      } else if (kind === section.chunks) {
        yield* chunks.decode(plain);
      } else if (kind === section.end) {
        this.#checkEnd(plain, { pages: pages.count, chunks: chunks.count });
        return;
      } else {
        throw corrupt(`section ${this.#sections - 1} is of kind ${kind}, out of order`);
      }
    }
  }

  #expect(kind: SectionKind): Section {
    const found = this.#next();
    if (found.kind !== kind) {
      throw corrupt(`section ${this.#sections - 1} is of kind ${found.kind}, want ${kind}`);
    }
    return found;
  }

  #next(): Section {
    const where = `section ${this.#sections}`;
    const head = new Uint8Array(this.#take(SECTION_HEAD_BYTES, `${where}, head`));
    const reader = new ByteReader(head, truncated);
    const kind = sectionKind(reader.u8(), where);
    const stored = reader.u8();
    const reserved = reader.u16();
    const payloadBytes = reader.u32();
    const plainBytes = reader.u32();
    const digest = reader.bytes(SHA256_BYTES);
    if (stored > encoding.compressed || reserved !== 0) throw corrupt(`${where} has a bad head`);
    const compressed = stored === encoding.compressed;
    const sizesFit = compressed ? payloadBytes < plainBytes : payloadBytes === plainBytes;
    if (plainBytes > MAX_PLAIN_BYTES[kind] || !sizesFit) {
      throw corrupt(`${where} of kind ${kind} has sizes ${payloadBytes} and ${plainBytes}`);
    }
    const payload = this.#take(payloadBytes, where);
    if (!equal(this.#codecs.sha256(payload), digest)) throw corrupt(`${where} has another sha256`);
    this.#chain.bytes(head);
    this.#sections++;
    return { kind, plain: compressed ? this.#unpack(payload, plainBytes, where) : payload };
  }

  #unpack(payload: Uint8Array, plainBytes: number, where: string): Uint8Array {
    let plain: Uint8Array;
    try {
      plain = this.#codecs.decompress(payload, plainBytes);
    } catch (cause) {
      throw corrupt(`${where} cannot be decompressed`, cause);
    }
    if (plain.length !== plainBytes) {
      throw corrupt(`${where} unpacks to ${plain.length} bytes, want ${plainBytes}`);
    }
    return plain;
  }

  #take(count: number, where: string): Uint8Array {
    const bytes = this.#source.read(count);
    if (bytes.length < count) {
      throw truncated(`${where} needs ${count} bytes, the file has ${bytes.length} more`);
    }
    return bytes;
  }

  /** The last section counts and chains all those before it. */
  #checkEnd(plain: Uint8Array, want: { pages: number; chunks: number }): void {
    if (plain.length !== END_BYTES) throw corrupt(`the last section takes ${plain.length} bytes`);
    const reader = new ByteReader(plain, truncated);
    const countsFit =
      reader.u32() === this.#sections - 1 &&
      reader.u64() === BigInt(want.pages) &&
      reader.u64() === BigInt(want.chunks);
    if (!countsFit) throw corrupt("the last section counts other sections, pages or chunks");
    const chain = this.#chain.finish().subarray(0, -SECTION_HEAD_BYTES);
    if (!equal(reader.bytes(SHA256_BYTES), this.#codecs.sha256(chain))) {
      throw corrupt("the sections do not belong together: their chain has another sha256");
    }
    if (this.#source.read(1).length > 0) throw corrupt("there are bytes after the last section");
  }
}

function decodeHeader(bytes: Uint8Array): SnapshotHeader {
  const magic = bytes.subarray(0, MAGIC.length);
  if (!equal(magic, MAGIC.subarray(0, magic.length)) || magic.length === 0) throw notASnapshot();
  if (bytes.length < HEADER_BYTES) throw truncated("the header is incomplete");
  const reader = new ByteReader(bytes, truncated);
  reader.bytes(MAGIC.length);
  const version = reader.u32();
  if (version !== FORMAT_VERSION) {
    throw unknownVersion(`it has format ${version}, want ${FORMAT_VERSION}`);
  }
  const unknown = (reader.u32() & ~KNOWN_FEATURES) >>> 0;
  if (unknown !== 0) throw unknownVersion(`it needs features 0x${unknown.toString(16)}`);
  const semantics = reader.u32();
  if (reader.u32() !== 0) throw corrupt("the header's reserved field is not zero");
  const memoryBytes = reader.u64();
  if (memoryBytes > BigInt(MAX_SNAPSHOT_MEMORY_BYTES) || memoryBytes % BigInt(PAGE_BYTES) !== 0n) {
    throw corrupt(`the header gives ${memoryBytes} bytes of memory`);
  }
  return { semantics, memoryBytes: Number(memoryBytes) };
}

function sectionKind(value: number, where: string): SectionKind {
  const kind = Object.values(section).find((known) => known === value);
  if (kind === undefined) throw corrupt(`${where} is of the unknown kind ${value}`);
  return kind;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** Checks the size of a section of `count` entries and gives the count. */
function entryCount(plain: Uint8Array, entryBytes: number, most: number): number {
  const count = new ByteReader(plain, (detail) => corrupt(detail)).u32();
  if (count === 0 || count > most || plain.length !== COUNT_BYTES + count * entryBytes) {
    throw corrupt(`a section of ${plain.length} bytes has ${count} entries`);
  }
  return count;
}

/** Sections of pages: numbers ascend over the whole file and lie within RAM. */
class PageDecoder {
  readonly #pageCount: number;
  #last = -1;
  count = 0;

  constructor(pageCount: number) {
    this.#pageCount = pageCount;
  }

  *decode(plain: Uint8Array): Generator<SnapshotItem, void, undefined> {
    const count = entryCount(plain, PAGE_ENTRY_BYTES, PAGES_PER_SECTION);
    const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
    for (let i = 0; i < count; i++) {
      const page = view.getUint32(COUNT_BYTES + 4 * i, true);
      if (page <= this.#last || page >= this.#pageCount) {
        throw corrupt(`page ${page} follows page ${this.#last} of ${this.#pageCount}`);
      }
      this.#last = page;
      this.count++;
      const at = COUNT_BYTES + 4 * count + PAGE_BYTES * i;
      yield { kind: "page", page, bytes: plain.subarray(at, at + PAGE_BYTES) };
    }
  }
}

/** Sections of chunks: (disk, chunk) ascends over the whole file. */
class ChunkDecoder {
  #lastDisk = 0;
  #lastChunk = -1;
  count = 0;

  *decode(plain: Uint8Array): Generator<SnapshotItem, void, undefined> {
    const count = entryCount(plain, CHUNK_ENTRY_BYTES, CHUNKS_PER_SECTION);
    const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
    for (let i = 0; i < count; i++) {
      const disk = view.getUint32(COUNT_BYTES + 8 * i, true);
      const chunk = view.getUint32(COUNT_BYTES + 8 * i + 4, true);
      const ascends = disk > this.#lastDisk || (disk === this.#lastDisk && chunk > this.#lastChunk);
      if (!ascends || disk >= MAX_SNAPSHOT_DISKS) {
        throw corrupt(`chunk ${disk}:${chunk} follows ${this.#lastDisk}:${this.#lastChunk}`);
      }
      this.#lastDisk = disk;
      this.#lastChunk = chunk;
      this.count++;
      const at = COUNT_BYTES + 8 * count + CHUNK_BYTES * i;
      yield { kind: "chunk", disk, chunk, bytes: plain.subarray(at, at + CHUNK_BYTES) };
    }
  }
}
