/** What can be wrong with a snapshot file, in the snapshot's own words. */
import { CodedError } from "@dejavm/base";

/** Codes of this folder; docs/errors.md has their causes and remedies. */
export type SnapshotErrorCode =
  | "E_SNAPSHOT_FORMAT"
  | "E_SNAPSHOT_VERSION"
  | "E_SNAPSHOT_TRUNCATED"
  | "E_SNAPSHOT_CORRUPT";

/** The file is something else. */
export function notASnapshot(): CodedError<SnapshotErrorCode> {
  return new CodedError(
    "E_SNAPSHOT_FORMAT",
    "cannot read the snapshot: this is another kind of file",
    {
      hint: "give a file that `dejavm run --save FILE` wrote",
    },
  );
}

/** The file was written by a version that this one cannot read; `detail` says what is new. */
export function unknownVersion(detail: string): CodedError<SnapshotErrorCode> {
  return new CodedError("E_SNAPSHOT_VERSION", `cannot read the snapshot: ${detail}`, {
    hint: "use the version of dejavm that wrote it, or a newer one",
  });
}

/** The file ends too early; `detail` says where. */
export function truncated(detail: string): CodedError<SnapshotErrorCode> {
  return new CodedError("E_SNAPSHOT_TRUNCATED", `the snapshot ends too early: ${detail}`, {
    hint: "copy the file again, or save the machine again",
  });
}

/** The file contradicts itself or a limit; `detail` says how. */
export function corrupt(detail: string, cause?: unknown): CodedError<SnapshotErrorCode> {
  return new CodedError("E_SNAPSHOT_CORRUPT", `the snapshot is damaged: ${detail}`, {
    hint: "copy the file again, or save the machine again",
    cause,
  });
}
