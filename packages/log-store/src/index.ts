/** The public face of `@dejavm/log-store`: durable traces, checkpoints and ownership records. */
export {
  type ContentPack,
  checkPack,
  compressPack,
  HASH_BYTES,
  hashItems,
  MAX_PACK_BYTES,
  MAX_PACK_ITEMS,
  makePack,
  sha256,
  unpack,
} from "./content-pack.ts";
export { type ExportReport, exportLineage } from "./export/export-lineage.ts";
export type { ReadBytes } from "./export/format.ts";
export { importLineage } from "./export/import-lineage.ts";
export { HOST_CODECS } from "./host-codecs.ts";
export { DEFAULT_RETENTION_BYTES } from "./limits.ts";
export {
  type CheckpointId,
  type CheckpointInfo,
  type CheckpointReader,
  type CheckpointWriter,
  type ChunkChange,
  type ChunkName,
  finish,
  type GcReport,
  type LineageId,
  type LineageInfo,
  type LineageWriter,
  type LogStore,
  type NewCheckpoint,
  type NewLineage,
  type NewOwnershipRecord,
  type OwnershipRecord,
  type OwnershipState,
  type RetentionLimits,
  type RetentionReport,
  type StoredReport,
  type StoreProblem,
  type StoreProgress,
  type VerifyReport,
} from "./log-store.ts";
export { MemoryLogStore, type MemoryLogStoreOptions } from "./memory-log-store.ts";
export { MemoryStorage } from "./memory-storage.ts";
export { PackedPuts, PUTS_UNDER_WAY } from "./packer/packed-puts.ts";
export { type HashedItems, Packer } from "./packer/packer.ts";
export { lineageId } from "./rules.ts";
export {
  type LogStoreOptions,
  openLogStore,
  type SqliteLogStore,
} from "./sqlite/sqlite-log-store.ts";
export type { StoreErrorCode } from "./store-errors.ts";
