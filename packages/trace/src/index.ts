/** The public face of `@dejavm/trace`. */
export type { TraceCodecs, TraceHasher } from "./codecs.ts";
export {
  type Difference,
  differences,
  findParting,
  type InspectableMachine,
  type Inspection,
  inspect,
  MAX_DIFFERENCES,
  type Parting,
  type PartingSearch,
  partingSteps,
  type Subject,
} from "./difference.ts";
export type { Divergence, DivergenceReason } from "./divergence.ts";
export { differenceText, divergenceText, partingText, recordText } from "./divergence-text.ts";
export type { TraceErrorCode } from "./errors.ts";
export {
  type BootFingerprint,
  checkFingerprint,
  type DiskFingerprint,
  type Fingerprint,
  fingerprintOf,
} from "./fingerprint.ts";
export {
  decodeTraceHeader,
  encodeTraceHeader,
  TRACE_FEATURES,
  TRACE_VERSION,
  type TraceHeader,
  traceStart,
} from "./header.ts";
export {
  MAX_EVENT_BYTES,
  MAX_SEGMENT_BYTES,
  MAX_SEGMENT_PLAIN_BYTES,
  MAX_SEGMENT_UNITS,
} from "./limits.ts";
export { canMerge, mergeSegments, type SegmentPlace } from "./merge.ts";
export { TraceReader, type TraceUnit, unitsOf } from "./reader.ts";
export type {
  DigestRecord,
  EndRecord,
  FrontierRecord,
  InputRecord,
  TraceEnd,
  TraceRecord,
} from "./record.ts";
export type { TracePlace } from "./record-codec.ts";
export { type RecordableMachine, Recorder } from "./recorder.ts";
export { type ReplayableMachine, Replayer, type ReplayStep } from "./replayer.ts";
export {
  chainNext,
  type OpenSegment,
  openSegment,
  pointAfter,
  readSegmentHeader,
  type Segment,
  type SegmentHeader,
  type TracePoint,
} from "./segment.ts";
export { TraceWriter } from "./writer.ts";
