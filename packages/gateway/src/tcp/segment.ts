/** TCP segments (RFC 9293, section 3.1): taking them apart and making their frames. */
import { finishSum, pseudoSum, sumBytes, sumIsRight } from "@dejavm/base";
import { get16, get32, put16, put32 } from "../bytes.ts";
import { type Link, makeFrame, PAYLOAD_START, type Packet } from "../ipv4.ts";
import type { DropReason } from "../metrics.ts";
import { PROTOCOL } from "../wire.ts";
import type { ByteRing } from "./ring.ts";
import {
  FIELD,
  FLAG,
  MAX_WINDOW_SCALE,
  MSS_BYTES,
  OPTION,
  TCP_BYTES,
  WINDOW_SCALE_BYTES,
} from "./wire.ts";

/** A segment; the payload is `bytes[start .. end-1]`. */
export interface Segment {
  bytes: Uint8Array;
  start: number;
  end: number;
  sourcePort: number;
  targetPort: number;
  sequence: number;
  acknowledgement: number;
  flags: number;
  /** As it stands in the header, not scaled. */
  window: number;
  /** Undefined where the option is absent. */
  mss: number | undefined;
  windowScale: number | undefined;
}

/** One to be filled by `parseSegment` again and again. */
export function emptySegment(): Segment {
  return {
    bytes: new Uint8Array(0),
    start: 0,
    end: 0,
    sourcePort: 0,
    targetPort: 0,
    sequence: 0,
    acknowledgement: 0,
    flags: 0,
    window: 0,
    mss: undefined,
    windowScale: undefined,
  };
}

/** Sequence numbers that a segment takes: its bytes, SYN and FIN. */
export function segmentLength(segment: Segment): number {
  const { flags } = segment;
  const controls = ((flags & FLAG.Syn) === 0 ? 0 : 1) + ((flags & FLAG.Fin) === 0 ? 0 : 1);
  return segment.end - segment.start + controls;
}

/** Reads the segment in `packet` into `into`; gives why it must be dropped, if so. */
export function parseSegment(packet: Packet, into: Segment): DropReason | undefined {
  const { bytes, start, end } = packet;
  const count = end - start;
  if (count < TCP_BYTES) return "malformed";
  const headerBytes = ((bytes[start + FIELD.DataOffset] ?? 0) >>> 4) * 4;
  if (headerBytes < TCP_BYTES || headerBytes > count) return "malformed";
  if (!sumIsRight(sumBytes(bytes, start, end, pseudoSum(packet, PROTOCOL.Tcp, count)))) {
    return "checksum";
  }
  into.bytes = bytes;
  into.start = start + headerBytes;
  into.end = end;
  into.sourcePort = get16(bytes, start + FIELD.Source);
  into.targetPort = get16(bytes, start + FIELD.Target);
  into.sequence = get32(bytes, start + FIELD.Sequence);
  into.acknowledgement = get32(bytes, start + FIELD.Acknowledgement);
  into.flags = bytes[start + FIELD.Flags] ?? 0;
  into.window = get16(bytes, start + FIELD.Window);
  into.mss = undefined;
  into.windowScale = undefined;
  if (headerBytes > TCP_BYTES && (into.flags & FLAG.Syn) !== 0) {
    return parseOptions(bytes, start + TCP_BYTES, into.start, into);
  }
  return undefined;
}

function parseOptions(
  bytes: Uint8Array,
  from: number,
  end: number,
  into: Segment,
): DropReason | undefined {
  let at = from;
  while (at < end) {
    const kind = bytes[at] ?? OPTION.End;
    if (kind === OPTION.End) return undefined;
    if (kind === OPTION.Nop) {
      at++;
      continue;
    }
    const length = at + 1 < end ? (bytes[at + 1] ?? 0) : 0;
    if (length < 2 || at + length > end) return "malformed";
    if (kind === OPTION.Mss && length === MSS_BYTES) into.mss = get16(bytes, at + 2);
    if (kind === OPTION.WindowScale && length === WINDOW_SCALE_BYTES) {
      into.windowScale = Math.min(bytes[at + 2] ?? 0, MAX_WINDOW_SCALE);
    }
    at += length;
  }
  return undefined;
}

/** The header of a segment to the guest. */
export interface SegmentHeader {
  readonly source: number;
  readonly target: number;
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  /** Options of a SYN. */
  readonly mss?: number;
  readonly windowScale?: number | undefined;
}

/** `count` bytes of `ring`, from `offset` on. */
export interface SegmentData {
  readonly ring: ByteRing;
  readonly offset: number;
  readonly count: number;
}

/** The frame of a segment. */
export function segmentFrame(link: Link, header: SegmentHeader, data?: SegmentData): Uint8Array {
  const { source, target, mss, windowScale } = header;
  const scaleBytes = windowScale === undefined ? 0 : 1 + WINDOW_SCALE_BYTES;
  const optionBytes = mss === undefined ? 0 : MSS_BYTES + scaleBytes;
  const headerBytes = TCP_BYTES + optionBytes;
  const count = headerBytes + (data?.count ?? 0);
  const frame = makeFrame(link, { source, target, protocol: PROTOCOL.Tcp }, count);
  const at = PAYLOAD_START;
  put16(frame, at + FIELD.Source, header.sourcePort);
  put16(frame, at + FIELD.Target, header.targetPort);
  put32(frame, at + FIELD.Sequence, header.sequence);
  put32(frame, at + FIELD.Acknowledgement, header.acknowledgement);
  frame[at + FIELD.DataOffset] = (headerBytes / 4) << 4;
  frame[at + FIELD.Flags] = header.flags;
  put16(frame, at + FIELD.Window, header.window);
  if (mss !== undefined) putOptions(frame, at + TCP_BYTES, mss, windowScale);
  if (data !== undefined) data.ring.copy(data.offset, data.count, frame, at + headerBytes);
  const sum = sumBytes(frame, at, at + count, pseudoSum(header, PROTOCOL.Tcp, count));
  put16(frame, at + FIELD.Checksum, finishSum(sum));
  return frame;
}

function putOptions(
  frame: Uint8Array,
  at: number,
  mss: number,
  windowScale: number | undefined,
): void {
  frame[at] = OPTION.Mss;
  frame[at + 1] = MSS_BYTES;
  put16(frame, at + 2, mss);
  if (windowScale === undefined) return;
  frame[at + 4] = OPTION.Nop;
  frame[at + 5] = OPTION.WindowScale;
  frame[at + 6] = WINDOW_SCALE_BYTES;
  frame[at + 7] = windowScale;
}

/** The frame that refuses `segment` (RFC 9293, section 3.5.2); not for segments that are RST. */
export function resetFor(
  link: Link,
  packet: Pick<Packet, "source" | "target">,
  segment: Segment,
): Uint8Array {
  const acknowledges = (segment.flags & FLAG.Ack) !== 0;
  return segmentFrame(link, {
    source: packet.target,
    target: packet.source,
    sourcePort: segment.targetPort,
    targetPort: segment.sourcePort,
    sequence: acknowledges ? segment.acknowledgement : 0,
    acknowledgement: acknowledges ? 0 : (segment.sequence + segmentLength(segment)) >>> 0,
    flags: acknowledges ? FLAG.Rst : FLAG.Rst | FLAG.Ack,
    window: 0,
  });
}
