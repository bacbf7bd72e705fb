/** The public face of `@dejavm/source-agent`: giving a machine to another host. */
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
export type { KnownContents, KnownPage } from "./driver/page-reader.ts";
export {
  type SourceMigration,
  type SourceMigrationOptions,
  startSourceMigration,
} from "./driver/source-migration.ts";
export type {
  BytesByKind,
  CourseSample,
  DowntimeSplit,
  LoggedDecision,
  MigrationOutcome,
  MigrationReport,
} from "./migration-report.ts";
export { SourceSession } from "./source-session.ts";
export type {
  LinkView,
  OwnershipWish,
  PreparedBatch,
  Reason,
  SourceAction,
  SourceEvent,
  SourceOptions,
  SourcePhase,
  SourceProgress,
  SourceState,
} from "./source-types.ts";
