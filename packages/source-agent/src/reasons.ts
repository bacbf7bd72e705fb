/** Why a migration ends otherwise than it should, in words for people. */
import type { Message, Reason } from "@dejavm/protocol";
import type { MigrationOutcome } from "./migration-report.ts";
import type { SourcePhase, SourceState } from "./source-types.ts";

/** What people can do where nothing better is known. */
const USUAL_HINT = "the machine runs on here; look at both agents' logs";

/** The machine stays here. */
export function stayed(
  phase: SourcePhase,
  { code, message, hint = USUAL_HINT }: Reason,
): MigrationOutcome {
  return { kind: "stayed", phase, code, message, hint };
}

/** E_PEER_SILENT: nothing has come for longer than a session waits. */
export function silent(phase: SourcePhase): Reason {
  return {
    code: "E_PEER_SILENT",
    message: `the target said nothing for too long (${phase})`,
    hint: "look at the target's log; the machine runs on here",
  };
}

/** E_PEER_RESTARTED: the target has forgotten the offer that was committed. */
export function restarted(): Reason {
  return {
    code: "E_PEER_RESTARTED",
    message: "the target was restarted before it had taken the machine over",
    hint: "migrate again",
  };
}

/** E_PROTOCOL_STATE: a message that cannot come in the state that the source is in. */
export function outOfPlace(message: Message["kind"], state: SourceState["kind"]): Reason {
  return {
    code: "E_PROTOCOL_STATE",
    message: `the target sent ${message} while the source was ${state}`,
    hint: "the other agent is of another version, or means harm: look at its log",
  };
}

/** E_CHECKPOINT_LOST: old pages would have taken more memory than is allowed. */
export function lostCheckpoint(): Reason {
  return {
    code: "E_CHECKPOINT_LOST",
    message: "the machine changed more pages than were kept for the checkpoint",
    hint: "migrate again while the guest writes less",
  };
}

/** E_GUEST_ENDED: there is no machine left to move. `why` it has ended. */
export function guestEnded(why: string): Reason {
  return {
    code: "E_GUEST_ENDED",
    message: `cannot move the machine: it has ended (${why})`,
    hint: "start it again before it is moved",
  };
}

/** E_NOT_CONVERGING: the controller has given up. `why`, in its words. */
export function notConverging(why: string): Reason {
  return {
    code: "E_NOT_CONVERGING",
    message: `the target cannot catch up: ${why}`,
    hint: "allow a lower speed or a longer pause, or --if-not-converging copy",
  };
}

/** E_SETTLED: a person has decided. */
export function settledByHand(): Reason {
  const message = "the machine was declared to live here by hand";
  return { code: "E_SETTLED", message };
}

/** E_DRY_RUN: what the target is told when a rehearsal ends. */
export function rehearsalOnly(): Reason {
  return { code: "E_DRY_RUN", message: "it was a rehearsal" };
}
