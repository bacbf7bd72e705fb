/** The public face of `@dejavm/target-agent`: taking a machine over from another host. */

export { Acceptor } from "./driver/acceptor.ts";
export {
  type ReplayingMachine,
  type TakenMachine,
  type TargetHost,
  TargetMigration,
} from "./driver/target-migration.ts";
export { prepareUnpacker } from "./driver/unpacker/move-unpacker.ts";
export { offerRefusal, ownerByRecords } from "./owner.ts";
export { TargetSession } from "./target-session.ts";
export type {
  ReadSegment,
  TargetAction,
  TargetEvent,
  TargetOptions,
  TargetOutcome,
  TargetPhase,
  TargetState,
  Unpacked,
  Verdict,
} from "./target-types.ts";
