/**
 * A segment: a run of records with what a reader needs to know where it belongs and that it is
 * whole. docs/TRACE_FORMAT.md draws it.
 *
 * A segment consists of *units*, one for each time that the writer sealed. The hash chain goes
 * from unit to unit and covers the bytes of records only, so units can be merged into bigger
 * segments, and compressed, without a change to it.
 */
import { ByteReader, ByteWriter, crc32 } from "@dejavm/base";
import type { TraceCodecs, TraceHasher } from "./codecs.ts";
import { corruptTrace, unknownTraceVersion } from "./errors.ts";
import {
  CHAIN_BYTES,
  MAX_SEGMENT_BYTES,
  MAX_SEGMENT_PLAIN_BYTES,
  MAX_SEGMENT_UNITS,
} from "./limits.ts";
import type { TracePlace } from "./record-codec.ts";

/** Rises when a reader of the former version would misread a segment. */
const SEGMENT_VERSION = 1;
const MAGIC = 0xda;
const FLAG_COMPRESSED = 1;
const CRC_BYTES = 4;
/** What a segment has beside its payload and the lengths of its units, at most. */
const MAX_FRAMING_BYTES = 128;
const MAX_SEQUENCE = BigInt(Number.MAX_SAFE_INTEGER - MAX_SEGMENT_UNITS);

/** Where a trace goes on: what the next segment must begin with. */
export interface TracePoint extends TracePlace {
  /** Number of the next unit; the first of a lineage is 0. */
  readonly sequence: number;
  /** The hash chain so far, 32 bytes. */
  readonly chain: Uint8Array;
}

/** What a segment says of itself. */
export interface SegmentHeader {
  /** Number of the first unit. */
  readonly sequence: number;
  readonly unitCount: number;
  /** What the first record counts from, and the place of the last one. */
  readonly from: TracePlace;
  readonly to: TracePlace;
  /** Bytes of the records. */
  readonly plainBytes: number;
  readonly compressed: boolean;
  /** The hash chain after the last unit, 32 bytes. */
  readonly chain: Uint8Array;
}

/** A segment as it travels and is kept. */
export interface Segment {
  readonly header: SegmentHeader;
  readonly bytes: Uint8Array;
}

/** A segment taken apart: whole, but nothing is said yet of what came before it. */
export interface OpenSegment {
  readonly header: SegmentHeader;
  /** The records of each unit, in order. */
  readonly units: readonly Uint8Array[];
}

/** The chain after one more unit. */
export function chainNext(chain: Uint8Array, unit: Uint8Array, hasher: TraceHasher): Uint8Array {
  const both = new Uint8Array(CHAIN_BYTES + unit.length);
  both.set(chain);
  both.set(unit, CHAIN_BYTES);
  // A copy, so that it is plain bytes whatever the host's library gives.
  return new Uint8Array(hasher.sha256(both));
}

/** What comes after a segment. */
export function pointAfter({ sequence, unitCount, to, chain }: SegmentHeader): TracePoint {
  return { sequence: sequence + unitCount, position: to.position, ticks: to.ticks, chain };
}

/** Puts a segment together. With `compress` it is compressed, if that makes it smaller. */
export function encodeSegment(
  from: Omit<TracePoint, "chain">,
  to: TracePlace & { readonly chain: Uint8Array },
  units: readonly Uint8Array[],
  codecs: Partial<Pick<TraceCodecs, "compress" | "crc32">> = {},
): Segment {
  const plain = concatenate(units);
  const packed = codecs.compress?.(plain);
  const compressed = packed !== undefined && packed.length < plain.length;
  const payload = compressed ? packed : plain;
  const out = new ByteWriter(MAX_FRAMING_BYTES + 10 * units.length);
  out.u8(MAGIC).u8(SEGMENT_VERSION);
  out.u8(compressed ? FLAG_COMPRESSED : 0);
  out.uvarint(from.sequence).uvarint(units.length);
  out.uvarint(from.position).uvarint(to.position - from.position);
  out.uvarint(from.ticks).uvarint(to.ticks - from.ticks);
  for (const unit of units) out.uvarint(unit.length);
  if (compressed) out.uvarint(payload.length);
  out.bytes(to.chain);
  const bytes = framed(out.view, payload, codecs.crc32 ?? crc32);
  const header = {
    sequence: from.sequence,
    unitCount: units.length,
    from: { position: from.position, ticks: from.ticks },
    to: { position: to.position, ticks: to.ticks },
    plainBytes: plain.length,
    compressed,
    chain: to.chain,
  };
  return { header, bytes };
}

/** Head, payload and checksum in a buffer of their own, which can be given away. */
function framed(
  head: Uint8Array,
  payload: Uint8Array,
  checksum: (bytes: Uint8Array) => number,
): Uint8Array {
  const bytes = new Uint8Array(head.length + payload.length + CRC_BYTES);
  bytes.set(head);
  bytes.set(payload, head.length);
  const end = head.length + payload.length;
  new DataView(bytes.buffer).setUint32(end, checksum(bytes.subarray(0, end)), true);
  return bytes;
}

/**
 * Takes a segment apart: checks limits, then the checksum, then unpacks. Throws E_TRACE_CORRUPT,
 * E_TRACE_VERSION. The units may be views of `bytes`.
 */
export function openSegment(
  bytes: Uint8Array,
  codecs: Pick<TraceCodecs, "decompress" | "crc32">,
): OpenSegment {
  const { header, lengths, payload } = parseSegment(bytes, codecs.crc32);
  const plain = header.compressed ? unpack(payload, header.plainBytes, codecs) : payload;
  let at = 0;
  const units = lengths.map((length) => plain.subarray(at, (at += length)));
  return { header, units };
}

/** Reads what a segment says of itself, and checks that its bytes are whole. */
export function readSegmentHeader(bytes: Uint8Array): SegmentHeader {
  return parseSegment(bytes).header;
}

interface ParsedSegment {
  readonly header: SegmentHeader;
  readonly lengths: readonly number[];
  readonly payload: Uint8Array;
}

function parseSegment(bytes: Uint8Array, checksum: TraceCodecs["crc32"] = crc32): ParsedSegment {
  if (bytes.length > MAX_SEGMENT_BYTES) {
    throw corruptTrace(`segment of ${bytes.length} bytes, want at most ${MAX_SEGMENT_BYTES}`);
  }
  const reader = new ByteReader(bytes, (detail) => corruptTrace(`segment: ${detail}`));
  const magic = reader.u8();
  if (magic !== MAGIC) throw corruptTrace(`segment begins with ${magic}, want ${MAGIC}`);
  const version = reader.u8();
  const flags = reader.u8();
  checkCrc(bytes, checksum);
  if (version !== SEGMENT_VERSION) throw unknownTraceVersion(`segment version ${version}`);
  if ((flags & ~FLAG_COMPRESSED) !== 0) throw unknownTraceVersion(`segment flags ${flags}`);
  const compressed = (flags & FLAG_COMPRESSED) !== 0;
  const sequence = bounded(reader.uvarint(), MAX_SEQUENCE, "sequence");
  const unitCount = bounded(reader.uvarint(), BigInt(MAX_SEGMENT_UNITS), "count of units");
  if (unitCount === 0) throw corruptTrace("segment without a unit");
  const [fromPosition, positions] = [reader.uvarint(), reader.uvarint()];
  const [fromTicks, waited] = [reader.uvarint(), reader.uvarint()];
  const lengths: number[] = [];
  let plainBytes = 0;
  for (let i = 0; i < unitCount; i++) {
    const length = bounded(reader.uvarint(), BigInt(MAX_SEGMENT_PLAIN_BYTES), "length of a unit");
    plainBytes += length;
    if (length === 0) throw corruptTrace("unit without a record");
    lengths.push(length);
  }
  if (plainBytes > MAX_SEGMENT_PLAIN_BYTES) {
    throw corruptTrace(`${plainBytes} bytes of records, want at most ${MAX_SEGMENT_PLAIN_BYTES}`);
  }
  const packedLimit = BigInt(plainBytes - 1);
  const packed = compressed ? bounded(reader.uvarint(), packedLimit, "packed size") : plainBytes;
  const chain = new Uint8Array(reader.bytes(CHAIN_BYTES));
  const payload = reader.bytes(packed);
  if (reader.remaining !== CRC_BYTES) {
    throw corruptTrace(`segment is followed by ${reader.remaining - CRC_BYTES} bytes`);
  }
  const from = { position: fromPosition, ticks: fromTicks };
  const to = { position: fromPosition + positions, ticks: fromTicks + waited };
  const header = { sequence, unitCount, from, to, plainBytes, compressed, chain };
  return { header, lengths, payload };
}

function checkCrc(bytes: Uint8Array, checksum: (bytes: Uint8Array) => number): void {
  const end = bytes.length - CRC_BYTES;
  const reader = new ByteReader(bytes, (detail) => corruptTrace(`segment: ${detail}`));
  reader.bytes(Math.max(end, 0));
  const [stored, actual] = [reader.u32(), checksum(bytes.subarray(0, end))];
  if (stored !== actual) throw corruptTrace(`segment has checksum ${actual}, want ${stored}`);
}

function bounded(value: bigint, most: bigint, what: string): number {
  if (value > most) throw corruptTrace(`segment has ${what} ${value}, want at most ${most}`);
  return Number(value);
}

function unpack(
  payload: Uint8Array,
  plainBytes: number,
  codecs: Pick<TraceCodecs, "decompress">,
): Uint8Array {
  try {
    return codecs.decompress(payload, plainBytes);
  } catch (cause) {
    throw corruptTrace(`segment does not unpack to ${plainBytes} bytes`, cause);
  }
}

/** One after the other. */
function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1 && parts[0] !== undefined) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
