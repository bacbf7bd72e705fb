/** Which version two agents speak. */
import { protocolError } from "./errors.ts";
import type { VersionRange } from "./limits.ts";

/** The newest version that both sides speak. Throws E_PROTOCOL_VERSION where there is none. */
export function commonVersion(ours: VersionRange, theirs: VersionRange): number {
  const newest = Math.min(ours.newest, theirs.newest);
  if (newest >= Math.max(ours.oldest, theirs.oldest)) return newest;
  const older = ours.newest < theirs.newest ? "this agent" : "the other agent";
  throw protocolError(
    "E_PROTOCOL_VERSION",
    `cannot talk: this agent speaks protocol versions ${ours.oldest} to ${ours.newest}, ` +
      `the other ${theirs.oldest} to ${theirs.newest}`,
    `update ${older}`,
  );
}
