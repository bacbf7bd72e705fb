/** The public face of `@dejavm/bench`: what `dejavm bench` runs. */
export {
  type EngineBenchOptions,
  type EngineBenchResult,
  type ProgramResult,
  runEngineBench,
} from "./engine.ts";
export {
  type LogStoreBenchOptions,
  type LogStoreBenchResult,
  runLogStoreBench,
} from "./log-store.ts";
export {
  type CancelBenchOptions,
  type CancelBenchResult,
  type CancelRun,
  runCancelBench,
} from "./migrate/cancel-bench.ts";
export { AgentProcess, RigProcess } from "./migrate/dejavm-process.ts";
export {
  type MigrateBenchOptions,
  type MigrateBenchResult,
  type MigrateRun,
  runMigrateBench,
} from "./migrate/migrate-bench.ts";
export { migrateTable } from "./migrate/migrate-table.ts";
export { RedisClient, type RedisReport } from "./migrate/redis-client.ts";
export { type NetworkBenchOptions, runNetworkBench } from "./network/network.ts";
export type { NetworkBenchResult, NetworkResultRow } from "./network/results.ts";
export { networkTable } from "./network/table.ts";
export { QmpProcess } from "./qmp.ts";
export {
  type RecordBenchOptions,
  type RecordBenchResult,
  type RecordResult,
  recordTable,
  runRecordBench,
} from "./record/record-bench.ts";
export {
  type DebianRecordOptions,
  type DebianRecordResult,
  debianRecordTable,
  type RecordedWorkload,
  runDebianRecordBench,
} from "./record-debian/debian-bench.ts";
export { engineTable } from "./table.ts";
