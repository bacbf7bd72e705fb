/** What this host's records say about who owns a machine. */
import type { OwnershipRecord } from "@dejavm/log-store";

/** The answer to `ask-owner` for the hand-over to `epoch`. */
export function ownerByRecords(
  history: readonly Pick<OwnershipRecord, "state" | "epoch">[],
  epoch: number,
): "live-here" | "not-here" | "moved-on" {
  const last = history.at(-1);
  if (last === undefined || last.epoch < epoch) return "not-here";
  switch (last.state) {
    case "live":
    case "ended":
      return "live-here";
    case "offering":
    case "moved":
      return "moved-on";
    case "receiving":
    case "copy":
      return "not-here";
  }
}
