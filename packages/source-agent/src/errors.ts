/** Codes of this package; docs/errors.md has their causes and remedies. */
export type SourceAgentErrorCode =
  | "E_REPLAY_RANGE"
  | "E_RECOVERY_DIVERGED"
  | "E_VM_FILE_GONE"
  | "E_VM_NOT_HERE";
