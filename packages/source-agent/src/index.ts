/** The public face of `@dejavm/source-agent`: recorded machines, and giving one to another host. */
export { DEFAULT_REPLAY_LIMIT_MS } from "./checkpoint-schedule.ts";
export { chunkKey, chunkOfKey } from "./chunk-key.ts";
export {
  Controller,
  type ControllerOptions,
  type Decision,
  type IfNotConverging,
  type Situation,
} from "./controller.ts";
export {
  type DoubtAction,
  type DoubtEvent,
  DoubtSession,
  type DoubtState,
  type FoundOffer,
} from "./doubt-session.ts";
export { bootHasher, loadBoot, readBootFile } from "./driver/boot-files.ts";
export { type Doubt, type DoubtOptions, resolveDoubt } from "./driver/doubt.ts";
export { forkVm } from "./driver/fork.ts";
export {
  createNamedVm,
  findNamedVm,
  type NamedVm,
  type NamedVmOptions,
  resumeNamedVm,
} from "./driver/named-vm.ts";
export { prepareBases } from "./driver/packer/move-packer.ts";
export {
  RecordedVm,
  type RecordedVmOptions,
  type RecordingState,
  type RecoveredFrom,
} from "./driver/recorded-vm.ts";
export { findReplayParting, type PartingProgress } from "./driver/replay-parting.ts";
export {
  type SourceMigration,
  type SourceMigrationOptions,
  startSourceMigration,
} from "./driver/source-migration.ts";
export {
  type ReplayGoal,
  StoredReplay,
  type StoredReplayOptions,
  type StoredReplayProgress,
  type StoredReplayResult,
} from "./driver/stored-replay.ts";

export type { SourceAgentErrorCode } from "./errors.ts";
export { notBegunReport } from "./migration-log.ts";
export {
  type BytesByKind,
  type CourseSample,
  type DowntimeSplit,
  LIMITS,
  type Limit,
  type LoggedDecision,
  type MigrationOutcome,
  type MigrationReport,
} from "./migration-report.ts";
export type { Prediction } from "./rehearsal.ts";
export { SourceSession } from "./source-session.ts";
export type {
  LinkView,
  OwnershipWish,
  PreparedBatch,
  SourceAction,
  SourceEvent,
  SourceOptions,
  SourcePhase,
  SourceProgress,
  SourceState,
} from "./source-types.ts";
export {
  bareVmConfig,
  basesOf,
  decodeVmConfig,
  encodeVmConfig,
  restoreConfigOf,
  type VmBoot,
  type VmConfig,
  type VmDisk,
} from "./vm-config.ts";
