/** The public face of `@dejavm/machine`. */

export { bareMachine } from "./bare-machine.ts";
export { detectKernel } from "./board/linux-image.ts";
export {
  MAX_MEMORY_BYTES,
  MEMORY_UNIT_BYTES,
  MIN_MEMORY_BYTES,
  RAM_BASE,
} from "./board/memory-map.ts";
export {
  CHUNK_BYTES,
  type ConsolePort,
  type Missing,
  type MissingBlock,
  type Output,
  PAGE_BYTES,
  type State,
  type StateValue,
  TIMEBASE_HZ,
} from "./device/device.ts";
export { NET_MTU } from "./device/virtio/net/wire.ts";
export { type Disassembly, disassemble } from "./disassemble.ts";
export type { Dispatch } from "./hart/dispatch.ts";
export {
  DEFAULT_POLICY,
  EAGER_JIT,
  type JitPolicy,
  NO_JIT,
} from "./hart/jit/jit.ts";
export { createJumpProbe, type JumpProbe, PROBE_CALLS } from "./hart/jump-probe.ts";
export {
  type DirtyBlock,
  type EngineStatistics,
  Machine,
  type MachineOptions,
  type OverlayChunkName,
  type PositionedOutput,
  type RestoreConfig,
  SEMANTICS,
} from "./machine.ts";
export {
  type BootConfig,
  type DiskConfig,
  type InputEvent,
  type InputResult,
  type MachineConfig,
  type NetConfig,
  type Place,
  type Position,
  position,
  type StopReason,
  type Ticks,
  ticks,
} from "./machine-types.ts";
export { Checkpoint } from "./memory/checkpoint.ts";
export type { BeforeWrite, Epoch, Ram, WatchRange } from "./memory/ram.ts";
export { FieldReader, fields } from "./snapshot/fields.ts";
export type { SnapshotCodecs, SnapshotHeader, SnapshotItem } from "./snapshot/format.ts";
export { type ByteSource, SnapshotReader } from "./snapshot/read.ts";
export { decodeState, encodeState, MAX_STATE_BYTES } from "./snapshot/state-codec.ts";
export {
  type ChunkEntry,
  type PageEntry,
  type SnapshotContent,
  writeSnapshot,
} from "./snapshot/write.ts";
export { createMemory } from "./wasm/runtime.ts";
