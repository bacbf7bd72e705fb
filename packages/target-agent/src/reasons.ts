/** Why a target does not take a machine, in words for people. */
import type { Reason } from "@dejavm/protocol";
import type { VmReport } from "@dejavm/vm";
import type { TargetPhase } from "./target-types.ts";

/** What people can do where nothing better is known. */
const USUAL_HINT = "the machine runs on at the source; look at both agents' logs";

/** The same with a hint, whatever it is. */
export function withHint({ code, message, hint = USUAL_HINT }: Reason): Reason {
  return { code, message, hint };
}

/** E_PEER_SILENT: nothing has come for longer than a session waits. */
export function silent(phase: TargetPhase): Reason {
  return {
    code: "E_PEER_SILENT",
    message: `the source said nothing for too long (${phase})`,
    hint: "look at the source's log; the machine runs on there",
  };
}

/** E_GUEST_ENDED: the trace ends with the guest's own end. */
export function guestEnded(): Reason {
  return {
    code: "E_GUEST_ENDED",
    message: "cannot take the machine: its guest has ended",
    hint: "start it again at the source",
  };
}

/** E_REPLAY_FAILED: the machine's thread is gone. `why`. */
export function replayFailed(why: string): Reason {
  return { code: "E_REPLAY_FAILED", message: `cannot replay: ${why}` };
}

/** E_DIVERGED: replay came to another state than the source's. */
export function diverged({ reason, place }: DivergenceReport): Reason {
  const what = JSON.stringify(reason, (_, value: unknown) =>
    typeof value === "bigint" ? value.toString() : value,
  );
  return {
    code: "E_DIVERGED",
    message: `replay differs at position ${place.position}: ${what}`,
    hint: "report it with both agents' logs; the machine runs on at the source",
  };
}

type DivergenceReport = Extract<VmReport, { kind: "diverged" }>["divergence"];

/** E_PEER_RESTARTED: the source does not know any more; here nobody had taken over. */
export function askedForOwner(): Reason {
  return { code: "E_PEER_RESTARTED", message: "the source asked who owns it" };
}

/** E_PEER_RESTARTED: the link is down, and the source offers the machine over another one. */
export function offeredAnew(): Reason {
  return { code: "E_PEER_RESTARTED", message: "the source offers the machine anew" };
}

/** E_VM_STATE: another link, which is up, brings the machine. */
export function comesAlready(name: string): Reason {
  return {
    code: "E_VM_STATE",
    message: `${name} is on its way here already, over another link`,
    hint: "try again once that has ended; where its source was killed, that is noticed within 10 s",
  };
}
