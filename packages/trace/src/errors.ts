/** What can be wrong with a trace, in its own words. docs/errors.md has causes and remedies. */
import { CodedError } from "@dejavm/base";

/** Codes of this package. */
export type TraceErrorCode =
  /** Bytes contradict themselves, a checksum or a limit. */
  | "E_TRACE_CORRUPT"
  /** A segment is whole but does not follow the one before it. */
  | "E_TRACE_GAP"
  /** Written by a version that this one cannot read. */
  | "E_TRACE_VERSION"
  /** The trace is of another machine configuration. */
  | "E_TRACE_CONFIG";

/** Bytes contradict themselves; `detail` says how. */
export function corruptTrace(detail: string, cause?: unknown): CodedError<TraceErrorCode> {
  return new CodedError("E_TRACE_CORRUPT", `the trace is damaged: ${detail}`, {
    hint: "replay up to here, or take another copy; `dejavm log verify` lists what is whole",
    cause,
  });
}

/** A segment does not continue the trace; `detail` says at what. */
export function traceGap(detail: string): CodedError<TraceErrorCode> {
  return new CodedError("E_TRACE_GAP", `the trace does not continue: ${detail}`, {
    hint: "give the segments in order and without gaps",
  });
}

/** Made by a version that this one cannot read; `detail` says what is new. */
export function unknownTraceVersion(detail: string): CodedError<TraceErrorCode> {
  return new CodedError("E_TRACE_VERSION", `cannot read the trace: ${detail}`, {
    hint: "use the version of dejavm that wrote it, or a newer one",
  });
}
