/** The public face of `@dejavm/vm`: machines that run live on this host. */
export type { DescribedDisk, Description } from "./description.ts";
export { AskedThread } from "./driver/asked-thread.ts";
export { type DiskFile, FileBlockStore, inspectDiskFile } from "./driver/disk-file.ts";
export { dispatchHere } from "./driver/dispatch.ts";
export { setEngineFlags } from "./driver/engine-flags.ts";
export type { MonitorSpec } from "./driver/engine-monitor.ts";
export { fingerprint } from "./driver/fingerprint.ts";
export { hostCodecs } from "./driver/host-codecs.ts";
export {
  type EngineName,
  type MachineSource,
  machineOptions,
  makeMachine,
  type StartSpec,
} from "./driver/machine-maker.ts";
export { inspectSnapshot } from "./driver/snapshot-file.ts";
export { prepareThread } from "./driver/threads.ts";
export {
  type DigestReport,
  type Origin,
  type SaveOptions,
  type SaveReport,
  VirtualMachine,
  type VirtualMachineEvents,
} from "./driver/virtual-machine.ts";
export { type EngineReport, engineLines } from "./engine-report.ts";
export type { CpuProfile } from "./guest-profile.ts";
export { fileError, fromReport } from "./host-errors.ts";
export type {
  CheckpointReport,
  ControlReport,
  EndReason,
  EndReport,
  ErrorReport,
  LiveReport,
  ReplayReport,
  SegmentReport,
  VmReport,
  Whereabouts,
} from "./reports.ts";
export {
  type CheckpointRequest,
  type ChunkBatch,
  type ChunkName,
  type ControlRequest,
  type Keyboard,
  type LiveRequest,
  MAX_CHUNKS_PER_READ,
  MAX_FED_BYTES,
  MAX_PAGES_PER_READ,
  MAX_WAITING_READS,
  type PageBatch,
  type ReplayRequest,
  type SaveTarget,
  type VmMode,
  type VmRequest,
} from "./requests.ts";
