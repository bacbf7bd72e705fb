/**
 * The head of a trace: format version, feature flags and the fingerprint of the machine. It is
 * kept once for each lineage and sent in a handshake; docs/TRACE_FORMAT.md draws it.
 */
import { ByteReader, ByteWriter, CodedError } from "@dejavm/base";
import { decodeState, encodeState } from "@dejavm/machine";
import type { TraceHasher } from "./codecs.ts";
import { corruptTrace, unknownTraceVersion } from "./errors.ts";
import { decodeFingerprint, encodeFingerprint, type Fingerprint } from "./fingerprint.ts";
import type { TracePoint } from "./segment.ts";

/** First bytes of every trace's head: "DVTRACE" and a line end. */
const MAGIC = Uint8Array.of(0x44, 0x56, 0x54, 0x52, 0x41, 0x43, 0x45, 0x0a);
/** Rises when a reader of the former version would misread a trace. */
export const TRACE_VERSION = 1;
/** Feature bits that this version knows; none so far. An unknown bit is refused. */
export const TRACE_FEATURES = 0;
/** Bytes of a header: a command line and a list of disks. */
const MAX_HEADER_BYTES = 1024 * 1024;

/** See the head of this file. */
export interface TraceHeader {
  readonly version: number;
  /** A set of bits, each of which changes what a reader must understand. */
  readonly features: number;
  readonly fingerprint: Fingerprint;
}

/** A header of this version. */
export function encodeTraceHeader(fingerprint: Fingerprint): Uint8Array {
  const out = new ByteWriter().bytes(MAGIC).u32(TRACE_VERSION).u32(TRACE_FEATURES);
  return out.bytes(encodeState(encodeFingerprint(fingerprint))).finish();
}

/** Throws E_TRACE_CORRUPT, E_TRACE_VERSION. */
export function decodeTraceHeader(bytes: Uint8Array): TraceHeader {
  if (bytes.length > MAX_HEADER_BYTES) {
    throw corruptTrace(`header of ${bytes.length} bytes, want at most ${MAX_HEADER_BYTES}`);
  }
  const reader = new ByteReader(bytes, (detail) => corruptTrace(`header: ${detail}`));
  const magic = reader.bytes(MAGIC.length);
  if (!magic.every((byte, i) => byte === MAGIC[i])) throw corruptTrace("no header of a trace");
  const version = reader.u32();
  if (version !== TRACE_VERSION) throw unknownTraceVersion(`format version ${version}`);
  const features = reader.u32();
  if (features !== TRACE_FEATURES) throw unknownTraceVersion(`feature flags ${features}`);
  try {
    const state = decodeState(reader.bytes(reader.remaining));
    return { version, features, fingerprint: decodeFingerprint(state) };
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    throw corruptTrace(`header: ${error.message}`, error);
  }
}

/** Where the trace of a lineage begins: its chain grows out of its header. */
export function traceStart(header: Uint8Array, hasher: TraceHasher): TracePoint {
  return { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(hasher.sha256(header)) };
}
