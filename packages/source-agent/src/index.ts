/** The public face of `@dejavm/source-agent`: recorded machines, and giving one to another host. */
export { DEFAULT_REPLAY_LIMIT_MS } from "./checkpoint-schedule.ts";
export { loadBoot, readBootFile } from "./driver/boot-files.ts";
export {
  createNamedVm,
  findNamedVm,
  type NamedVm,
  type NamedVmOptions,
  resumeNamedVm,
} from "./driver/named-vm.ts";
export {
  RecordedVm,
  type RecordedVmOptions,
  type RecordingState,
  type RecoveredFrom,
} from "./driver/recorded-vm.ts";
export type { SourceAgentErrorCode } from "./errors.ts";
export {
  decodeVmConfig,
  encodeVmConfig,
  restoreConfigOf,
  type VmBoot,
  type VmConfig,
  type VmDisk,
} from "./vm-config.ts";
